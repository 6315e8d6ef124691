"""Labels with too few groups of rows to be divided as asked."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np


def rare_labels(groups: np.ndarray, labels: np.ndarray, splits: int) -> dict[str, dict[str, int]]:
    """Labels, of objects (m,), whose rows lie in fewer than `splits` of the `groups`, int64 (m,) of the row that each is of."""
    return {label: _said(count) for label, count in _counts(groups, labels).items() if count["groups"] < splits}


def overdrawn(
    groups: np.ndarray, labels: np.ndarray, shares: Sequence[float], may_take: float
) -> tuple[dict[str, dict[str, int]], int]:
    """Labels that cannot all be in every split, as that would take more than a share `may_take` of the rows from training;
    and how many of the others do take some.

    A label whose share of a split is less than its smallest group has that there all the same. Those that take least are in
    every split, as many as `may_take` allows. Arguments as for `stratified`; labels in fewer groups than splits do not count.
    """
    counts = {label: count for label, count in _counts(groups, labels).items() if count["groups"] >= len(shares)}
    taken = {
        label: sum(max(0.0, count["smallest"] - share * count["rows"]) for share in shares[1:])
        for label, count in counts.items()
    }
    takers = sorted((label for label in taken if taken[label] > 1e-9), key=lambda label: (taken[label], label))
    fit = int(np.searchsorted(np.cumsum([taken[label] for label in takers]), may_take * len(labels), side="right"))
    return {label: _said(counts[label]) for label in takers[fit:]}, fit


def one_group_each(groups: np.ndarray, labels: np.ndarray, chosen: Collection[str], of: np.ndarray) -> np.ndarray:
    """True for the rows of one group of each of the `chosen` labels, the largest; bool (n,). `of` is the row of each label."""
    names, numbers = np.unique(labels, return_inverse=True)
    (label, group), rows = np.unique(np.stack([numbers, groups[of]]), axis=1, return_counts=True)
    order = np.lexsort([group, -rows, label])
    largest = group[order][np.unique(label[order], return_index=True)[1]]
    return np.isin(groups, largest[[name in chosen for name in names]])


def _counts(groups: np.ndarray, labels: np.ndarray) -> dict[str, dict[str, int]]:
    """Label to its rows, the groups that hold one of them, and its rows in the one that holds fewest; sorted by label."""
    names, numbers = np.unique(labels, return_inverse=True)
    (label, _), rows = np.unique(np.stack([numbers, groups]), axis=1, return_counts=True)
    starts = np.flatnonzero(np.diff(label, prepend=-1))
    columns = np.bincount(numbers), np.bincount(label), np.minimum.reduceat(rows, starts)
    return {
        name: {"rows": int(n), "groups": int(g), "smallest": int(least)}
        for name, n, g, least in zip(names.tolist(), *columns, strict=True)
    }


def _said(count: dict[str, int]) -> dict[str, int]:
    return {"rows": count["rows"], "groups": count["groups"]}


def asked_and_got(account: dict[str, Any], labels: int) -> str:
    """Such as 'asked 70.0 : 10.0 : 20.0, got 33.3 : 33.3 : 33.3, because ...'; '' where no split is more than a point and a row
    away from what was asked. `labels` is how many there are."""
    names = list(account["asked"])
    rows = [account["rows"][name] for name in names]
    asked, got = list(account["asked"].values()), [count / sum(rows) for count in rows]
    if all(abs(a - g) <= max(0.01, 1 / sum(rows)) for a, g in zip(asked, got, strict=True)):
        return ""
    shown = (" : ".join(f"{100 * share:.1f}" for share in shares) for shares in (asked, got))
    return "asked {}, got {}, because ".format(*shown) + _because(account, labels)


def _because(account: dict[str, Any], labels: int) -> str:
    rare, reasons = account["rare_labels"], []
    if rare["labels"] and rare["policy"] == "train":
        reasons.append(
            f"{len(rare['labels']):,} of {labels:,} labels are in fewer groups of rows than there are splits, and all in training"
        )
    if takers := account.get("takers", 0):
        reasons.append(
            f"{takers:,} of {labels:,} labels have so few rows that one in each split is more than was asked"
        )
    if account["mode"] == "time":
        reasons.append("rows of one time stay together")
    largest = account["groups"]["largest"]
    if largest > 1 or not reasons:
        reasons.append(f"the largest group of rows that stay together has {largest:,}")
    return " and ".join(reasons)
