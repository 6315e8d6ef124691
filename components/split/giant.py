"""Groups of near-duplicates too large to lie on one side: how they are cut, and what then leaves so that nothing leaks.

Why so, with figures: docs/decisions/0017-giant-groups-are-cut.md.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_array

    from components.split.leakage import Links


def cut(links: "Links", groups: np.ndarray, most: float) -> np.ndarray:
    """`groups`, int64 (n,), with each of more than a share `most` of the rows cut in pieces of at most that share of it.

    In a piece every row is near a representative; of these small ones beside each other share a piece. Rows of one text, or of
    one value of the column `group`, stay together, be they ever so many.
    """
    sizes = np.bincount(groups)
    cut_up = groups.copy()
    for group in np.flatnonzero(sizes > most * len(groups)):
        rows = np.flatnonzero(groups == group)
        atoms, of_row = np.unique(links.atoms[rows], return_inverse=True)
        near = links.near[groups[links.near[:, 0]] == group]
        between = np.searchsorted(atoms, links.atoms[near])
        pieces = _pieces(np.bincount(of_row), between, most * len(rows))
        cut_up[rows] = len(groups) * (1 + pieces[of_row]) + rows[0]
    return np.unique(cut_up, return_inverse=True)[1]


def were_cut(whole: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Of each row the group in `whole` that was cut into some of `groups`, else -1; all int64 (n,)."""
    pieces = np.unique(np.stack([whole, groups]), axis=1)[0]
    return np.where(np.bincount(pieces)[whole] > 1, whole, -1)


def _pieces(sizes: np.ndarray, pairs: np.ndarray, most: float) -> np.ndarray:
    """Piece of each of a group's atoms, int64 (a,), from their rows, int64 (a,), and which are near each other, int64 (m, 2)."""
    near = _graph(len(sizes), pairs)
    stars = _stars(sizes, near, most)
    between = _graph(int(stars.max()) + 1, stars[pairs])
    return _regions(np.bincount(stars, sizes), between, most)[stars]


def _graph(count: int, pairs: np.ndarray) -> "csr_array":
    """Which of `count` things `pairs`, int64 (m, 2), tie together, without those tied to themselves."""
    from scipy.sparse import coo_array

    i, j = pairs[pairs[:, 0] != pairs[:, 1]].T
    ones = np.ones(2 * len(i), dtype=np.int32)
    return coo_array((ones, (np.append(i, j), np.append(j, i))), shape=(count, count)).tocsr()


def _stars(sizes: np.ndarray, near: "csr_array", most: float) -> np.ndarray:
    """Atoms around a representative that all are near, int64 (a,): who has most near ones first takes those of them that no other
    has, until there are `most` rows."""
    star = np.full(len(sizes), -1)
    for representative in np.argsort(-np.diff(near.indptr), kind="stable"):
        if star[representative] >= 0:
            continue
        tied = near.indices[near.indptr[representative] : near.indptr[representative + 1]]
        free = np.sort(tied[star[tied] < 0])
        star[representative] = representative
        star[free[sizes[representative] + np.cumsum(sizes[free]) <= most]] = representative
    return np.unique(star, return_inverse=True)[1]


def _regions(sizes: np.ndarray, between: "csr_array", most: float) -> np.ndarray:
    """Stars joined with those beside them while that is at most `most` rows, int64 (s,): a chain is cut in few places."""
    region = np.full(len(sizes), -1)
    for first in range(len(sizes)):
        if region[first] >= 0:
            continue
        region[first], rows, waiting = first, sizes[first], [first]
        while waiting:
            star = waiting.pop(0)
            for beside in np.sort(between.indices[between.indptr[star] : between.indptr[star + 1]]):
                if region[beside] < 0 and rows + sizes[beside] <= most:
                    region[beside], rows = first, rows + sizes[beside]
                    waiting.append(beside)
    return region


def leaving(links: "Links", split: np.ndarray, strata: "pd.Series", most: float) -> np.ndarray:
    """Rows of validation and test, bool (n,), that leave because a near-duplicate of theirs lies on another side.

    Near training the row held out leaves, of two held out the one of validation. A label that would lose more than a share `most`
    of its rows in a split keeps them there. `split` as given by number, training 0 (-1: in none), int64 (n,); `strata` the
    labels, each indexed by the row that it is of.
    """
    side, (i, j) = _across(links, split)
    first, last = np.where(side[i] < side[j], i, j), np.where(side[i] < side[j], j, i)
    marked = np.zeros(len(split), dtype=bool)
    marked[np.where(side[first] == 0, last, first)] = True
    leave = marked[links.first] & (split > 0)
    labels, of = strata.to_numpy(), strata.index.to_numpy()
    for number in np.unique(split[leave]):
        for label in sorted(set(labels[leave[of] & (split[of] == number)])):
            inside = of[(labels == label) & (split[of] == number)]
            if leave[inside].mean() > most:
                leave[inside] = False
    return leave


def pairs_across(links: "Links", split: np.ndarray) -> int:
    """How many pairs of nearly the same text lie on two sides."""
    return len(_across(links, split)[1][0])


def _across(links: "Links", split: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The side of each text, by its first row, int64 (n,), and the pairs on two sides, int64 (2, m)."""
    side = np.full(len(split), -1)
    np.maximum.at(side, links.first, split)
    i, j = links.near.T
    return side, links.near[(side[i] != side[j]) & (side[i] >= 0) & (side[j] >= 0)].T


def account(
    rows: "pd.DataFrame",
    links: "Links",
    groups: np.ndarray,
    cut_from: np.ndarray,
    split: np.ndarray,
    leave: np.ndarray,
    strata: "pd.Series",
    names: Sequence[str],
) -> dict[str, Any]:
    """What split.json says of the groups that were cut: how many, who left, which rows held out are still near others; {}: none.

    `groups` are the pieces, `cut_from` what `were_cut` gives; `split` is where the rows were to go before those of `leave` left.
    """
    cut_up = cut_from >= 0
    if not cut_up.any():
        return {}
    sizes = np.unique(cut_from[cut_up], return_counts=True)[1]
    final = np.where(leave, -1, split)
    marked = np.zeros(len(split), dtype=bool)
    marked[_across(links, final)[1].ravel()] = True
    stay = marked[links.first] & (final > 0)
    labels, of = strata.to_numpy(), strata.index.to_numpy()
    ids = rows["id"].to_numpy(dtype=object)
    return {
        "groups": len(sizes),
        "rows": int(sizes.sum()),
        "largest": int(sizes.max()),
        "pieces": len(np.unique(groups[cut_up])),
        "left": {ids[row]: names[split[row]] for row in np.flatnonzero(leave)},
        "near_another_side": {
            "pairs": pairs_across(links, final),
            "labels": {
                label: {
                    name: int((stay[of] & (labels == label) & (final[of] == n)).sum())
                    for n, name in enumerate(names)
                    if n
                }
                for label in sorted(set(labels[stay[of]]))
            },
        },
    }


def said(account: dict[str, Any]) -> str:
    """The account in words."""
    groups, near = account["groups"], account["near_another_side"]["labels"]
    words = f"{groups:,} group{'s' * (groups > 1)} of near-duplicates, the largest of {account['largest']:,} rows, cut into "
    words += f"{account['pieces']:,} pieces: {len(account['left']):,} rows left validation and test"
    if near:
        rows = sum(sum(parts.values()) for parts in near.values())
        words += f", {rows:,} there are near a row on another side, or {', '.join(list(near)[:3])} would have too few"
        words += f" (and {len(near) - 3:,} more labels)" if len(near) > 3 else ""
    return words
