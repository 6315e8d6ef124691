"""Labels and slices: of each, whether the challenger is no worse, worse, or whether its rows are too few to tell."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from components.promote.params import Params
from components.promote.statistics import accuracy_bound, loss_seen, worse_than
from fineline.statistics.multiple_tests import holm

if TYPE_CHECKING:
    import pandas as pd

NO_WORSE, WORSE, UNKNOWN = "no worse", "worse", "unknown"

Slice = tuple[str, str, np.ndarray]


def slices_of(rows: "pd.DataFrame", columns: Sequence[str], most: int) -> list[Slice]:
    """(column, value, rows as bool (n,)) of the `most` frequent values of each column; rows without a value are in none."""
    found = []
    for column in columns:
        values = rows[column].dropna().astype(str)
        found += [(column, value, (rows[column] == value).to_numpy()) for value in values.value_counts().index[:most]]
    return found


def parts(
    params: Params, labels: Sequence[str], targets: np.ndarray, right: Mapping[str, np.ndarray], slices: Sequence[Slice]
) -> list[dict[str, Any]]:
    """One entry for each label and slice that has rows: what, name, rows, `of` (all rows), accuracy of `champion` and
    `challenger` (recall of a label), margin, low (lower bound of the gain at alpha), p that it is worse by more than the margin
    (Tango 1998), `adjusted` for their number (Holm), state, and `loss_seen`: the loss that is called worse with
    probability `power`.

    worse: adjusted <= alpha. no worse: the lower bound of its gain at alpha is above minus the margin, each by itself, since
    all are claimed together (intersection-union, Berger 1982). unknown: neither is proven.
    `right`, bool (n,) by model, says which rows it answers right.
    """
    members = [("label", label, targets == i, params.label_margin) for i, label in enumerate(labels)]
    members += [(what, value, member, params.slice_margin) for what, value, member in slices]
    found: list[dict[str, Any]] = []
    for what, name, member, margin in members:
        if rows := int(member.sum()):
            champion, challenger = right["champion"][member], right["challenger"][member]
            gained, lost = int((challenger & ~champion).sum()), int((champion & ~challenger).sum())
            found.append(
                {
                    "what": what,
                    "name": name,
                    "rows": rows,
                    "of": len(targets),
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
    rows: np.ndarray, targets: np.ndarray, right: Mapping[str, np.ndarray], slices: Sequence[Slice]
) -> tuple[np.ndarray, dict[str, np.ndarray], list[Slice]]:
    """Targets, right answers and slices of the `rows`, bool (n,), alone: what `parts` takes."""
    return (
        targets[rows],
        {name: answers[rows] for name, answers in right.items()},
        [(what, value, member[rows]) for what, value, member in slices],
    )
