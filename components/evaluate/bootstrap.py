"""Percentile bootstrap over test rows (Efron and Tibshirani 1993, An Introduction to the Bootstrap, ch. 13).

Every model is scored on the same samples, so the difference of two models has an interval of its own, which is far
narrower than the two intervals apart.
"""

from collections.abc import Mapping

import numpy as np

from fineline.tasks import Task

Resampled = dict[str, dict[str, np.ndarray]]

_LEVEL = (2.5, 97.5)
_DRAWS_AT_ONCE = 2_000_000  # about 100 MB while they are counted


def resample(
    task: Task, targets: np.ndarray, choices: Mapping[str, np.ndarray], classes: int, samples: int, seed: int
) -> Resampled:
    """The figures of each model on `samples` bootstrap samples: model -> figure -> float64 (samples,).

    `choices` maps a model to its predicted targets int64 (n,); each sample draws n of the n rows, the same for every model.
    """
    generator = np.random.default_rng(seed)
    rows = len(targets)
    at_once = max(1, min(samples, _DRAWS_AT_ONCE // rows))
    parts: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in choices}
    for start in range(0, samples, at_once):
        draws = generator.integers(0, rows, size=(min(at_once, samples - start), rows))
        for name, chosen in choices.items():
            parts[name].append(task.resampled(targets, chosen, classes, draws))
    return {
        name: {figure: np.concatenate([part[figure] for part in found]) for figure in found[0]}
        for name, found in parts.items()
    }


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
