"""Labels that are one label written in several ways: in another case, with other spaces, as 1 and as 1.0."""

import decimal
import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from components.data_quality.check import Check
from components.data_quality.params import Params
from fineline.tasks import Task
from fineline.texts.sameness import normalise

if TYPE_CHECKING:
    import pandas as pd

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)")
_KEPT = 60


def check_label_twins(rows: "pd.DataFrame", task: Task, params: Params) -> "tuple[pd.DataFrame, list[Check]]":
    """Labels with one normal form, or of one number (0, 0.0, 00), each with its rows; made one where the parameters say so.

    The one that `labels` allows is kept, else the one of the most rows; what the annotators said is changed with it.
    """
    if params.on_label_twins == "ignore":
        return rows, []
    strata = task.strata(rows)
    counts = Counter(label for label in strata if isinstance(label, str) and label)
    said = {name for names in rows.get("annotators", ()) if names is not None for name in names if name}
    spellings: dict[decimal.Decimal | str, list[str]] = defaultdict(list)
    for label in sorted({*counts, *(said if params.on_label_twins == "unify" else ())}):
        spellings[_form(label)].append(label)
    kept: dict[str, str] = {}
    twins = []
    for group in (group for group in spellings.values() if len(group) > 1):
        best = min(group, key=lambda label: (label not in params.labels, -counts[label], label))
        kept |= {label: best for label in group if label != best}
        if len([label for label in group if counts[label]]) > 1:
            twins.append({label: counts[label] for label in group})
    unify = params.on_label_twins == "unify"
    broken = [int(row) for row in strata.index[strata.isin(list(kept))].unique()]
    check = Check(
        "label_twins",
        "warn" if unify else params.on_label_twins,
        "no two labels differ only in case, spacing or the writing of a number",
        unify or not twins,
        len(twins),
        0,
        broken,
        details={"twins": twins[:_KEPT], "repaired": len(broken) if unify else 0},
    )
    return (_unified(rows, task, kept) if unify else rows), [check]


def _form(label: str) -> decimal.Decimal | str:
    return decimal.Decimal(label) if _NUMBER.fullmatch(label) else normalise(label)


def _unified(rows: "pd.DataFrame", task: Task, kept: dict[str, str]) -> "pd.DataFrame":
    if "annotators" in rows:
        said = rows["annotators"].map(
            lambda names: names if names is None else [kept.get(name, name) for name in names]
        )
        rows = rows.assign(annotators=said)
    return task.renamed(rows, kept)
