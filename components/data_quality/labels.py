"""Whether the labels can be trusted: annotator agreement, likely label errors, balance, labels that are only tested."""

import re
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from components.data_quality.check import Check, is_test
from components.data_quality.params import Params
from fineline.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

_LISTED = 200
_SMALL = 2
_WORD = re.compile(r"\b\w+\b")
_TRUSTED = 0.7
_LOWEST = 5


def check_agreement(rows: "pd.DataFrame", task: Task, params: Params) -> "tuple[pd.DataFrame, list[Check]]":
    """Percent agreement and Cohen's kappa (Cohen 1960) of each pair of annotators; nothing where no two labelled a row.

    Kappa is undefined where both gave one and the same label throughout; the percent agreement counts then.
    """
    if params.on_disagreement == "ignore" or "annotators" not in rows:
        return rows, []
    given = [[name or None for name in (names if names is not None else [])] for names in rows["annotators"]]
    pairs = _pairwise(given)
    if not pairs:
        return rows, []
    least = min(pair["percent"] if pair["kappa"] is None else pair["kappa"] for pair in pairs)
    voted = [sorted({name for name in names if name}) for names in given]
    judged = np.array([sum(name is not None for name in names) > 1 for names in given])
    split = np.array([len(names) > 1 for names in voted])
    label = task.written(rows).to_numpy()
    per_label = {
        str(name): float(1 - split[judged & (label == name)].mean()) for name in sorted(set(label[judged].tolist()))
    }
    lowest = sorted(per_label.items(), key=lambda item: (item[1], item[0]))[:_LOWEST]
    check = Check(
        "disagreement",
        params.on_disagreement,
        f"any two annotators agree with a kappa of {params.min_agreement:g} or more",
        least >= params.min_agreement,
        least,
        params.min_agreement,
        [int(row) for row in rows.index[split]],
        spares_test=True,
        details={"pairs": pairs, "lowest_labels": dict(lowest)},
    )
    return rows, [check]


def check_label_errors(rows: "pd.DataFrame", task: Task, params: Params) -> "tuple[pd.DataFrame, list[Check]]":
    """Likely wrong labels, as the task suspects them, the surest first.

    Rows of labels with fewer rows than folds and texts without a word are not judged. Where the classifier is right less often
    than 0.7 it cannot tell an error from a hard text, so the rows are listed but none leaves.
    """
    if params.on_label_errors == "ignore" or task.suspects is None:
        return rows, []
    worded = rows[rows["text"].map(lambda text: _WORD.search(text) is not None)]
    strata = task.strata(worded)
    few = strata.index[strata.map(strata.value_counts()) < params.label_folds]
    judged = worded[~worded.index.isin(few)]
    names = task.label_set(judged)
    if len(names) < 2:
        return rows, []
    texts, targets = judged["text"].tolist(), task.targets(judged, names)
    folds, confidence = params.label_folds, params.label_error_confidence
    accuracy, suspects = task.suspects(texts, targets, names, folds, confidence, params.seed)
    trusted = accuracy >= _TRUSTED
    check = Check(
        "label_errors",
        params.on_label_errors if trusted else "warn",
        "no label is likely wrong",
        not suspects,
        len(suspects),
        0,
        [int(judged.index[entry["row"]]) for entry in suspects],
        spares_test=True,
        details={
            "classifier_accuracy": accuracy,
            "trusted": trusted,
            "not_judged": len(rows) - len(judged),
            "suspects": [
                {"id": judged["id"].iloc[entry["row"]], **{name: entry[name] for name in entry if name != "row"}}
                for entry in suspects[:_LISTED]
            ],
        },
    )
    return rows, [check]


def check_small_labels(rows: "pd.DataFrame", task: Task, params: Params) -> "tuple[pd.DataFrame, list[Check]]":
    """The share of labels with one or two rows: nothing can be learned of them, and where most are so, text and label may be
    swapped (`swapped`: there are more labels than texts)."""
    if params.on_small_labels == "ignore":
        return rows, []
    strata = task.strata(rows)
    counts = strata.value_counts()
    small = counts.index[counts <= _SMALL]
    share = len(small) / len(counts)
    details = {"labels": len(counts), "small": len(small), "swapped": len(counts) > rows["text"].nunique()}
    return rows, [
        Check(
            "small_labels",
            params.on_small_labels,
            f"{params.max_small_labels:.0%} of the labels or fewer have one or two rows",
            share <= params.max_small_labels,
            share,
            params.max_small_labels,
            [int(row) for row in strata.index[strata.isin(small)].unique()],
            details=details,
        )
    ]


def check_balance(rows: "pd.DataFrame", task: Task, params: Params) -> "tuple[pd.DataFrame, list[Check]]":
    """Rows of the commonest label for one of the rarest; labels of the predefined test split that nothing is trained on."""
    strata, checks = task.strata(rows), []
    if params.on_untrained_label != "ignore" and (tested := is_test(rows)).any():
        of_test = tested[strata.index].to_numpy()
        untrained = sorted(set(strata[of_test]) - set(strata[~of_test]))
        broken = [int(row) for row in strata.index[strata.isin(untrained)].unique()]
        says = "each label of the test split is in the other rows too"
        details = {"labels": untrained}
        checks.append(
            Check(
                "untrained_label",
                params.on_untrained_label,
                says,
                not untrained,
                len(untrained),
                0,
                broken,
                False,
                details,
            )
        )
    if params.on_imbalance != "ignore":
        counts = strata.value_counts()
        ratio = float(counts.max() / counts.min())
        says = f"{params.max_imbalance:g} rows or fewer of the commonest label for one of the rarest"
        checks.append(
            Check("imbalance", params.on_imbalance, says, ratio <= params.max_imbalance, ratio, params.max_imbalance)
        )
    return rows, checks


def _pairwise(given: list[list[str | None]]) -> list[dict[str, Any]]:
    from sklearn.metrics import cohen_kappa_score

    pairs = []
    for i, j in combinations(range(max(map(len, given), default=0)), 2):
        both = [
            (names[i], names[j]) for names in given if len(names) > j and names[i] is not None and names[j] is not None
        ]
        if not both:
            continue
        number: dict[
            str, int
        ] = {}  # of names scikit-learn would make an array in which each takes the longest one's memory
        first, second = ([number.setdefault(name, len(number)) for name in side] for side in zip(*both, strict=True))
        constant = len(number) == 1
        pairs.append(
            {
                "annotators": [i + 1, j + 1],
                "rows": len(both),
                "percent": sum(a == b for a, b in both) / len(both),
                "kappa": None if constant else float(cohen_kappa_score(first, second)),
            }
        )
    return pairs
