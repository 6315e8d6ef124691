"""How good sets of labels are: F1 from counts by label, whole sets, the ranking of labels, and calibration."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fineline.tasks.multi_label.answers import choices, confidence, scores
from fineline.tasks.single_label.figures import bins
from fineline.tasks.single_label.figures import per_label as of_counts

_OWN = 3
"""Columns of the counts before those of the labels: the row, whether its set is right, its ranking."""


def metrics(target: np.ndarray, answered: np.ndarray, labels: Sequence[str]) -> dict[str, float]:
    """subset_accuracy (the share of rows whose set is right), macro_f1, micro_f1, lrap (label ranking average precision),
    log_loss (a label's) and ece (of the whole set, 15 equal bins).

    Macro-F1 is the mean over the labels that occur in the rows or in the answers.
    """
    sums = np.asarray(counts(target, answered).sum(axis=0))
    probability = scores(answered)
    of_truth = np.where(target, probability, 1 - probability)
    found = bins(confidence(answered), right(target, answered))
    return {
        **{name: float(value) for name, value in figures(sums).items()},
        "log_loss": float(-np.log(np.maximum(of_truth, 1e-12)).mean()),
        "ece": float(sum(abs(sure - share) * rows for sure, share, rows in found) / len(target)),
    }


def counts(target: np.ndarray, answered: np.ndarray) -> Any:
    """The row, whether its set is right, its average precision, then of each label whether the row has it, is given it, and both:
    CSR (n, 3 + 3 k)."""
    from scipy.sparse import csr_array, hstack

    chosen = choices(answered)
    own = np.stack(
        [np.ones(len(target)), right(target, answered), _average_precision(target, scores(answered))], axis=1
    )
    of_labels = [csr_array(part.astype(np.float64)) for part in (target, chosen, target & chosen)]
    return hstack([csr_array(own), *of_labels], format="csr")


def figures(sums: np.ndarray) -> dict[str, np.ndarray]:
    """subset_accuracy, macro_f1, micro_f1 and lrap, as `metrics` has them."""
    rows, exact, ranked = np.moveaxis(sums[..., :_OWN], -1, 0)
    has, given, both = np.moveaxis(sums[..., _OWN:].reshape(*sums.shape[:-1], 3, -1), -2, 0)
    occurring = has + given
    f1 = 2 * both / np.maximum(occurring, 1)
    return {
        "subset_accuracy": exact / rows,
        "macro_f1": f1.sum(axis=-1) / np.maximum((occurring > 0).sum(axis=-1), 1),
        "micro_f1": 2 * both.sum(axis=-1) / np.maximum(occurring.sum(axis=-1), 1),
        "lrap": ranked / rows,
    }


def right(target: np.ndarray, answered: np.ndarray) -> np.ndarray:
    """Whether the set is the row's, bool (n,)."""
    return (choices(answered) == target).all(axis=1)


def per_label(sums: np.ndarray, labels: Sequence[str]) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support of each label; 0 where a denominator is 0."""
    return of_counts(sums[_OWN:], labels)


def parts(target: np.ndarray, answered: np.ndarray, labels: Sequence[str]) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """The rows that have each label, and which of them are given it."""
    chosen = choices(answered)
    members = [np.flatnonzero(target[:, number]) for number in range(len(labels))]
    return [(label, member, chosen[member, i]) for i, (label, member) in enumerate(zip(labels, members, strict=True))]


def _average_precision(target: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Of each row the mean over its labels of the share of its labels among those ranked as high (Tsoumakas et al. 2010, Mining
    Multi-label Data), float64 (n,); 1 where it has none. Equal scores rank in the order of the labels."""
    order = np.argsort(-probability, axis=1, kind="stable")
    has = np.take_along_axis(target, order, axis=1)
    precision = np.cumsum(has, axis=1) / np.arange(1, has.shape[1] + 1)
    number = has.sum(axis=1)
    return np.where(number > 0, (precision * has).sum(axis=1) / np.maximum(number, 1), 1.0)
