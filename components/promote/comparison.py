"""Two models on the same rows: figures with paired intervals, labels, slices, and what they cost."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import binom, norm

from components.promote.params import Params
from components.promote.parts import Slice, among, parts, parts_of_labels
from components.promote.statistics import accuracy_bound, exchanged, mcnemar
from fineline.bundles.bundle import Bundle, logits, model_files
from fineline.process.errors import UsageError
from fineline.statistics.bootstrap import draws, weights
from fineline.tasks import Task

MODELS = ("champion", "challenger")
OLD = "older"
SMALLER_IS_BETTER = ("log_loss", "ece")

_COINS_AT_ONCE = 2_000_000  # about 50 MB while they are counted
_EXCHANGES = 10_000
_WARM_UP = 10

Answers = Mapping[str, np.ndarray]


def compare(
    params: Params,
    level: float,
    task: Task,
    labels: Sequence[str],
    targets: np.ndarray,
    answers: Answers,
    slices: Sequence[Slice] = (),
    old: np.ndarray | None = None,
) -> dict[str, Any]:
    """Everything that is said about champion and challenger on rows with these `targets`, as plain JSON values.

    `answers` are those of the task, by model; `level` is that of the question (budget.ask). Gives `rows`; `gained` and
    `lost` (right by the challenger or the champion only); `superior`: {metric, exact, p, threshold} of the first figure, where
    threshold is the least gain that is significant at `level`; `figures` as `figures` gives them; `parts`: labels and
    slices as `parts.parts` gives them; `forgetting`: the same of the rows `old`, bool (n,), which are a slice of their own too.
    """
    if old is not None:
        slices = [*slices, ("test rows", OLD, old)]
    right = {name: task.right(targets, answers[name]) for name in MODELS}
    gained, lost = _changed(right)
    of_labels = parts_of_labels(task, labels, targets, answers)
    found = figures(params, of_margins(params, level), task, labels, targets, answers)
    return {
        "rows": len(targets),
        "gained": gained,
        "lost": lost,
        "discordant": (gained + lost) / len(targets),
        "superior": _superior(params, level, task, targets, answers, found),
        "figures": found,
        "parts": parts(params, of_labels, right, slices),
        "forgetting": [] if old is None else parts(params, *among(old, of_labels, right, slices)),
    }


def metrics_of(params: Params, task: Task) -> list[str]:
    """The figures that are compared."""
    return params.metrics or list(dict.fromkeys([task.right_figure, task.metric]))


def of_margins(params: Params, level: float) -> float:
    """The level at which a margin is kept: the question's where margins alone decide; else superiority has spent it already."""
    return level if params.require == "non_inferior" else params.alpha


def costs(bundles: Mapping[str, Bundle], texts: Sequence[str], rounds: int) -> dict[str, Any]:
    """Latency of one text (tokenizer included) and size of the model files, with the ratio challenger / champion.

    The two take turns text by text, so that what else the machine does disturbs both alike; the ratio is the median over
    the rounds of the ratio of their medians.
    """
    for bundle in bundles.values():
        logits(bundle, texts[:_WARM_UP], 1)
    seconds = np.zeros((len(MODELS), rounds, len(texts)))
    for turn in range(rounds):
        for number, text in enumerate(texts):
            for model, name in enumerate(MODELS):
                started = time.perf_counter()
                logits(bundles[name], [text])
                seconds[model, turn, number] = time.perf_counter() - started
    medians = 1000 * np.median(seconds, axis=2)
    size = {name: sum(path.stat().st_size for path in model_files(bundles[name].folder)) for name in MODELS}
    return {
        "latency_ms": {name: round(float(np.median(medians[i])), 3) for i, name in enumerate(MODELS)},
        "latency_ratio": round(float(np.median(medians[1] / medians[0])), 3),
        "bytes": size,
        "size_ratio": round(size["challenger"] / size["champion"], 3),
        "texts": len(texts),
        "rounds": rounds,
    }


def figures(
    params: Params,
    level: float,
    task: Task,
    labels: Sequence[str],
    targets: np.ndarray,
    answers: Answers,
) -> dict[str, dict[str, float]]:
    """metric -> {champion, challenger, gain, low, high, floor, error} for each of `metrics_of`.

    `gain` is positive when the challenger is better, `low` and `high` are its one-sided bounds at alpha, `floor` its lower
    bound at `level`, `error` its standard error. The share of right answers has Tango's (1998) bounds and the error of a
    paired share. Any other figure has the error over paired bootstrap samples (Efron and Tibshirani 1993, ch. 13) and normal
    bounds: percentiles are too narrow for macro-F1 with few rows of a label, and have no ends at a level of 1 in 10,000.
    """
    found = {name: task.metrics(targets, answers[name], labels) for name in MODELS}
    if unknown := [metric for metric in metrics_of(params, task) if metric not in found["champion"]]:
        raise UsageError(
            f"promote.metrics: the task has no {', '.join(unknown)}", f"it has {', '.join(found['champion'])}"
        )
    samples = _resampled(params, task, labels, targets, answers)
    rows = len(targets)
    gained, lost = _changed({name: task.right(targets, answers[name]) for name in MODELS})
    result = {}
    for metric in metrics_of(params, task):
        sign = -1.0 if metric in SMALLER_IS_BETTER else 1.0
        gain = sign * (found["challenger"][metric] - found["champion"][metric])
        if metric == task.right_figure:
            error = np.sqrt(max(rows * (gained + lost) - (gained - lost) ** 2, 0)) / rows**1.5
            low, floor = (accuracy_bound(gained, lost, rows, at) for at in (params.alpha, level))
            high = -accuracy_bound(lost, gained, rows, params.alpha)
        else:
            error = (samples["challenger"][metric] - samples["champion"][metric]).std(ddof=1)
            low, floor = (gain - norm.isf(at) * error for at in (params.alpha, level))
            high = gain + norm.isf(params.alpha) * error
        values = {name: found[name][metric] for name in MODELS}
        values |= {"gain": gain, "low": low, "high": high, "floor": floor, "error": error}
        result[metric] = {key: round(float(value), 6) for key, value in values.items()}
    return result


