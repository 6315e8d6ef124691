"""python benchmarks/promotion_power.py --trials 400

How often the promotion gate says what, by simulation: pairs of models of known difference, the whole verdict with its default
parameters on each. Prints the table of docs/promotion.md.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from components.promote.budget import first
from components.promote.comparison import compare
from components.promote.params import Params
from components.promote.verdict import judge
from fineline.tasks import get_task

LABELS = [f"label {i}" for i in range(10)]
ACCURACY = 0.85
DISCORDANT = 0.10
ROWS = (500, 1000, 2000, 5000)
GAINS = (-0.02, 0.0, 0.01, 0.02, 0.03, 0.05)


def main() -> int:
    flags = _flags()
    params = Params.model_validate({"bootstrap": flags.bootstrap, "require": flags.require})
    print(f"require {params.require}, {flags.trials} trials a cell, promote / hold / inconclusive in %")
    print("| test rows | " + " | ".join(f"{100 * gain:+.0f} points" for gain in GAINS) + " |")
    print("|---" * (len(GAINS) + 1) + "|")
    for rows in ROWS:
        cells = []
        for gain in GAINS:
            found = verdicts(params, rows, gain, flags.trials, seed=rows)
            cells.append(
                " / ".join(f"{100 * found[name] / flags.trials:.0f}" for name in ("promote", "hold", "inconclusive"))
            )
        print(f"| {rows:,} | " + " | ".join(cells) + " |", flush=True)
    return 0


def verdicts(params: Params, rows: int, gain: float, trials: int, seed: int) -> Counter[str]:
    """verdict -> how many of `trials` pairs of models got it, the challenger being better by `gain` in truth."""
    generator = np.random.default_rng(seed)
    task = get_task("single_label")
    counts: Counter[str] = Counter()
    for _ in range(trials):
        targets, probabilities = pair(generator, rows, gain)
        level = first(params.alpha, rows)
        found = compare(params, level.now, task, LABELS, targets, probabilities)
        counts[judge(params, level, found)["verdict"]] += 1
    return counts


def pair(generator: np.random.Generator, rows: int, gain: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Targets and the probabilities of champion and challenger: 10 labels of equal share, the champion right on 85 %, and
    one row in ten on which only one of the two is right. A wrong answer is any other label."""
    targets = generator.integers(0, len(LABELS), rows)
    gained, lost = (DISCORDANT + gain) / 2, (DISCORDANT - gain) / 2
    kind = generator.choice(
        4, rows, p=[ACCURACY - lost, lost, gained, 1 - ACCURACY - gained]
    )  # both, champion, challenger, none
    right = {"champion": kind <= 1, "challenger": (kind == 0) | (kind == 2)}
    wrong = (targets + generator.integers(1, len(LABELS), rows)) % len(LABELS)
    chosen = {name: np.where(of, targets, wrong) for name, of in right.items()}
    return targets, {name: np.eye(len(LABELS))[answers] * 0.5 + 0.05 for name, answers in chosen.items()}


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--bootstrap", type=int, default=400)
    parser.add_argument("--require", choices=("superior", "non_inferior"), default="superior")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
