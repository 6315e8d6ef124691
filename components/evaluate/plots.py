"""Data for `dvc plots`: small CSV files, one per plot."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.evaluate.evaluation import SHIPPED, Evaluation

CALIBRATION_BINS = 15  # as in the calibration error of the metrics: the two then say the same
_ROC_POINTS = 200


def write_plots(folder: Path, found: Evaluation) -> None:
    """Writes confusion.csv (one line per test row), calibration.csv, per_label.csv, slices.csv and roc.csv."""
    folder.mkdir()
    names = found.labels
    pairs = zip(found.targets, found.choices[SHIPPED], strict=True)
    _write(folder / "confusion.csv", ["actual", "predicted"], ([names[i], names[j]] for i, j in pairs))
    bins = calibration(found.targets, found.choices[SHIPPED], found.probabilities[SHIPPED])
    _write(folder / "calibration.csv", ["confidence", "accuracy", "rows"], bins)
    columns = ["precision", "recall", "f1", "support"]
    per_label = ([label, *(figures[column] for column in columns)] for label, figures in found.per_label.items())
    _write(folder / "per_label.csv", ["label", *columns], per_label)
    figures = list(found.intervals[SHIPPED])
    header = [f"{figure}{end}" for figure in figures for end in ("", "_low", "_high")]
    _write(
        folder / "slices.csv",
        ["slice", "value", "rows", *header, "mark"],
        (
            [
                part["slice"],
                part["value"],
                part["rows"],
                *(number for figure in figures for number in (part["figures"][figure], *part["intervals"][figure])),
                part["mark"],
            ]
            for part in found.slices
        ),
    )
    _write(folder / "roc.csv", ["threshold", "fpr", "tpr"], roc(found.targets, found.probabilities[SHIPPED]))


def calibration(targets: np.ndarray, chosen: np.ndarray, probabilities: np.ndarray) -> list[tuple[float, float, int]]:
    """(mean confidence, accuracy, rows) of each bin of equal width that has rows."""
    confidence = probabilities.max(axis=1)
    right = chosen == targets
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    members = [bins == number for number in np.unique(bins)]
    return [(float(confidence[m].mean()), float(right[m].mean()), int(m.sum())) for m in members]


def roc(targets: np.ndarray, probabilities: np.ndarray) -> list[tuple[float, float, float]]:
    """(threshold, false positive rate, true positive rate) of the micro-average: every (row, label) is one decision."""
    from sklearn.metrics import roc_curve

    truth = np.zeros(probabilities.shape, dtype=bool)
    truth[np.arange(len(targets)), targets] = True
    false, true, thresholds = roc_curve(truth.ravel(), probabilities.ravel())
    thresholds = np.minimum(thresholds, 1.0)  # the first is infinite: nothing is predicted
    kept = np.unique(np.linspace(0, len(false) - 1, _ROC_POINTS).round().astype(int))
    return [(float(thresholds[i]), float(false[i]), float(true[i])) for i in kept]


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([round(cell, 6) if isinstance(cell, float) else cell for cell in row] for row in rows)
