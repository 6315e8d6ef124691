"""How good single labels are: accuracy and F1 from counts by label, and calibration."""

from collections.abc import Sequence
from typing import Any

import numpy as np

BINS = 15


def metrics(target: np.ndarray, probability: np.ndarray, labels: Sequence[str]) -> dict[str, float]:
    """accuracy, macro_f1, weighted_f1, mcc (Matthews), log_loss and ece (expected calibration error, 15 equal bins).

    Macro-F1 is the mean over the labels that occur in the rows or in the predictions.
    """
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    chosen = probability.argmax(axis=1)
    of_truth = probability[np.arange(len(target)), target]
    return {
        "accuracy": float(accuracy_score(target, chosen)),
        "macro_f1": float(f1_score(target, chosen, average="macro", zero_division=0)),
        "weighted_f1": float(f1_score(target, chosen, average="weighted", zero_division=0)),
        "mcc": float(matthews_corrcoef(target, chosen)),
        "log_loss": float(-np.log(np.maximum(of_truth, 1e-12)).mean()),
        "ece": _calibration_error(target, probability),
    }


def counts(target: np.ndarray, probability: np.ndarray) -> Any:
    """Of each label whether a row has it, is given it, and both: CSR (n, 3 k)."""
    from scipy.sparse import csr_array

    rows, classes = probability.shape
    chosen = probability.argmax(axis=1)
    both = np.flatnonzero(chosen == target)
    own = np.arange(rows)
    places = np.concatenate([own, own, both]), np.concatenate([target, classes + chosen, 2 * classes + target[both]])
    return csr_array((np.ones(len(places[0])), places), shape=(rows, 3 * classes))


def figures(sums: np.ndarray) -> dict[str, np.ndarray]:
    """accuracy and macro_f1, as `metrics` has them."""
    has, given, both = _thirds(sums)
    occurring = has + given
    f1 = 2 * both / np.maximum(occurring, 1)
    return {
        "accuracy": both.sum(axis=-1) / has.sum(axis=-1),
        "macro_f1": f1.sum(axis=-1) / (occurring > 0).sum(axis=-1),
    }


def right(target: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Whether the label is the row's, bool (n,)."""
    return probability.argmax(axis=1) == target


def per_label(sums: np.ndarray, labels: Sequence[str]) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support of each label; 0 where a denominator is 0."""
    has, given, both = _thirds(sums)
    precision, recall, f1 = (n / np.maximum(d, 1) for n, d in ((both, given), (both, has), (2 * both, has + given)))
    return {
        label: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
        for label, p, r, f, s in zip(labels, precision, recall, f1, has, strict=True)
    }


def parts(
    target: np.ndarray, probability: np.ndarray, labels: Sequence[str]
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """The rows of each label, and which of them are right."""
    answered = right(target, probability)
    members = [np.flatnonzero(target == number) for number in range(len(labels))]
    return [(label, member, answered[member]) for label, member in zip(labels, members, strict=True)]


def bins(confidence: np.ndarray, answered: np.ndarray) -> list[tuple[float, float, int]]:
    """(mean confidence, accuracy, rows) of each of 15 bins of equal width that has rows."""
    number = np.minimum((confidence * BINS).astype(int), BINS - 1)
    members = [number == one for one in np.unique(number)]
    return [(float(confidence[m].mean()), float(answered[m].mean()), int(m.sum())) for m in members]


def _thirds(sums: np.ndarray) -> Any:
    return np.moveaxis(sums.reshape(*sums.shape[:-1], 3, -1), -2, 0)


def _calibration_error(target: np.ndarray, probability: np.ndarray) -> float:
    found = bins(probability.max(axis=1), right(target, probability))
    return float(sum(abs(confidence - accuracy) * (rows / len(target)) for confidence, accuracy, rows in found))