def _superior(
    params: Params,
    level: float,
    task: Task,
    targets: np.ndarray,
    answers: Answers,
    found: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """{metric, exact, p, threshold} of the first metric: McNemar's exact test for the share of right answers, the exchange of the
    paired answers for a figure that `task.figures` gives, else the normal bound of its gain."""
    metric = metrics_of(params, task)[0]
    gain, error = found[metric]["gain"], found[metric]["error"]
    if metric == task.right_figure:
        gained, lost = _changed({name: task.right(targets, answers[name]) for name in MODELS})
        differing = gained + lost
        least = int(binom.isf(level, differing, 0.5)) + 1
        threshold = min((2 * least - differing) / len(targets), 1.0)
        return {"metric": metric, "exact": True, "p": mcnemar(gained, lost), "threshold": threshold}
    differences = _exchanges(params, task, targets, answers, metric)
    if differences is None:
        p = float(norm.sf(gain / error)) if error else float(gain <= 0)
        return {"metric": metric, "exact": False, "p": p, "threshold": float(norm.isf(level) * error)}
    if level * len(differences) >= 10:
        threshold = float(np.quantile(differences, 1 - level))
    else:
        threshold = float(np.sqrt(-2 * np.log(level) * np.mean(np.square(differences))))
    return {"metric": metric, "exact": False, "p": exchanged(differences, gain), "threshold": threshold}


def _changed(right: Mapping[str, np.ndarray]) -> tuple[int, int]:
    """How many rows only the challenger has right, and only the champion."""
    gained, lost = right["challenger"] & ~right["champion"], right["champion"] & ~right["challenger"]
    return int(gained.sum()), int(lost.sum())


def _exchanges(params: Params, task: Task, targets: np.ndarray, answers: Answers, metric: str) -> np.ndarray | None:
    """The gains in `metric` when the models' answers change places on random rows, float64 (10,000,); None for a figure that
    `task.figures` does not give."""
    generator = np.random.default_rng(params.seed)
    rows = len(targets)
    counts = [task.counts(targets, answers[name]) for name in MODELS]
    if metric not in task.figures(counts[0].sum(axis=0)):
        return None
    gains: list[np.ndarray] = []
    at_once = max(1, min(_EXCHANGES, _COINS_AT_ONCE // rows))
    for start in range(0, _EXCHANGES, at_once):
        swapped = generator.integers(0, 2, size=(min(at_once, _EXCHANGES - start), rows)).astype(np.float64)
        first, second = (
            task.figures((1 - coins) @ counts[0] + coins @ counts[1])[metric] for coins in (swapped, 1 - swapped)
        )
        gains.append(second - first)
    return np.concatenate(gains)


def _resampled(
    params: Params, task: Task, labels: Sequence[str], targets: np.ndarray, answers: Answers
) -> dict[str, dict[str, np.ndarray]]:
    """model -> metric (but the share of right answers) -> float64 (samples,): paired bootstrap over rows, both on the same draws.

    Rows are drawn whatever their label (no strata): the shares of the labels are as random in the test set as they are in
    what will be asked (Efron and Tibshirani 1993, ch. 13).
    """
    drawn = [metric for metric in metrics_of(params, task) if metric != task.right_figure]
    counts = {name: task.counts(targets, answers[name]) for name in MODELS}
    found: dict[str, dict[str, list[np.ndarray]]] = {name: {metric: [] for metric in drawn} for name in MODELS}
    for samples in draws(len(targets), params.bootstrap, params.seed) if drawn else ():
        weight = weights(samples)
        for name in MODELS:
            figures = task.figures(weight @ counts[name])
            if rest := [metric for metric in drawn if metric not in figures]:
                each = [task.metrics(targets[draw], answers[name][draw], labels) for draw in samples]
                figures = {**figures, **{metric: np.array([one[metric] for one in each]) for metric in rest}}
            for metric in drawn:
                found[name][metric].append(figures[metric])
    return {name: {metric: np.concatenate(part) for metric, part in of.items()} for name, of in found.items()}
