"""The training curves: what the Trainer logged, step by step, as rows for curves.csv and for MLflow."""

import csv
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, float]

_OF_TRAINING = ("train_loss", "learning_rate", "grad_norm")
_TIMES = ("runtime", "samples_per_second", "steps_per_second")


def rows(history: Iterable[dict[str, Any]], every: int, evaluated: Callable[[int], bool]) -> Iterator[Row]:
    """One row for each `every` steps and one for each step that was `evaluated`, which holds the validation figures too.

    `history` is the Trainer's log with one entry per step. train_loss and grad_norm are means over the steps since the row
    before, learning_rate is the last step's. A row never reaches over an evaluation.
    """
    window: list[dict[str, Any]] = []
    for entry in history:
        step = entry["step"]
        if "loss" in entry:
            window.append(entry)
            if step % every == 0 and not evaluated(step):
                yield _row(window)
                window = []
        elif "eval_loss" in entry:
            yield {**_row(window), "epoch": entry["epoch"], "step": step, **validation(entry)}
            window = []


def validation(entry: dict[str, Any]) -> Row:
    """The validation figures of an evaluation's log entry, as validation_<name>; without how long it took."""
    names = [name.removeprefix("eval_") for name in entry if name.startswith("eval_")]
    return {f"validation_{name}": float(entry[f"eval_{name}"]) for name in names if name not in _TIMES}


def write_csv(history: Sequence[dict[str, Any]], every: int, evaluated: Callable[[int], bool], path: Path) -> None:
    """curves.csv: epoch, step, train_loss, learning_rate, grad_norm, validation_loss, validation_<metrics>.

    NaN where there is no figure: `dvc plots` leaves such points out, and would draw an empty cell as 0.
    """
    found = list(rows(history, every, evaluated))
    figures = list(dict.fromkeys(name for row in found for name in row if name.startswith("validation_")))
    figures.sort(key=lambda name: name != "validation_loss")
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        columns = ["epoch", "step", *_OF_TRAINING, *figures]
        writer.writerow(columns)
        writer.writerows([_cell(row.get(column)) for column in columns] for row in found)


def _row(window: list[dict[str, Any]]) -> Row:
    if not window:
        return {}
    last = window[-1]
    row = {"epoch": last["epoch"], "step": last["step"], "learning_rate": last["learning_rate"]}
    for name, logged in (("train_loss", "loss"), ("grad_norm", "grad_norm")):
        values = [entry[logged] for entry in window if logged in entry]
        if values:
            row[name] = math.fsum(values) / len(values)
    return row


def _cell(value: float | None) -> str:
    return f"{value:.7g}" if value is not None and math.isfinite(value) else "NaN"
