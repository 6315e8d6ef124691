"""How the rows and each label are spread over the splits, and how far that is from what was asked."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fineline.tasks import Task

if TYPE_CHECKING:
    import pandas as pd


def label_shares(parts: "Mapping[str, pd.DataFrame]", task: Task) -> dict[str, dict[str, dict[str, float]]]:
    """label -> split -> {"rows", "share" of the label's rows in all `parts`}."""
    counts = {name: task.strata(part).value_counts() for name, part in parts.items()}
    labels = sorted(set().union(*(count.index for count in counts.values())))
    table: dict[str, dict[str, dict[str, float]]] = {}
    for label in labels:
        rows = {name: int(count.get(label, 0)) for name, count in counts.items()}
        total = sum(rows.values())
        table[label] = {name: {"rows": n, "share": round(n / total, 6)} for name, n in rows.items()}
    return table


def largest_deviation(
    strata: "pd.Series", split: np.ndarray, shares: Sequence[float], names: Sequence[str], without: Collection[str]
) -> dict[str, Any]:
    """The label and split whose share is farthest from the asked one, of all labels but those in `without`.

    `strata` are the labels of rows by their number, `split` int64 (n,); `points` are percentage points, `rows` how
    many rows that is.
    """
    labels, of = strata.to_numpy(dtype=object), split[strata.index]
    worst: dict[str, Any] = {"label": "", "split": "", "asked": 0.0, "share": 0.0, "points": 0.0, "rows": 0.0}
    for label in sorted(set(labels) - set(without)):
        inside = of[labels == label]
        for number, (name, asked) in enumerate(zip(names, shares, strict=True)):
            share = float((inside == number).mean())
            points = round(100 * abs(share - asked), 4)
            if points > worst["points"]:
                worst = {
                    "label": label,
                    "split": name,
                    "asked": round(asked, 6),
                    "share": round(share, 6),
                    "points": points,
                    "rows": round(abs(share - asked) * len(inside), 4),
                }
    return worst
