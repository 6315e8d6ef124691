"""Rows that say the same: under different labels, word for word, or nearly."""

from collections import defaultdict
from typing import TYPE_CHECKING

from components.data_quality.check import EXAMPLES, Check, is_test
from components.data_quality.params import Params
from fineline.tasks import Task
from fineline.texts.sameness import components, near_pairs, normalise

if TYPE_CHECKING:
    import pandas as pd


def check_conflicts(rows: "pd.DataFrame", task: Task, params: Params) -> "tuple[pd.DataFrame, list[Check]]":
    """Texts with one normal form and different labels: all their rows."""
    if params.on_conflicts == "ignore":
        return rows, []
    same, strata = normal_forms(rows, params), task.strata(rows)
    broken = strata.groupby(same).transform("nunique") > 1
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
    keys = pd.DataFrame({"form": normal_forms(rows, params), "stratum": task.strata(rows)})
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
    """Texts nearly the same as another (MinHash, checked exactly), grouped: all but the first or the test rows of a group.

    Texts with one normal form count once here.
    """
    if params.on_near_duplicates == "ignore":
        return rows, []
    import numpy as np

    forms = normal_forms(rows, params).drop_duplicates()
    once = rows.loc[forms.index]
    pairs = near_pairs(forms.tolist(), params.near_duplicate_threshold)
    members = defaultdict(list)
    for place, group in enumerate(components(len(once), pairs)):
        members[int(group)].append(place)
    groups = [places for places in members.values() if len(places) > 1]
    tested = is_test(once).to_numpy()
    extra = np.zeros(len(once), dtype=bool)
    for places in groups:
        extra[places if tested[places].any() else places[1:]] = True
    extra &= ~tested
    labels, crossing = task.strata(once).to_numpy(), tested.astype(int)
    check = Check(
        "near_duplicates",
        params.on_near_duplicates,
        f"no two texts are alike by {params.near_duplicate_threshold:g} or more (Jaccard, 4-grams)",
        not pairs,
        sum(len(places) - 1 for places in groups),
        0,
        [int(row) for row in once.index[extra]],
        spares_test=True,
        details={
            "groups": len(groups),
            "largest_group": max(map(len, groups), default=0),
            "pairs_with_different_labels": sum(bool(labels[i] != labels[j]) for i, j in pairs),
            "pairs_between_training_and_test": sum(bool(crossing[i] != crossing[j]) for i, j in pairs),
            "examples": [list(once["id"].iloc[places]) for places in groups[:EXAMPLES]],
        },
    )
    return rows, [check]


def normal_forms(rows: "pd.DataFrame", params: Params) -> "pd.Series":
    """What makes two texts the same."""
    return rows["text"].map(lambda text: normalise(text, params.fold))
