"""python benchmarks/giant_groups.py [--rows 2000]

What becomes of groups of near-duplicates too large for one side of a split: a template as a class of its own, a template within a
class, chains. Prints the table of docs/decisions/0017-giant-groups-are-cut.md.
"""

import argparse
import random
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import pandas as pd

from components.split.params import Params
from components.split.step import divide
from fineline.tasks import get_task

TEMPLATE = "Your parcel {} has been shipped today and will arrive within three working days, thank you for your order"
MOST = {"off": {"max_group_share": 1.0}, "default": {}, "strict": {"max_cut_loss": 1.0}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000, help="rows of each dataset")
    rows = parser.parse_args().rows
    print("| data | parameters | class a: train, validation, test | left | near another side | pairs | seconds |")
    print("|---|---|---|---|---|---|---|")
    for name, texts in datasets(rows).items():
        table = pd.DataFrame(
            [(f"r{n:06}", text, label) for n, (label, text) in enumerate(texts)], columns=["id", "text", "label"]
        )
        for setting, params in MOST.items():
            started = time.perf_counter()
            parts, account = divide(table, Params(**params), get_task("single_label"))
            cut = account.get("cut", {"left": {}, "near_another_side": {"pairs": 0, "labels": {}}})
            near = sum(sum(held.values()) for held in cut["near_another_side"]["labels"].values())
            counts = ", ".join(str(int((part["label"] == "a").sum())) for part in parts.values())
            print(f"| {name} | {setting} | {counts} | {len(cut['left'])} | {near} ", end="")
            print(f"| {cut['near_another_side']['pairs']:,} | {time.perf_counter() - started:.1f} |")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GB", file=sys.stderr)


def datasets(rows: int) -> dict[str, list[tuple[str, str]]]:
    """Name to (label, text) of each row."""
    rng = random.Random(0)

    def words(count: int) -> list[str]:
        return ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 8))) for _ in range(count)]

    def varied(label: str, share: float) -> list[tuple[str, str]]:
        return [(label, " ".join(words(12))) for _ in range(int(share * rows))]

    line = words(rows)
    template = [("a", TEMPLATE.format(number)) for number in range(rows)]
    chain = [("a", " ".join(line[start : start + 40])) for start in range(rows - 40)]
    return {
        "a template is 56 % of the rows and all of class a": [*template[: int(0.56 * rows)], *varied("b", 0.44)],
        "a template is 20 % of the rows and 40 % of class a": [
            *template[: int(0.2 * rows)],
            *varied("a", 0.3),
            *varied("b", 0.5),
        ],
        "a chain is half of the rows and all of class a": [*chain[: rows // 2], *varied("b", 0.5)],
    }


if __name__ == "__main__":
    main()
