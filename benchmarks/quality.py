"""python benchmarks/quality.py --bundle artifacts/bundle --data ../shared/data

How near monitor's estimate of accuracy comes to the truth. A classifier of banking77's intents on the bundle's embeddings, its
temperature fitted on held-out rows, answers texts of the official test split, whose labels are known: as they are, and with
shifts. For each of many draws, the estimate from confidence beside the accuracy counted. Prints the table of docs/monitoring.md.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from components.monitor.quality import estimated
from fineline.bundles.bundle import Bundle, embeddings, open_bundle
from fineline.tasks import get_task

NEW_INTENTS = 12
HELD_OUT = 2_000
TASK = get_task("single_label")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, help="bundle whose embeddings are the features")
    parser.add_argument("--data", type=Path, required=True, help="folder with banking77 and sms_spam")
    parser.add_argument("--rows", type=int, default=500, help="recent rows in a draw")
    parser.add_argument("--rounds", type=int, default=200, help="draws for each shift")
    flags = parser.parse_args()
    bundle = open_bundle(flags.bundle, threads=1)
    rng = np.random.default_rng(1)
    train, test = (pd.read_csv(flags.data / "banking77" / f"{name}.csv") for name in ("train", "test"))
    intents = rng.choice(sorted(test["label"].unique()), NEW_INTENTS, replace=False)
    known = ~test["label"].isin(intents)
    classify = fitted(bundle, train[~train["label"].isin(intents)].sample(frac=1, random_state=1))
    spam = pd.read_csv(flags.data / "sms_spam" / "all.csv").sample(500, random_state=1).assign(label="none of them")
    usual = classify(test[known])
    new, other = classify(test[~known]), classify(spam)
    pools = {
        "nothing": [(usual, 1.0)],
        "the shortest third": [(usual[test.loc[known, "text"].str.len().rank(pct=True).to_numpy() < 1 / 3], 1.0)],
        **{f"typos in {s:.0%} of the letters": [(classify(typed(test[known], s, rng)), 1.0)] for s in (0.05, 0.1)},
        **{f"{s:.0%} other intents": [(new, s), (usual, 1 - s)] for s in (0.1, 0.2)},
        **{f"{s:.0%} another domain": [(other, s), (usual, 1 - s)] for s in (0.1, 0.2)},
    }
    print(
        "| planted | accuracy | estimate | mean error | of 20 draws the interval holds the accuracy in |\n|---|---|---|---|---|"
    )
    for name, parts in pools.items():
        print(line(name, [drawn(parts, flags.rows, rng) for _ in range(flags.rounds)]), flush=True)
    skewed = [drawn([(by_label(usual, test[known], rng), 1.0)], flags.rows, rng) for _ in range(flags.rounds)]
    print(line("other shares of the intents", skewed))


def fitted(bundle: Bundle, train: pd.DataFrame):  # type: ignore[no-untyped-def]
    """A function that answers rows: float64 (n, 2), score and whether the label is right."""
    vectors = features(bundle, train["text"])
    model = LogisticRegression(C=10, max_iter=300).fit(vectors[HELD_OUT:], train["label"][HELD_OUT:])
    places = {label: place for place, label in enumerate(model.classes_)}
    held_out = train["label"][:HELD_OUT].map(places).to_numpy()
    temperature = TASK.temperature(model.decision_function(vectors[:HELD_OUT]).astype(np.float32), held_out)

    def classify(rows: pd.DataFrame) -> np.ndarray:
        logits = model.decision_function(features(bundle, rows["text"])).astype(np.float32)
        chosen = model.classes_[logits.argmax(axis=1)]
        scores = TASK.probabilities(logits, temperature).max(axis=1)
        return np.stack([scores, chosen == rows["label"].to_numpy()], axis=1).astype(np.float64)

    return classify


def features(bundle: Bundle, texts: pd.Series) -> np.ndarray:
    return embeddings(bundle, bundle.tokenizer.encode_batch(texts.tolist()))[0]


def typed(rows: pd.DataFrame, share: float, rng: np.random.Generator) -> pd.DataFrame:
    """The rows with a share of their letters replaced by a random one."""

    def typo(text: str) -> str:
        return "".join(chr(rng.integers(97, 123)) if c.isalpha() and rng.random() < share else c for c in text)

    return rows.assign(text=rows["text"].map(typo))


def by_label(answered: np.ndarray, rows: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """Rows drawn so that the shares of the labels are those of a Dirichlet distribution: some many, some none."""
    labels = sorted(rows["label"].unique())
    weights = dict(zip(labels, rng.dirichlet(np.full(len(labels), 0.3)), strict=True))
    chance = rows["label"].map(weights).to_numpy()
    return answered[rng.choice(len(answered), len(answered), p=chance / chance.sum())]


def drawn(parts: list[tuple[np.ndarray, float]], rows: int, rng: np.random.Generator) -> tuple[float, float, bool]:
    """(accuracy, its estimate, whether the interval holds it) of one draw."""
    chosen = np.concatenate([pool[rng.choice(len(pool), round(share * rows))] for pool, share in parts])
    found = estimated(chosen[:, 0])
    truth = float(chosen[:, 1].mean())
    return truth, found["accuracy"], found["low"] <= truth <= found["high"]


def line(name: str, draws: list[tuple[float, float, bool]]) -> str:
    truth, guess, held = (np.array(column) for column in zip(*draws, strict=True))
    error = np.abs(guess - truth).mean()
    return f"| {name} | {truth.mean():.1%} | {guess.mean():.1%} | {100 * error:.1f} | {20 * held.mean():.0f} |"


if __name__ == "__main__":
    main()
