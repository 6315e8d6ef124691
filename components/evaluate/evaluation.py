"""What was found: the figures that every output of the step is written from."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from components.evaluate import bootstrap
from components.evaluate.gate import judge
from components.evaluate.params import Params
from components.evaluate.slices import score_slices
from fineline.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

SHIPPED = "shipped"
TRAINED = "trained"
MISTAKES = 20

Figures = dict[str, dict[str, float]]
Intervals = dict[str, dict[str, tuple[float, float]]]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """`answers`, `given` (each answer in one line), `figures` and `intervals` go by model: shipped, trained, then the baselines.

    `written` is what the rows say in one line. `intervals` also holds the paired ones: `gain` (shipped - strongest baseline)
    and `drop` (trained - shipped). `per_label` and `slices` are those of the shipped model.
    """

    task: Task
    labels: list[str]
    rows: "pd.DataFrame"
    train_rows: int
    targets: np.ndarray
    answers: Mapping[str, np.ndarray]
    written: np.ndarray
    given: dict[str, np.ndarray]
    figures: Figures
    intervals: Intervals
    baseline: str
    per_label: dict[str, dict[str, float]]
    slices: list[dict[str, Any]]
    gate: dict[str, Any]

    @property
    def baselines(self) -> list[str]:
        return [name for name in self.answers if name not in (SHIPPED, TRAINED)]

    def difference(self, first: str, second: str) -> dict[str, float]:
        """Figures of one model minus those of another, for the figures that have an interval."""
        return {
            figure: round(self.figures[first][figure] - self.figures[second][figure], 6)
            for figure in self.intervals[SHIPPED]
        }


def evaluation(
    params: Params,
    task: Task,
    labels: list[str],
    rows: "pd.DataFrame",
    train_rows: int,
    answers: Mapping[str, np.ndarray],
    slices: list[tuple[str, str, np.ndarray]],
) -> Evaluation:
    """Everything that is computed from the test rows and the `answers` of each model."""
    targets = task.targets(rows, labels)
    counts = {name: task.counts(targets, found) for name, found in answers.items()}
    figures = {
        name: {figure: round(number, 6) for figure, number in task.metrics(targets, found, labels).items()}
        for name, found in answers.items()
    }
    baselines = [name for name in answers if name not in (SHIPPED, TRAINED)]
    strongest = max(baselines, key=lambda name: figures[name][task.metric])
    resampled = bootstrap.resample(task, counts, params.bootstrap, params.seed)
    intervals = {name: bootstrap.intervals(found) for name, found in resampled.items()}
    intervals["gain"] = bootstrap.differences(resampled, SHIPPED, strongest)
    intervals["drop"] = bootstrap.differences(resampled, TRAINED, SHIPPED)
    per_label = task.per_label(counts[SHIPPED].sum(axis=0), labels)
    return Evaluation(
        task=task,
        labels=labels,
        rows=rows,
        train_rows=train_rows,
        targets=targets,
        answers=answers,
        written=task.written(rows).to_numpy(),
        given={name: task.given(found, labels) for name, found in answers.items()},
        figures=figures,
        intervals=intervals,
        baseline=strongest,
        per_label=per_label,
        slices=score_slices(
            task,
            targets,
            answers[SHIPPED],
            slices,
            samples=params.bootstrap,
            seed=params.seed,
            min_rows=params.min_slice_rows,
        ),
        gate=_gate(params, task.metric, figures, intervals, strongest, per_label),
    )


def _gate(
    params: Params,
    metric: str,
    figures: Figures,
    intervals: Intervals,
    baseline: str,
    per_label: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    return judge(
        params,
        metric=metric,
        shipped=figures[SHIPPED][metric],
        trained=figures[TRAINED][metric],
        baseline=(baseline, figures[baseline][metric]),
        intervals={name: intervals[name][metric] for name in (SHIPPED, "gain", "drop")},
        per_label=per_label,
    )


def metrics(found: Evaluation) -> dict[str, Any]:
    """metrics.json: nested plain numbers, as `dvc metrics show` reads them."""
    return {
        "gate_passed": int(found.gate["passed"]),
        "rows": {"test": len(found.rows), "train": found.train_rows},
        SHIPPED: found.figures[SHIPPED],
        TRAINED: found.figures[TRAINED],
        "baseline": {name: found.figures[name] for name in found.baselines},
        "gain": found.difference(SHIPPED, found.baseline),
        "drop": found.difference(TRAINED, SHIPPED),
        "interval": {
            name: {figure: {"low": low, "high": high} for figure, (low, high) in ends.items()}
            for name, ends in found.intervals.items()
        },
    }


def predictions(found: Evaluation) -> "pd.DataFrame":
    """One row per test row: id, target, what the shipped model predicts, its score and probabilities (float32, the numbers behind
    it), and what every other model predicts."""
    import pandas as pd

    shipped = found.answers[SHIPPED]
    columns = {
        "id": found.rows["id"].astype(str).to_numpy(),
        "target": found.written,
        "predicted": found.given[SHIPPED],
        "score": found.task.confidence(shipped).round(6),
        "probabilities": list(found.task.scores(shipped).round(6).astype(np.float32)),
    }
    others = {name: given for name, given in found.given.items() if name != SHIPPED}
    return pd.DataFrame({**columns, **others})


def mistakes(found: Evaluation) -> list[dict[str, Any]]:
    """The most confident mistakes of the shipped model, surest first: {id, text, target, predicted, score}."""
    shipped = found.answers[SHIPPED]
    scores = found.task.confidence(shipped)
    wrong = np.flatnonzero(~found.task.right(found.targets, shipped))
    surest = wrong[np.argsort(-scores[wrong], kind="stable")][:MISTAKES]
    return [
        {
            "id": str(found.rows["id"].iloc[i]),
            "text": found.rows["text"].iloc[i],
            "target": found.written[i],
            "predicted": found.given[SHIPPED][i],
            "score": float(scores[i]),
        }
        for i in surest
    ]
