"""What the report of single labels has: confusion and calibration."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fineline.reports import html_page
from fineline.tasks.parts import Calibration, Plots, Section
from fineline.tasks.single_label.figures import bins, right

_PAIRS = 15
_ROWS_PER_POINT = 5
_ROC_POINTS = 200


def describe(labels: int, tokens: int) -> tuple[str, str]:
    """What the model does, and what it is not for."""
    return (
        f"Gives one of {labels} labels to a text of up to {tokens} tokens, with a score for each.",
        "It has no answer for 'none of these': a text that fits no label still gets one, so send answers of low score to "
        "a person.",
    )


def outcome(
    target: np.ndarray, probability: np.ndarray, labels: Sequence[str], calibration: Calibration
) -> list[Section]:
    """The confusion matrix, and the pairs that are confused most."""
    matrix = confusion(target, probability)
    pairs = [[true, said, rows, f"{share:.1%}"] for true, said, rows, share in confused_pairs(matrix, labels, _PAIRS)]
    table = (
        html_page.table(["true", "predicted as", "rows", "of the true label's rows"], pairs)
        if pairs
        else "No mistakes."
    )
    body = html_page.heatmap(matrix, labels) + "<h3>Most confused pairs</h3>" + table
    return [
        (
            "Confusion",
            body,
            "Colour is the share of the true label's test rows; a perfect model fills the diagonal only.",
        )
    ]


def certainty(target: np.ndarray, answers: Mapping[str, np.ndarray]) -> list[Section]:
    """Confidence against the share of right answers."""
    found = {name: bins(p.max(axis=1), right(target, p)) for name, p in answers.items()}
    return [calibration(found)]


def calibration(found: Mapping[str, Sequence[tuple[float, float, int]]]) -> Section:
    """The section on the bins of each model, of which the first ships."""
    series = {}
    for name, of_model in found.items():
        drawn = [b for b in of_model if b[2] >= _ROWS_PER_POINT]
        series[name] = [b[0] for b in drawn], [b[1] for b in drawn]
    first = next(iter(found))
    rows = [[f"{confidence:.3f}", f"{accuracy:.3f}", count] for confidence, accuracy, count in found[first]]
    table = html_page.table(["mean confidence", "share answered right", "rows"], rows)
    return (
        "Calibration",
        html_page.lines(series, "confidence of the answer", "share answered right", diagonal=True)
        + html_page.details(f"the {first} model's bins", table),
        "On the dashed line, a confidence of 0.8 is right 8 times in 10; under it the model is too sure of "
        f"itself. Bins of fewer than {_ROWS_PER_POINT} rows are not drawn.",
    )


def plots(target: np.ndarray, probability: np.ndarray, labels: Sequence[str]) -> Plots:
    """confusion.csv (one line per test row), calibration.csv and roc.csv."""
    chosen = probability.argmax(axis=1)
    truth = np.zeros(probability.shape, dtype=bool)
    truth[np.arange(len(target)), target] = True
    pairs = [[labels[i], labels[j]] for i, j in zip(target, chosen, strict=True)]
    return {
        "confusion.csv": (["actual", "predicted"], pairs),
        "calibration.csv": (["confidence", "accuracy", "rows"], bins(probability.max(axis=1), chosen == target)),
        "roc.csv": (["threshold", "fpr", "tpr"], roc(truth, probability)),
    }


def confusion(target: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """The confusion matrix, int64 (k, k): rows true, columns predicted."""
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(target, probability.argmax(axis=1), labels=range(probability.shape[1]))


def confused_pairs(matrix: np.ndarray, labels: Sequence[str], most: int) -> list[tuple[str, str, int, float]]:
    """(true, predicted, rows, share of the true label's rows), most frequent first."""
    off = matrix.copy()
    np.fill_diagonal(off, 0)
    ranked = np.argsort(-off, axis=None, kind="stable")[:most]
    pairs = [divmod(int(cell), len(labels)) for cell in ranked if off.flat[cell]]
    support = matrix.sum(axis=1)
    return [(labels[i], labels[j], int(off[i, j]), float(off[i, j] / support[i])) for i, j in pairs]


def roc(truth: np.ndarray, probability: np.ndarray) -> list[Sequence[Any]]:
    """(threshold, false positive rate, true positive rate) of the micro-average: every (row, label) is one decision."""
    from sklearn.metrics import roc_curve

    false, true, thresholds = roc_curve(truth.ravel(), probability.ravel())
    thresholds = np.minimum(thresholds, 1.0)  # the first is infinite: nothing is predicted
    kept = np.unique(np.linspace(0, len(false) - 1, _ROC_POINTS).round().astype(int))
    return [(float(thresholds[i]), float(false[i]), float(true[i])) for i in kept]
