"""Percentile bootstrap over test rows (Efron and Tibshirani 1993, An Introduction to the Bootstrap, ch. 13).

Every model is scored on the same samples, so the difference of two models has an interval of its own, which is far
narrower than the two intervals apart.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fineline.statistics.bootstrap import draws, weights
from fineline.tasks import Task

Resampled = dict[str, dict[str, np.ndarray]]

_LEVEL = (2.5, 97.5)


def resample(task: Task, counts: Mapping[str, Any], samples: int, seed: int) -> Resampled:
    """The figures of each model on `samples` bootstrap samples: model -> figure -> float64 (samples,).

    `counts` are the task's of each model, (n, c); each sample draws n of the n rows, the same for every model.
    """
    rows = next(iter(counts.values())).shape[0]
    sums: dict[str, list[np.ndarray]] = {name: [] for name in counts}
    for drawn in draws(rows, samples, seed):
        weight = weights(drawn)
        for name, of_model in counts.items():
            sums[name].append(weight @ of_model)
    return {name: task.figures(np.concatenate(found)) for name, found in sums.items()}


def interval(values: np.ndarray) -> tuple[float, float]:
    """The ends of the 95 % percentile interval, rounded to 6 digits."""
    low, high = np.percentile(values, _LEVEL)
    return round(float(low), 6), round(float(high), 6)


def intervals(resampled: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """figure -> ends of its interval."""
    return {figure: interval(values) for figure, values in resampled.items()}


def differences(resampled: Resampled, first: str, second: str) -> dict[str, tuple[float, float]]:
    """figure -> ends of the paired interval of `first` minus `second`."""
    return {figure: interval(resampled[first][figure] - resampled[second][figure]) for figure in resampled[first]}
