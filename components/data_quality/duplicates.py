"""Rows that say the same: under different labels, word for word, or nearly."""

from collections import defaultdict
from typing import TYPE_CHECKING

from components.data_quality.check import EXAMPLES, Check, is_test
from components.data_quality.params import Params
from fineline.tasks import Task
from fineline.texts.sameness import near_pairs, normalise

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def check_conflicts(rows: "pd.DataFrame", task: Task, params: Params) -> "tuple[pd.DataFrame, list[Check]]":
    """Texts with one normal form and different labels: all their rows."""
    if params.on_conflicts == "ignore":
        return rows, []
    same, written = normal_forms(rows, params), task.written(rows)
    broken = written.groupby(same).transform("nunique") > 1
    groups = [group.index for _, group in same[broken].groupby(same[broken], sort=False)]
    check = Check(
        "conflicts",
        params.on_conflicts,
        "no text stands under two labels",
        not broken.any(),
        int(broken.sum()),
        0,
        [int(row) for row in rows.index[broken]],
        spares_test=True,
        details={"texts": len(groups), "examples": [list(rows.loc[group, "id"]) for group in groups[:EXAMPLES]]},
    )
    return rows, [check]


def check_duplicates(rows: "pd.DataFrame", task: Task, params: Params) -> "tuple[pd.DataFrame, list[Check]]":
    """Rows with the normal form and the label of another: all but the first, or all but those of the test split.

    The figure counts copies; `between_training_and_test` those of them that a test row repeats, `within_test` those that
    are test rows themselves.
    """
    if params.on_duplicates == "ignore":
        return rows, []
    import pandas as pd

    tested = is_test(rows)
    keys = pd.DataFrame({"form": normal_forms(rows, params), "stratum": task.written(rows)})
    group = keys.groupby(["form", "stratum"], sort=False).ngroup()
    later = group.duplicated()
    in_test = tested.groupby(group).transform("any")
    leave = ~tested & (in_test | later)
    groups = [members.index for _, members in group[group.duplicated(keep=False)].groupby(group, sort=False)]
    check = Check(
        "duplicates",
        params.on_duplicates,
        "no text is repeated under its label",
        not later.any(),
        int(later.sum()),
        0,
        [int(row) for row in rows.index[leave]],
        spares_test=True,
        details={
            "between_training_and_test": int((leave & in_test).sum()),
            "within_test": int((tested & group.where(tested).duplicated()).sum()),
            "examples": [list(rows.loc[members, "id"]) for members in groups[:EXAMPLES]],
        },
    )
    return rows, [check]


def check_near_duplicates(rows: "pd.DataFrame", task: Task, params: Params) -> "tuple[pd.DataFrame, list[Check]]":
    """Texts nearly the same as another of their label that stays (MinHash, checked exactly): so each that leaves has one in its
    place, and of a chain of texts those stay that are not near each other. Texts under several labels are only counted.

    Texts with one normal form count once here.
    """
    if params.on_near_duplicates == "ignore":
        return rows, []
    forms = normal_forms(rows, params).drop_duplicates()
    once = rows.loc[forms.index]
    pairs = near_pairs(forms.tolist(), params.near_duplicate_threshold)
    tested, labels = is_test(once).to_numpy(), task.written(once).to_numpy()
    represented = _represented(pairs, labels, tested)
    members: dict[int, list[int]] = defaultdict(list)
    for place, first in sorted(represented.items()):
        members[first].append(place)
    sizes = [1 + len(places) for places in members.values()]
    different = [[i, j] for i, j in pairs if labels[i] != labels[j]]
    examples = [[first, *places] for first, places in sorted(members.items())] + different
    check = Check(
        "near_duplicates",
        params.on_near_duplicates,
        f"no two texts are alike by {params.near_duplicate_threshold:g} or more (Jaccard, 4-grams)",
        not pairs,
        len({later for _, later in pairs}),
        0,
        [int(row) for row in once.index[sorted(represented)]],
        spares_test=True,
        details={
            "groups": len(sizes),
            "largest_group": max(sizes, default=0),
            "pairs_with_different_labels": len(different),
            "pairs_between_training_and_test": sum(bool(tested[i] != tested[j]) for i, j in pairs),
            "examples": [list(once["id"].iloc[places]) for places in examples[:EXAMPLES]],
        },
    )
    return rows, [check]


def _represented(pairs: list[tuple[int, int]], labels: "np.ndarray", tested: "np.ndarray") -> dict[int, int]:
    """Row number to that of the row that stands for it: near to it, of its label, and kept itself. Test rows are kept; among
    the others the first."""
    near: dict[int, list[int]] = defaultdict(list)
    for i, j in pairs:
        if labels[i] == labels[j]:
            near[i].append(j)
            near[j].append(i)
    stands: dict[int, int] = {}
    kept = set(map(int, tested.nonzero()[0]))
    for place in sorted(near):
        if place in kept:
            continue
        if found := [other for other in near[place] if other in kept]:
            stands[place] = min(found)
        else:
            kept.add(place)
    return stands


def normal_forms(rows: "pd.DataFrame", params: Params) -> "pd.Series":
    """What makes two texts the same."""
    return rows["text"].map(lambda text: normalise(text, params.fold))
