"""python benchmarks/drift.py --bundle artifacts/bundle --data ../shared/data

How often `monitor` raises a false alarm, and what it finds. Rows of banking77, which the bundle's model was not trained on,
are answered once; then reference and recent rows are drawn from them again and again: without a shift, with a share of
messages of another domain (sms_spam), with a share of customers' questions of 12 intents that the reference does not have, and
without a shift where a share of the recent rows are second copies of others, as of clients that try again.
At last the held-out rows of the sample, the older half against the newer. Prints the tables of docs/monitoring.md.
"""

import argparse
import json
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pandas as pd
from sklearn.metrics.pairwise import rbf_kernel

from components.monitor import drift
from components.monitor.params import Params
from fineline.bundles import reference
from fineline.bundles.bundle import Bundle, open_bundle
from fineline.bundles.reference import Features
from fineline.rows.dataset import read_rows

NEW_INTENTS = 12
SHARES = (0.05, 0.1, 0.2)
COPIES = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, help="bundle of the sample's model")
    parser.add_argument("--data", type=Path, required=True, help="folder with banking77 and sms_spam")
    parser.add_argument("--splits", type=Path, help="splits of the sample, with created_at: also the split by time")
    parser.add_argument("--reference", type=int, default=1000, help="rows of the reference")
    parser.add_argument("--recent", type=int, default=500, help="recent rows")
    parser.add_argument(
        "--rounds", type=int, default=200, help="draws without a shift; a quarter of them with each shift"
    )
    flags = parser.parse_args()
    started = time.monotonic()
    bundle = open_bundle(flags.bundle, threads=1)
    rng = np.random.default_rng(1)
    bank = pd.read_csv(flags.data / "banking77" / "test.csv")
    intents = rng.choice(sorted(bank["label"].unique()), NEW_INTENTS, replace=False)
    bank["new"] = bank["label"].isin(intents)
    spam = pd.read_csv(flags.data / "sms_spam" / "all.csv").sample(400, random_state=1)
    usual, new, other = (
        Pool(bundle, texts) for texts in (bank.loc[~bank["new"], "text"], bank.loc[bank["new"], "text"], spam["text"])
    )
    print(f"{len(usual)} usual rows, {len(new)} of other intents, {len(other)} of another domain: ", end="")
    print(f"answered in {time.monotonic() - started:.0f} s", flush=True)
    header = ["shift", "drift", *drift.TESTS, "embedding, MMD"]
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header))
    scenarios = [("none", usual, 0.0, flags.rounds)]
    for name, pool in (("another domain", other), ("other intents", new)):
        scenarios += [(f"{share:.0%} {name}", pool, share, flags.rounds // 4) for share in SHARES]
    draws = [
        (name, rounds, partial(one, usual, pool, share, flags.reference, flags.recent))
        for name, pool, share, rounds in scenarios
    ]
    draws += [
        (
            f"{COPIES:.0%} second copies, {said}",
            flags.rounds,
            partial(copied, usual, flags.reference, flags.recent, each),
        )
        for said, each in (("each counted", True), ("counted once", False))
    ]
    for name, rounds, draw in draws:
        found: Counter[str] = Counter()
        for seed in range(rounds):
            found.update(draw(seed))
        print("| " + " | ".join([name, *(f"{found[test] / rounds:.1%}" for test in header[1:])]) + " |", flush=True)
    if flags.splits:
        print(by_time(bundle, flags.splits))
    print(f"{time.monotonic() - started:.0f} s")


class Pool:
    """Texts with their features, to draw from."""

    def __init__(self, bundle: Bundle, texts: pd.Series) -> None:
        encodings = bundle.tokenizer.encode_batch(texts.tolist())
        self._tokens = [set(encoding.ids[1:-1]) for encoding in encodings]
        self._features = reference.features(bundle, texts.tolist(), pd.DataFrame(index=texts.index))

    def __len__(self) -> int:
        return len(self._tokens)

    def draw(self, chosen: np.ndarray) -> Features:
        tokens = Counter(token for i in chosen for token in self._tokens[i])
        return Features(self._features.rows.iloc[chosen], self._features.embedding[chosen], dict(tokens))


def one(usual: Pool, pool: Pool, share: float, before: int, now: int, seed: int) -> list[str]:
    """What is found in one draw, of which `share` of the recent rows are of `pool`."""
    rng = np.random.default_rng(seed)
    planted = round(share * now)
    order = rng.permutation(len(usual))[: before + now - planted]
    old, new = usual.draw(order[:before]), usual.draw(order[before:])
    if planted:
        new = both(new, pool.draw(rng.permutation(len(pool))[:planted]))
    return significant(old, new, rng, seed)


def copied(usual: Pool, before: int, now: int, each: bool, seed: int) -> list[str]:
    """As `one`, without a shift: COPIES of the `now` recent rows are second copies of others, which count if `each` does."""
    rng = np.random.default_rng(seed)
    distinct = now - round(COPIES * now)
    order = rng.permutation(len(usual))[: before + distinct]
    recent = np.resize(order[before:], now) if each else order[before:]
    return significant(usual.draw(order[:before]), usual.draw(recent), rng, seed)


def significant(old: Features, new: Features, rng: np.random.Generator, seed: int) -> list[str]:
    """The tests that find a difference, each at the level by itself, and 'drift' if the verdict over all is drift."""
    params = Params(source="drawn", seed=seed)
    findings = drift.compare(params, old, new)
    found = [test["test"] for test in findings.tests if test["p"] <= params.alpha]
    if drift.verdict(params, findings.tests)[0] == drift.DRIFT:
        found.append("drift")
    if mmd(old.embedding, new.embedding, rng) <= params.alpha:
        found.append("embedding, MMD")
    return found


def both(a: Features, b: Features) -> Features:
    tokens = dict(Counter(a.tokens) + Counter(b.tokens))
    return Features(pd.concat([a.rows, b.rows]), np.concatenate([a.embedding, b.embedding]), tokens)


def mmd(old: np.ndarray, new: np.ndarray, rng: np.random.Generator, permutations: int = 200) -> float:
    """p-value of the maximum mean discrepancy (Gretton et al. 2012): Gaussian kernel, width by the median distance."""
    pooled = np.concatenate([old, new]).astype(np.float32)
    some = rng.permutation(len(pooled))[:300]
    square = ((pooled[some, None] - pooled[None, some]) ** 2).sum(axis=2)
    kernel = rbf_kernel(pooled, gamma=1 / np.median(square[square > 0]))
    weights = np.repeat(np.array([1 / len(old), -1 / len(new)], dtype=np.float32), [len(old), len(new)])
    shuffled = np.concatenate([weights[:, None], rng.permuted(np.repeat(weights[:, None], permutations, 1), axis=0)], 1)
    statistic = (shuffled * (kernel @ shuffled)).sum(axis=0)
    return float((statistic >= statistic[0]).mean())


def by_time(bundle: Bundle, splits: Path) -> str:
    """The verdict on the newer half of the sample's held-out rows against the older half."""
    rows = pd.concat([read_rows(splits / f"{name}.parquet") for name in ("validation", "test")]).sort_values("time")
    middle = len(rows) // 2
    parts = [
        reference.features(bundle, part["text"].tolist(), part[["channel"]]) for part in (rows[:middle], rows[middle:])
    ]
    params = Params(source="sample")
    verdict, why = drift.verdict(params, drift.compare(params, *parts).tests)
    return json.dumps({"older": middle, "newer": len(rows) - middle, "verdict": verdict, "why": why})


if __name__ == "__main__":
    main()
