"""Two models on the same rows: figures with paired intervals, labels, slices, and what they cost."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from components.promote.params import Params
from components.promote.statistics import mcnemar, worse_than
from fineline.bundle import Bundle, logits, model_files
from fineline.errors import UsageError
from fineline.statistics import holm
from fineline.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

MODELS = ("champion", "challenger")
OLD = "older"
SMALLER_IS_BETTER = ("log_loss", "ece")

_DRAWS_AT_ONCE = 2_000_000  # about 100 MB while they are counted
_WARM_UP = 10

Slice = tuple[str, str, np.ndarray]
Probabilities = Mapping[str, np.ndarray]


def compare(
    params: Params,
    task: Task,
    labels: Sequence[str],
    targets: np.ndarray,
    probabilities: Probabilities,
    slices: Sequence[Slice] = (),
    old: np.ndarray | None = None,
) -> dict[str, Any]:
    """Everything that is said about champion and challenger on rows with these `targets`, int64 (n,), as plain JSON values.

    `probabilities` are float64 (n, k) by model. Gives `rows`; `gained` and `lost` (right by the challenger or the champion
    only) with `p_superior`; `figures`: metric -> {champion, challenger, gain, low, high, error}, where gain is positive
    when the challenger is better, low and high are its one-sided bounds at alpha, and error its standard error; `parts`:
    labels and slices, each with rows, accuracy by model, margin, p and, where it is judged, p adjusted for their number;
    `forgetting`: the same of the rows `old`, bool (n,), which are a slice of their own too.
    """
    if old is not None:
        slices = [*slices, ("test rows", OLD, old)]
    right = {name: task.choices(probabilities[name]) == targets for name in MODELS}
    gained = int((right["challenger"] & ~right["champion"]).sum())
    lost = int((right["champion"] & ~right["challenger"]).sum())
    return {
        "rows": len(targets),
        "gained": gained,
        "lost": lost,
        "discordant": (gained + lost) / len(targets),
        "p_superior": mcnemar(gained, lost),
        "figures": _figures(params, task, labels, targets, probabilities),
        "parts": _parts(params, labels, targets, right, slices),
        "forgetting": [] if old is None else _parts(params, labels, *_only(old, targets, right, slices)),
    }


def slices_of(rows: "pd.DataFrame", columns: Sequence[str], most: int) -> list[Slice]:
    """(column, value, rows as bool (n,)) of the `most` frequent values of each column; rows without a value are in none."""
    found = []
    for column in columns:
        values = rows[column].dropna().astype(str)
        found += [(column, value, (rows[column] == value).to_numpy()) for value in values.value_counts().index[:most]]
    return found


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


def _figures(
    params: Params, task: Task, labels: Sequence[str], targets: np.ndarray, probabilities: Probabilities
) -> dict[str, dict[str, float]]:
    found = {name: task.metrics(targets, probabilities[name], labels) for name in MODELS}
    if unknown := [metric for metric in params.metrics if metric not in found["champion"]]:
        raise UsageError(
            f"promote.metrics: the task has no {', '.join(unknown)}", f"it has {', '.join(found['champion'])}"
        )
    samples = _resampled(params, task, labels, targets, probabilities)
    figures = {}
    for metric in params.metrics:
        sign = -1.0 if metric in SMALLER_IS_BETTER else 1.0
        gains = sign * (samples["challenger"][metric] - samples["champion"][metric])
        low, high = np.quantile(gains, (params.alpha, 1 - params.alpha))
        values = {
            **{name: found[name][metric] for name in MODELS},
            "gain": sign * (found["challenger"][metric] - found["champion"][metric]),
            "low": low,
            "high": high,
            "error": gains.std(ddof=1),
        }
        figures[metric] = {key: round(float(value), 6) for key, value in values.items()}
    return figures


def _resampled(
    params: Params, task: Task, labels: Sequence[str], targets: np.ndarray, probabilities: Probabilities
) -> dict[str, dict[str, np.ndarray]]:
    """model -> metric -> float64 (samples,): paired percentile bootstrap over rows, the same draws for both models.

    Rows are drawn whatever their label (no strata): the shares of the labels are as random in the test set as they are in
    what will be asked (Efron and Tibshirani 1993, ch. 13).
    """
    generator = np.random.default_rng(params.seed)
    rows = len(targets)
    at_once = max(1, min(params.bootstrap, _DRAWS_AT_ONCE // rows))
    chosen = {name: task.choices(probabilities[name]) for name in MODELS}
    parts: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in MODELS}
    for start in range(0, params.bootstrap, at_once):
        draws = generator.integers(0, rows, size=(min(at_once, params.bootstrap - start), rows))
        for name in MODELS:
            found = task.resampled(targets, chosen[name], len(labels), draws)
            if rest := [metric for metric in params.metrics if metric not in found]:
                each = [task.metrics(targets[draw], probabilities[name][draw], labels) for draw in draws]
                found = {**found, **{metric: np.array([figures[metric] for figures in each]) for metric in rest}}
            parts[name].append(found)
    return {
        name: {metric: np.concatenate([part[metric] for part in found]) for metric in params.metrics}
        for name, found in parts.items()
    }


def _only(
    rows: np.ndarray, targets: np.ndarray, right: Mapping[str, np.ndarray], slices: Sequence[Slice]
) -> tuple[np.ndarray, dict[str, np.ndarray], list[Slice]]:
    """Targets, right answers and slices of the `rows`, bool (n,), alone."""
    return (
        targets[rows],
        {name: answers[rows] for name, answers in right.items()},
        [(what, value, member[rows]) for what, value, member in slices],
    )


def _parts(
    params: Params, labels: Sequence[str], targets: np.ndarray, right: Mapping[str, np.ndarray], slices: Sequence[Slice]
) -> list[dict[str, Any]]:
    members = [("label", label, targets == i, params.label_margin) for i, label in enumerate(labels)]
    members += [(what, value, member, params.slice_margin) for what, value, member in slices]
    parts: list[dict[str, Any]] = []
    for what, name, member, margin in members:
        rows = int(member.sum())
        if not rows:
            continue
        champion, challenger = right["champion"][member], right["challenger"][member]
        gained, lost = int((challenger & ~champion).sum()), int((champion & ~challenger).sum())
        parts.append(
            {
                "what": what,
                "name": name,
                "rows": rows,
                "champion": round(float(champion.mean()), 6),
                "challenger": round(float(challenger.mean()), 6),
                "margin": margin,
                "p": worse_than(gained, lost, rows, margin),
                "judged": rows >= params.min_part_rows,
            }
        )
    judged = [part for part in parts if part["judged"]]
    for part, adjusted in zip(judged, holm([part["p"] for part in judged]), strict=True):
        part["adjusted"] = adjusted
        part["worse"] = adjusted <= params.alpha
    return parts
