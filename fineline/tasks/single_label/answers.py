"""The answers: a probability for each label, float64 (n, k), of which the largest is the answer."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fineline.tasks.parts import Calibration

FIELDS = {"label": str, "score": float, "probabilities": dict[str, float]}


def answers(logits: np.ndarray, calibration: Calibration) -> np.ndarray:
    """The probabilities at the calibration's temperature."""
    return probabilities(logits, calibration["temperature"])


def probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Softmax of logits / temperature, float64 (n, k)."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    powers = np.exp(scaled)
    return powers / powers.sum(axis=1, keepdims=True)


def decide(logits: np.ndarray, target: np.ndarray) -> dict[str, Any]:
    """Nothing: the largest is the answer."""
    return {}


def calibrate(logits: np.ndarray, target: np.ndarray) -> dict[str, Any]:
    """The temperature; 1 when all rows are right, as the log-loss then falls without end."""
    if np.array_equal(logits.argmax(axis=1), target):
        return {"temperature": 1.0}
    return {"temperature": temperature(logits, target)}


def temperature(logits: np.ndarray, target: np.ndarray) -> float:
    """The temperature in [0.05, 20] with the smallest log-loss (Guo et al. 2017, On Calibration of Modern Neural Networks)."""
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(target))

    def log_loss(log_temperature: float) -> float:
        chosen = probabilities(logits, float(np.exp(log_temperature)))[rows, target]
        return float(-np.log(np.maximum(chosen, 1e-12)).mean())

    found = minimize_scalar(log_loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return round(float(np.exp(found.x)), 4)


def choices(probability: np.ndarray) -> np.ndarray:
    """The most probable class, int64 (n,)."""
    return probability.argmax(axis=1)


def scores(probability: np.ndarray) -> np.ndarray:
    """The probabilities."""
    return probability


def confidence(probability: np.ndarray) -> np.ndarray:
    """The probability of the answer."""
    return probability.max(axis=1)


def given(probability: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """The most probable label; probabilities of one name are added up."""
    distinct = list(dict.fromkeys(labels))
    return np.array(distinct, dtype=object)[_of(probability, labels, distinct).argmax(axis=1)]


def aligned(probability: np.ndarray, labels: Sequence[str], kept: Sequence[str], target: np.ndarray) -> np.ndarray:
    """Probabilities of the labels `kept`, of rows with these targets.

    An answer outside of `kept` is wrong on these rows, and counts as wrong: its probability goes to the label after the
    right one. (As a class of its own it would lower macro-F1 by far more than a wrong answer does.)
    """
    result = _of(probability, labels, kept)
    outside = ~np.isin(given(probability, labels).astype(str), list(kept))
    wrong = (target + 1) % len(kept)
    result[outside, wrong[outside]] += 1.0 - result[outside].sum(axis=1)
    return result


def answer(probability: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """`label`, its `score` and all `probabilities` of one text."""
    best = int(probability.argmax())
    values = {label: round(float(value), 6) for label, value in zip(labels, probability, strict=True)}
    return {"label": labels[best], "score": values[labels[best]], "probabilities": values}


def brief(answered: dict[str, Any]) -> tuple[str, float]:
    """The label and its score."""
    return answered["label"], answered["score"]


def tensors(answered: Sequence[dict[str, Any]], labels: Sequence[str]) -> list[tuple[str, str, list[int], list[Any]]]:
    """`label`, `score`, `probabilities` (a row per text) and `labels`, which names their columns."""
    spread = [one["probabilities"][label] for one in answered for label in labels]
    return [
        ("label", "BYTES", [-1], [one["label"] for one in answered]),
        ("score", "FP64", [-1], [one["score"] for one in answered]),
        ("probabilities", "FP64", [-1, len(labels)], spread),
        ("labels", "BYTES", [len(labels)], list(labels)),
    ]


def baselines(
    train_texts: Sequence[str], train_targets: np.ndarray, test_texts: Sequence[str], classes: int, seed: int
) -> dict[str, np.ndarray]:
    """`majority` (shares of the training labels) and `tfidf_logreg` (word 1-2-grams, logistic regression) on the test rows."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    shares = np.bincount(train_targets, minlength=classes) / len(train_targets)
    linear = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, strip_accents="unicode"),
        LogisticRegression(C=10.0, max_iter=1000, random_state=seed),
    )
    linear.fit(list(train_texts), train_targets)
    spread = np.zeros((len(test_texts), classes))
    spread[:, linear.classes_] = linear.predict_proba(list(test_texts))
    return {"majority": np.tile(shares, (len(test_texts), 1)), "tfidf_logreg": spread}


def _of(probability: np.ndarray, labels: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """The probability of each name in `wanted`."""
    return np.stack([probability[:, [label == name for label in labels]].sum(axis=1) for name in wanted], axis=1)
