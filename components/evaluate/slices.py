"""Results of the shipped model on parts of the test rows: by column, by length, by truncation."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from components.evaluate.bootstrap import intervals, resample
from fineline.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

LENGTH = "tokens"
TRUNCATED = "truncated"
MISSING = "(none)"
WORST = "worst"
BELOW = "below the whole"


def named_slices(
    rows: "pd.DataFrame", columns: Sequence[str], most: int, tokens: np.ndarray, max_length: int
) -> list[tuple[str, str, np.ndarray]]:
    """(what, value, rows as bool (n,)) of each slice: the values of `columns`, quartiles of `tokens`, truncated or not."""
    found = [(column, *part) for column in columns for part in _values(rows[column], most)]
    found += [(LENGTH, *part) for part in _quartiles(tokens)]
    longer = tokens > max_length
    found += [(TRUNCATED, "yes", longer), (TRUNCATED, "no", ~longer)]
    return [(what, value, member) for what, value, member in found if member.any()]


def score_slices(
    task: Task,
    targets: np.ndarray,
    answers: np.ndarray,
    slices: Sequence[tuple[str, str, np.ndarray]],
    *,
    samples: int,
    seed: int,
    min_rows: int,
) -> list[dict[str, Any]]:
    """Each slice with its rows, figures, their intervals and a mark.

    Gives {slice, value, rows, figures: {figure: number}, intervals: {figure: (low, high)}, mark}. The mark is `worst` on the
    slice with the lowest share of right answers, and `below the whole` where its interval ends under the share of all rows.
    That share decides, not the metric: macro-F1 over many labels falls with the number of rows alone. A slice of under
    `min_rows` rows, or of all rows, gets no mark.
    """
    whole, share = float(task.right(targets, answers).mean()), task.right_figure
    scored: list[dict[str, Any]] = []
    for what, value, member in slices:
        counts = task.counts(targets[member], answers[member])
        once = task.figures(counts.sum(axis=0))
        found = resample(task, {"shipped": counts}, samples, seed)["shipped"]
        scored.append(
            {
                "slice": what,
                "value": value,
                "rows": int(member.sum()),
                "figures": {figure: round(float(number), 6) for figure, number in once.items()},
                "intervals": intervals(found),
                "mark": "",
            }
        )
    judged = [entry for entry in scored if min_rows <= entry["rows"] < len(targets)]
    worst = min(judged, key=lambda entry: entry["figures"][share], default=None)
    for entry in judged:
        marks = [WORST] if entry is worst and entry["figures"][share] < whole else []
        marks += [BELOW] if entry["intervals"][share][1] < whole else []
        entry["mark"] = ", ".join(marks)
    return scored


def _values(column: "pd.Series", most: int) -> list[tuple[str, np.ndarray]]:
    values = np.array([_text(value) for value in column], dtype=object)
    names, counts = np.unique(values, return_counts=True)
    ranked = [names[i] for i in np.lexsort((names, -counts))]
    shown, rest = ranked[:most], ranked[most:]
    parts = [(name, values == name) for name in shown]
    if rest:
        others = set(rest)
        parts.append((f"({len(rest):,} other values)", np.array([value in others for value in values])))
    return parts


def _text(value: Any) -> str:
    """A cell as the name of a slice; a list (annotators) as its items."""
    if isinstance(value, np.ndarray | list):
        return ", ".join(str(item) for item in value) or MISSING
    return MISSING if value is None or value != value or value == "" else str(value)


def _quartiles(tokens: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Four buckets of about equal size, fewer where many texts are of one length."""
    ends = np.unique(np.quantile(tokens, (0.25, 0.5, 0.75, 1.0), method="lower"))
    bucket = np.searchsorted(ends, tokens)
    parts = []
    for number in range(len(ends)):
        member = bucket == number
        low, high = tokens[member].min(), tokens[member].max()
        parts.append((str(low) if low == high else f"{low} to {high}", member))
    return parts
