"""Labels and slices: of each, whether the challenger is no worse, worse, or whether its rows are too few to tell."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from components.promote.params import Params
from components.promote.statistics import accuracy_bound, loss_seen, worse_than
from fineline.statistics.multiple_tests import holm
from fineline.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

NO_WORSE, WORSE, UNKNOWN = "no worse", "worse", "unknown"

Slice = tuple[str, str, np.ndarray]
Label = tuple[str, np.ndarray, dict[str, np.ndarray]]


def slices_of(rows: "pd.DataFrame", columns: Sequence[str], most: int) -> list[Slice]:
    """(column, value, rows as bool (n,)) of the `most` frequent values of each column; rows without a value are in none."""
    found = []
    for column in columns:
        values = rows[column].dropna().astype(str)
        found += [(column, value, (rows[column] == value).to_numpy()) for value in values.value_counts().index[:most]]
    return found


def parts_of_labels(
    task: Task, labels: Sequence[str], targets: np.ndarray, answers: Mapping[str, np.ndarray]
) -> list[Label]:
    """(label, its rows, which of them each model answers with it), of every label."""
    found = {name: task.parts(targets, of_model, labels) for name, of_model in answers.items()}
    return [
        (label, member, {name: of_model[i][2] for name, of_model in found.items()})
        for i, (label, member, _) in enumerate(next(iter(found.values())))
    ]


def parts(
    params: Params, labels: Sequence[Label], right: Mapping[str, np.ndarray], slices: Sequence[Slice]
) -> list[dict[str, Any]]:
    """One entry for each label and slice that has rows: what, name, rows, `of` (all rows), accuracy of `champion` and
    `challenger` (recall of a label), margin, low (lower bound of the gain at alpha), p that it is worse by more than the margin
    (Tango 1998), `adjusted` for their number (Holm), state, and `loss_seen`: the loss that is called worse with
    probability `power`.

    worse: adjusted <= alpha. no worse: the lower bound of its gain at alpha is above minus the margin, each by itself, since
    all are claimed together (intersection-union, Berger 1982). unknown: neither is proven.
    `labels` are as `parts_of_labels` gives them; `right`, bool (n,) by model, says which rows it answers right.
    """
    members = [("label", label, of, params.label_margin) for label, _rows, of in labels]
    members += [
        (what, value, {name: answered[member] for name, answered in right.items()}, params.slice_margin)
        for what, value, member in slices
    ]
    found: list[dict[str, Any]] = []
    for what, name, of, margin in members:
        champion, challenger = of["champion"], of["challenger"]
        if rows := len(champion):
            gained, lost = int((challenger & ~champion).sum()), int((champion & ~challenger).sum())
            found.append(
                {
                    "what": what,
                    "name": name,
                    "rows": rows,
                    "of": len(right["champion"]),
                    "champion": round(float(champion.mean()), 6),
                    "challenger": round(float(challenger.mean()), 6),
                    "margin": margin,
                    "low": round(accuracy_bound(gained, lost, rows, params.alpha), 6),
                    "p": worse_than(gained, lost, rows, margin),
                    "discordant": (gained + lost) / rows,
                }
            )
    overall = float(np.mean(right["champion"] != right["challenger"]))
    for part, adjusted in zip(found, holm([part["p"] for part in found]), strict=True):
        part["adjusted"] = adjusted
        part["state"] = WORSE if adjusted <= params.alpha else NO_WORSE if part["low"] > -part["margin"] else UNKNOWN
        differing = max(overall, part.pop("discordant"))
        level = params.alpha / len(found)  # of the first that Holm looks at
        part["loss_seen"] = loss_seen(part["rows"], differing, part["margin"], level, params.power)
    return found


def among(
    rows: np.ndarray, labels: Sequence[Label], right: Mapping[str, np.ndarray], slices: Sequence[Slice]
) -> tuple[list[Label], dict[str, np.ndarray], list[Slice]]:
    """Labels, right answers and slices of the `rows`, bool (n,), alone: what `parts` takes."""
    return (
        [
            (label, member[rows[member]], {name: answered[rows[member]] for name, answered in of.items()})
            for label, member, of in labels
        ],
        {name: answers[rows] for name, answers in right.items()},
        [(what, value, member[rows]) for what, value, member in slices],
    )
