"""What a candidate loses against fp32 on the validation split, and whether that is inside the margins."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from components.quantize.params import Params
from fineline.tasks import Task
from fineline.tasks.parts import UNCALIBRATED

_DIGITS = 6
_EPSILON = 1e-9  # 0.9 - 0.8 is more than 0.1 in floating point


def figures(
    task: Task, labels: Sequence[str], targets: np.ndarray, logits: np.ndarray, fp32: np.ndarray
) -> dict[str, Any]:
    """Plain figures of a candidate with these logits (n, k) beside those of fp32, all at temperature 1 and decided as is best
    for fp32.

    Of logits that are not all finite, as overflow in fp16 makes them, only the number of such rows.
    """
    if broken := int((~np.isfinite(logits)).reshape(len(logits), -1).any(axis=1).sum()):
        return {"rows_not_finite": broken}
    decided = {**UNCALIBRATED, **task.decide(fp32, targets)}
    both = [task.answers(values, decided) for values in (logits, fp32)]
    chosen, before = (task.choices(answers) for answers in both)
    metrics, original = (task.metrics(targets, answers, labels) for answers in both)
    after, original_recall = (task.per_label(task.counts(targets, answers).sum(axis=0), labels) for answers in both)
    changed = int((chosen != before).reshape(len(chosen), -1).any(axis=1).sum())
    return {
        "metrics": {name: round(value, _DIGITS) for name, value in metrics.items()},
        "metric_drop": round(original[task.metric] - metrics[task.metric], _DIGITS),
        "changed": changed,
        "changed_share": round(changed / len(chosen), _DIGITS),
        "recall_change": {
            label: round(row["recall"] - original_recall[label]["recall"], _DIGITS)
            for label, row in after.items()
            if row["support"]
        },
        "support": {label: int(row["support"]) for label, row in after.items()},
        "largest_logit_difference": round(float(np.abs(logits.astype(np.float64) - fp32).max()), _DIGITS),
    }


def violations(params: Params, metric: str, found: dict[str, Any]) -> list[str]:
    """The margins that a candidate leaves, each in words; [] when it stays inside all."""
    if "rows_not_finite" in found:
        return [f"the logits of {found['rows_not_finite']} rows are not finite"]
    broken = []
    if found["metric_drop"] > params.max_metric_drop + _EPSILON:
        broken.append(f"{metric} falls by {found['metric_drop']:.4f} (allowed {params.max_metric_drop:g})")
    if found["changed_share"] > params.max_changed_share + _EPSILON:
        broken.append(
            f"{found['changed_share']:.2%} of the predictions change (allowed {params.max_changed_share:.2%})"
        )
    for label, change in found["recall_change"].items():
        support = found["support"][label]
        if support >= params.min_support and -change > params.max_recall_drop + _EPSILON:
            broken.append(
                f"recall of {label} falls by {-change:.3f} on {support} rows (allowed {params.max_recall_drop:g})"
            )
    return broken
