"""Which split each row goes to: stratified, or by time; whole groups of rows only."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fineline.process.errors import DataRejected

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_array


_SINCE, _UNTIL = 631_152_000, 4_102_444_800  # 1990 and 2100, in seconds since 1970
_KEPT_BACK = 0.05  # of the room for groups of several labels: the last ones even out what the others left uneven


def stratified(
    groups: np.ndarray,
    labels: np.ndarray,
    shares: Sequence[float],
    keys: Sequence[str],
    seed: int,
    fixed: "np.ndarray | None" = None,
    of: "np.ndarray | None" = None,
) -> np.ndarray:
    """Split number of each row, int64 (n,), such that each split holds its share of every label as nearly as it can.

    `groups` are int64 (n,), `labels` int64 (m,), both numbered from 0; `of`, int64 (m,), says which row each label is of (none: a
    row has one label, the one at its place). `shares` sum to 1; `keys` name the rows, or their
    groups, the same in every dataset that they are part of; rows of groups in `fixed`, bool (n,), go to split 0.

    A group's key and `seed` say which split is its home, by a hash. The largest group first, then by that hash, each goes
    home, as long as there is room for its labels; so most rows stay where they are while the dataset grows, and what a
    model was tested on does not become what the next one learns from. Who finds no room goes where it brings the label
    shares nearest to what is asked (squared difference of shares), then the share of all rows: iterative stratification
    (Sechidis et al. 2011, On the stratification of multi-label data), carried over to groups. A label with as many groups
    as there are splits, or more, gets at least one row in each. Rounding is the only deviation as long as enough groups
    are small.
    """
    table = _count_table(groups, groups if of is None else groups[of], labels)
    sizes = np.bincount(groups)
    label_rows = np.asarray(table.sum(axis=0)).ravel()
    wanted = np.outer(shares, label_rows)
    wanted_total = np.array(shares) * len(groups)
    have, have_total = np.zeros_like(wanted), np.zeros(len(shares))
    unassigned = np.bincount(table.indices, minlength=table.shape[1])  # groups that hold the label
    split_of = np.zeros(table.shape[0], dtype=np.int64)

    places = _places(groups, keys, seed)
    homes = np.searchsorted(np.cumsum(shares)[:-1], places, side="right")
    order = np.lexsort([places, -sizes])
    is_fixed = np.zeros(table.shape[0], dtype=bool)
    if fixed is not None:
        is_fixed[groups[fixed]] = True
        order = np.concatenate([order[is_fixed[order]], order[~is_fixed[order]]])
    for group in order:
        inside = slice(table.indptr[group], table.indptr[group + 1])
        label, count = table.indices[inside], table.data[inside]
        if is_fixed[group]:
            chosen = 0
        else:
            cost = ((2 * (have[:, label] - wanted[:, label]) + count) * count / label_rows[label] ** 2).sum(axis=1)
            lacking = (have[:, label] == 0) & (unassigned[label] <= (have[:, label] == 0).sum(axis=0))
            if lacking.any():
                cost[~lacking.any(axis=1)] = np.inf
            best = np.flatnonzero(cost <= cost.min() + 1e-12)
            home = homes[group]
            room = wanted[home, label] * (1 if len(label) == 1 else 1 - _KEPT_BACK)
            at_home = cost[home] < np.inf and (have[home, label] + count / 2 <= room).all()
            chosen = int(home if at_home else best[np.argmin((have_total - wanted_total)[best])])
        split_of[group] = chosen
        have[chosen, label] += count
        have_total[chosen] += sizes[group]
        unassigned[label] -= 1
    return split_of[groups]


def by_time(groups: np.ndarray, times: "pd.Series", shares: Sequence[float]) -> np.ndarray:
    """Split number of each row, int64 (n,), in the order of time: the oldest in split 0, the newest in the last.

    A group lies where its newest row lies: all rows of a split are older than the newest row of any group in the next one,
    so nothing is learned from the time of the test. Older rows of a group that goes on into that time move with it. Groups
    of one time stay together, for nothing says which of them came first.
    """
    newest = times.groupby(groups).transform("max")
    sizes = newest.groupby(newest).size()
    middle = (sizes.cumsum() - sizes / 2) / len(groups)
    split = np.searchsorted(np.cumsum(shares)[:-1], middle.to_numpy(), side="right")
    return newest.map(dict(zip(sizes.index, split, strict=True))).to_numpy(dtype=np.int64)


def timestamps(rows: "pd.DataFrame") -> "pd.Series":
    """The column `time` as numbers, or as UTC timestamps (ISO 8601): what most rows have. Raises DataRejected for rows that
    have another, and for numbers of several units.
    """
    import pandas as pd

    numbers = pd.to_numeric(rows["time"], errors="coerce").replace([np.inf, -np.inf], np.nan)
    parsed = pd.to_datetime(rows["time"], format="ISO8601", utc=True, errors="coerce")
    kind, times = max(("number", numbers), ("time in ISO 8601", parsed), key=lambda found: found[1].notna().sum())
    if (bad := rows[times.isna()]).size:
        what = f"no {kind}, as most have" if times.notna().any() else "neither a number nor a time in ISO 8601"
        raise DataRejected(
            f"the time of {len(bad):,} of {len(rows):,} rows is {what}: {_named(bad)}",
            "write all times as ISO 8601 (2026-11-30T08:15:00Z) or all as numbers, or use mode: stratified",
        )
    if kind == "number":
        _check_units(rows, numbers)
    return times


def _check_units(rows: "pd.DataFrame", numbers: "pd.Series") -> None:
    """Raises DataRejected when some times are seconds since 1970 and others milliseconds, or another such mixture."""
    units = {
        unit: numbers.between(_SINCE * per_second, _UNTIL * per_second)
        for unit, per_second in (("seconds", 1), ("milliseconds", 1e3), ("microseconds", 1e6), ("nanoseconds", 1e9))
    }
    found = sorted((unit for unit in units if units[unit].any()), key=lambda unit: -units[unit].sum())
    if len(found) > 1:
        raise DataRejected(
            f"the times are {' and '.join(found)} since 1970: {_named(rows[units[found[-1]]])} is {found[-1]}",
            "write all times in one unit",
        )


def _named(rows: "pd.DataFrame") -> str:
    """The first rows by id, with their times."""
    shown = ", ".join(f"{time!r} in row {row}" for row, time in zip(rows["id"][:3], rows["time"][:3], strict=True))
    return shown + (f" and {len(rows) - 3:,} more" if len(rows) > 3 else "")


def _places(groups: np.ndarray, keys: Sequence[str], seed: int) -> np.ndarray:
    """A number from 0 to 1 for each group, float64: even, and the same as long as the group keeps its first row.

    Which row is a group's first is decided by one part of the rows' hashes, the number by another: of the same part, large
    groups would have small numbers.
    """
    hashes = [hashlib.sha256(f"{seed} {key}".encode()).digest()[:16] for key in keys]
    ranks, numbers = np.frombuffer(b"".join(hashes), dtype=">u8").reshape(-1, 2).T
    order = np.lexsort([ranks, groups])
    first = order[np.unique(groups[order], return_index=True)[1]]
    return numbers[first] / 2.0**64


def _count_table(groups: np.ndarray, of_labels: np.ndarray, labels: np.ndarray) -> "csr_array":
    """Rows of each label in each of the `groups`; each of the `labels` is of a row in the group at its place in `of_labels`."""
    from scipy.sparse import coo_array

    shape = int(groups.max()) + 1, int(labels.max(initial=-1)) + 1
    return coo_array((np.ones(len(labels), dtype=np.int64), (of_labels, labels)), shape=shape).tocsr()
