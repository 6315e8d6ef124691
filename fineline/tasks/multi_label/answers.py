"""The answers: float64 (n, 2, k), of each label the calibrated probability, and 1 where it is given, else 0.

A label is given where the probability at temperature 1 reaches its threshold, so that the temperature, which only makes the
probabilities right, changes no answer.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fineline.tasks.multi_label.rows import line
from fineline.tasks.parts import UNCALIBRATED, Calibration

FIELDS = {"labels": list[str], "score": float, "probabilities": dict[str, float]}

_UNTUNED = 0.5
_DIGITS = 6
_HELD_OUT = 0.2


def answers(logits: np.ndarray, calibration: Calibration) -> np.ndarray:
    """Probabilities at the calibration's temperature, and what reaches its thresholds (list of k; None: 0.5)."""
    thresholds = calibration["thresholds"]
    given = _sigmoid(logits, 1.0) >= (_UNTUNED if thresholds is None else np.array(thresholds))
    return np.stack([_sigmoid(logits, calibration["temperature"]), given.astype(np.float64)], axis=1)


def shown_thresholds(calibration: Calibration, labels: int) -> np.ndarray:
    """The thresholds as calibrated probabilities, float64 (k,)."""
    thresholds = np.array(calibration["thresholds"] or [_UNTUNED] * labels)
    return _sigmoid(_logits(thresholds), calibration["temperature"])


def decide(logits: np.ndarray, target: np.ndarray) -> dict[str, Any]:
    """Of each label the threshold with the largest F1 on these rows; 0.5 where no row has it."""
    probability = _sigmoid(logits, 1.0)
    return {"thresholds": [_best(probability[:, i], target[:, i]) for i in range(target.shape[1])]}


def calibrate(logits: np.ndarray, target: np.ndarray) -> dict[str, Any]:
    """The temperature in [0.05, 20] with the smallest log-loss over all labels (Guo et al. 2017)."""
    from scipy.optimize import minimize_scalar

    signed = np.where(target, -1.0, 1.0) * logits

    def log_loss(log_temperature: float) -> float:
        return float(np.logaddexp(0, signed / np.exp(log_temperature)).mean())

    if (signed < 0).all():  # all right: the log-loss falls without end
        return {"temperature": 1.0}
    found = minimize_scalar(log_loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return {"temperature": round(float(np.exp(found.x)), 4)}


def choices(answered: np.ndarray) -> np.ndarray:
    """Which labels are given, bool (n, k)."""
    return answered[:, 1] > 0


def scores(answered: np.ndarray) -> np.ndarray:
    """The probabilities."""
    return answered[:, 0]


def confidence(answered: np.ndarray) -> np.ndarray:
    """The probability that every label is right, as if they were independent."""
    return np.where(choices(answered), answered[:, 0], 1 - answered[:, 0]).prod(axis=1)


def given(answered: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """The labels that are given, in one line."""
    names = np.array(labels, dtype=object)
    lines = [line(names[row]) for row in choices(answered)]
    return np.array(lines, dtype=object)


def aligned(answered: np.ndarray, labels: Sequence[str], kept: Sequence[str], target: np.ndarray) -> np.ndarray:
    """Of each label `kept` the largest probability of those of its name, given where one of them is. Other labels are no answer
    to these rows."""
    own = [[label == name for label in labels] for name in kept]
    return np.stack([answered[:, :, columns].max(axis=2) for columns in own], axis=2)


def answer(answered: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """The `labels` of one text, the most probable first, the `score` of the set, and all `probabilities`."""
    values = {label: round(float(value), _DIGITS) for label, value in zip(labels, answered[0], strict=True)}
    names = [label for label, one in zip(labels, answered[1], strict=True) if one]
    score = round(float(confidence(answered[None])[0]), _DIGITS)
    return {"labels": sorted(names, key=lambda name: -values[name]), "score": score, "probabilities": values}


def brief(answered: dict[str, Any]) -> tuple[str, float]:
    """The labels in one line, and the score of the set."""
    return line(answered["labels"]), answered["score"]


def tensors(answered: Sequence[dict[str, Any]], labels: Sequence[str]) -> list[tuple[str, str, list[int], list[Any]]]:
    """`given` and `probabilities` (a row per text), `score`, and `labels`, which names their columns."""
    spread = [one["probabilities"][label] for one in answered for label in labels]
    return [
        ("given", "BOOL", [-1, len(labels)], [label in one["labels"] for one in answered for label in labels]),
        ("score", "FP64", [-1], [one["score"] for one in answered]),
        ("probabilities", "FP64", [-1, len(labels)], spread),
        ("labels", "BYTES", [len(labels)], list(labels)),
    ]


def baselines(
    train_texts: Sequence[str], train_targets: np.ndarray, test_texts: Sequence[str], classes: int, seed: int
) -> dict[str, np.ndarray]:
    """`majority` (shares of the training rows) and `tfidf_logreg` (word 1-2-grams, a logistic regression for each label, with
    thresholds tuned on a fifth of the training rows that it had not seen) on the test rows."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, strip_accents="unicode")
    seen, asked = words.fit_transform(list(train_texts)), words.transform(list(test_texts))
    held = np.random.default_rng(seed).random(len(train_texts)) < _HELD_OUT
    tuned = dict(UNCALIBRATED)
    if held.any() and not held.all():
        tuned |= decide(_linear(seen[~held], train_targets[~held], seen[held], seed), train_targets[held])
    shares = np.tile(_logits(train_targets.mean(axis=0)), (len(test_texts), 1))
    return {
        "majority": answers(shares, UNCALIBRATED),
        "tfidf_logreg": answers(_linear(seen, train_targets, asked, seed), tuned),
    }


def _linear(seen: Any, target: np.ndarray, asked: Any, seed: int) -> np.ndarray:
    """Logits of `asked`, float64 (m, k), of a logistic regression for each label; the share where all rows have or lack it."""
    from sklearn.linear_model import LogisticRegression

    found = np.tile(_logits(target.mean(axis=0)), (asked.shape[0], 1))
    for number in np.flatnonzero(target.any(axis=0) & ~target.all(axis=0)):
        one = LogisticRegression(C=10.0, solver="liblinear", tol=0.01, random_state=seed)
        found[:, number] = one.fit(seen, target[:, number]).decision_function(asked)
    return found


def _best(probability: np.ndarray, has: np.ndarray) -> float:
    """The threshold between two neighbouring probabilities at which F1 is largest, the highest of several."""
    if not has.any():
        return _UNTUNED
    order = np.argsort(-probability, kind="stable")
    sorted_ones = probability[order]
    f1 = 2 * np.cumsum(has[order]) / (np.arange(1, len(order) + 1) + has.sum())
    below = np.append(sorted_ones[1:], 0.0)
    f1[sorted_ones == below] = -1.0  # no threshold lies between equal ones
    cut = int(f1.argmax())
    return float((sorted_ones[cut] + below[cut]) / 2)


def _sigmoid(logits: np.ndarray, temperature: float) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(logits.astype(np.float64) / temperature, -500, 500)))


def _logits(probability: np.ndarray) -> np.ndarray:
    inside = np.clip(probability, 1e-9, 1 - 1e-9)
    return np.log(inside / (1 - inside))
