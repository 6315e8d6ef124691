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
    """`probabilities`, `choices`, `figures` and `intervals` go by model: shipped, trained, then the baselines.

    `intervals` also holds the paired ones: `gain` (shipped - strongest baseline) and `drop` (trained - shipped).
    `per_label`, `confusion` and `slices` are those of the shipped model.
    """

    task: Task
    labels: list[str]
    rows: "pd.DataFrame"
    train_rows: int
    targets: np.ndarray
    probabilities: Mapping[str, np.ndarray]
    choices: dict[str, np.ndarray]
    figures: Figures
    intervals: Intervals
    baseline: str
    per_label: dict[str, dict[str, float]]
    confusion: np.ndarray
    slices: list[dict[str, Any]]
    gate: dict[str, Any]

    @property
    def baselines(self) -> list[str]:
        return [name for name in self.choices if name not in (SHIPPED, TRAINED)]

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
    probabilities: Mapping[str, np.ndarray],
    slices: list[tuple[str, str, np.ndarray]],
) -> Evaluation:
    """Everything that is computed from the test rows and the `probabilities` (n, k) of each model."""
    targets = task.targets(rows, labels)
    choices = {name: task.choices(found) for name, found in probabilities.items()}
    figures = {
        name: {figure: round(number, 6) for figure, number in task.metrics(targets, found, labels).items()}
        for name, found in probabilities.items()
    }
    baselines = [name for name in choices if name not in (SHIPPED, TRAINED)]
    strongest = max(baselines, key=lambda name: figures[name][task.metric])
    resampled = bootstrap.resample(task, targets, choices, len(labels), params.bootstrap, params.seed)
    intervals = {name: bootstrap.intervals(found) for name, found in resampled.items()}
    intervals["gain"] = bootstrap.differences(resampled, SHIPPED, strongest)
    intervals["drop"] = bootstrap.differences(resampled, TRAINED, SHIPPED)
    per_label = task.per_label(targets, choices[SHIPPED], labels)
    return Evaluation(
        task=task,
        labels=labels,
        rows=rows,
        train_rows=train_rows,
        targets=targets,
        probabilities=probabilities,
        choices=choices,
        figures=figures,
        intervals=intervals,
        baseline=strongest,
        per_label=per_label,
        confusion=task.confusion(targets, choices[SHIPPED], labels),
        slices=score_slices(
            task,
            targets,
            choices[SHIPPED],
            labels,
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
    """One row per test row: id, target, the shipped model's predicted label, score and probabilities (float32, in the
    order of the labels), and the predicted label of every other model."""
    import pandas as pd

    names = np.array(found.labels, dtype=object)
    shipped = found.probabilities[SHIPPED]
    columns = {
        "id": found.rows["id"].astype(str).to_numpy(),
        "target": names[found.targets],
        "predicted": names[found.choices[SHIPPED]],
        "score": shipped.max(axis=1).round(6),
        "probabilities": list(shipped.round(6).astype(np.float32)),
    }
    others = {name: names[chosen] for name, chosen in found.choices.items() if name != SHIPPED}
    return pd.DataFrame({**columns, **others})


def mistakes(found: Evaluation) -> list[dict[str, Any]]:
    """The most confident mistakes of the shipped model, surest first: {id, text, target, predicted, score}."""
    scores = found.probabilities[SHIPPED].max(axis=1)
    wrong = np.flatnonzero(found.choices[SHIPPED] != found.targets)
    surest = wrong[np.argsort(-scores[wrong], kind="stable")][:MISTAKES]
    return [
        {
            "id": str(found.rows["id"].iloc[i]),
            "text": found.rows["text"].iloc[i],
            "target": found.labels[found.targets[i]],
            "predicted": found.labels[found.choices[SHIPPED][i]],
            "score": float(scores[i]),
        }
        for i in surest
    ]


def confused_pairs(found: Evaluation, most: int) -> list[tuple[str, str, int, float]]:
    """(true, predicted, rows, share of the true label's rows), most frequent first."""
    off = found.confusion.copy()
    np.fill_diagonal(off, 0)
    ranked = np.argsort(-off, axis=None, kind="stable")[:most]
    pairs = [divmod(int(cell), len(found.labels)) for cell in ranked if off.flat[cell]]
    support = found.confusion.sum(axis=1)
    return [(found.labels[i], found.labels[j], int(off[i, j]), float(off[i, j] / support[i])) for i, j in pairs]
