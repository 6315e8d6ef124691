"""Data for `dvc plots`: small CSV files, one per plot."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from components.evaluate.evaluation import SHIPPED, Evaluation


def write_plots(folder: Path, found: Evaluation) -> None:
    """Writes per_label.csv, slices.csv and the task's own, of the shipped model."""
    folder.mkdir()
    for name, (header, rows) in found.task.plots(found.targets, found.answers[SHIPPED], found.labels).items():
        _write(folder / name, header, rows)
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


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([round(cell, 6) if isinstance(cell, float) else cell for cell in row] for row in rows)
