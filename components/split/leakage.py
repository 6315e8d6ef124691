"""What must not lie on two sides: the same text, nearly the same text, the same group."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fineline.texts.sameness import components, exact_near_pairs, normalise

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class Links:
    """What ties n rows together."""

    atoms: np.ndarray
    """Number of each row's atom, int64 (n,): rows with the same normal form of the text or the same value in `group`, over any
    number of links. They are never divided."""
    first: np.ndarray
    """The first row with the same normal form, int64 (n,)."""
    near: np.ndarray
    """Rows i < j with nearly the same text, int64 (m, 2); of those with the same normal form only the first."""

    def groups(self) -> np.ndarray:
        """Group number of each row, int64 (n,): atoms and near texts joined over any number of links."""
        return components(len(self.atoms), np.concatenate([_first_rows_of(self.atoms), self.near]))


def link_rows(rows: "pd.DataFrame", threshold: float, use_group: bool, fold: Collection[str] = ()) -> Links:
    """How `rows` are tied together: by the normal form of the text (`fold` as in `normalise`), by a Jaccard similarity of at
    least `threshold` (0: off), and, if `use_group`, by the column `group`."""
    forms = _forms(rows, fold)
    same = np.array(_same(forms), dtype=np.int64).reshape(-1, 2)
    first = np.arange(len(rows))
    first[same[:, 1]] = same[:, 0]
    ties = same
    if use_group and "group" in rows:
        ties = np.concatenate([same, np.array(_same(_named_groups(rows)), dtype=np.int64).reshape(-1, 2)])
    once = np.flatnonzero(first == np.arange(len(rows)))
    near = exact_near_pairs(forms.iloc[once].tolist(), threshold) if threshold > 0 else np.empty((0, 2), dtype=np.int64)
    return Links(components(len(rows), ties), first, once[near])


def leaks_into(
    rows: "pd.DataFrame", test: "pd.DataFrame", threshold: float, use_group: bool, fold: Collection[str] = ()
) -> dict[str, dict[str, str]]:
    """Rows that a predefined test split must not have in training: id -> {"reason", "test_id"}, in the order of `rows`."""
    import pandas as pd

    both = pd.concat([rows, test], ignore_index=True)
    sides = np.repeat([0, 1], [len(rows), len(test)])
    forms = _forms(both, fold)
    near = {forms[i]: j for i, j in _near_across(forms, sides, threshold).tolist()}
    found = _held_by_test(forms[sides == 0], near, "near-duplicate")
    if use_group and "group" in both:
        names = _named_groups(both)
        found |= _held_by_test(names[sides == 0], _first_rows(names[sides == 1]), "same group")
    found |= _held_by_test(forms[sides == 0], _first_rows(forms[sides == 1]), "same text")
    ids = both["id"].tolist()
    return {ids[row]: {"reason": reason, "test_id": ids[held]} for row, (reason, held) in sorted(found.items())}


def shared_between(
    parts: "Mapping[str, pd.DataFrame]", threshold: float, use_group: bool, fold: Collection[str] = ()
) -> dict[str, Any]:
    """How many normal forms, near-duplicate pairs and groups lie in two of `parts`: all 0 when nothing leaks."""
    import pandas as pd

    rows = pd.concat(parts.values(), ignore_index=True)
    sides = np.repeat(np.arange(len(parts)), [len(part) for part in parts.values()])
    forms = _forms(rows, fold)
    found = {
        "threshold": threshold,
        "shared_texts": _on_two_sides(forms, sides),
        "near_duplicate_pairs": len(_near_across(forms, sides, threshold)),
        "shared_groups": 0,
    }
    if use_group and "group" in rows:
        found["shared_groups"] = _on_two_sides(_named_groups(rows), sides)
    return found


def _first_rows_of(numbers: np.ndarray) -> np.ndarray:
    """Links from the first row with a number to each row with it, int64 (n, 2)."""
    _, first, which = np.unique(numbers, return_index=True, return_inverse=True)
    return np.stack([first[which], np.arange(len(numbers))], axis=1)


def _forms(rows: "pd.DataFrame", fold: Collection[str]) -> "pd.Series":
    return rows["text"].map(lambda text: normalise(text, fold))


def _same(values: "pd.Series") -> list[tuple[int, int]]:
    """Links from the first row with a value to each other row with it; missing values link nothing."""
    first: dict[Any, int] = {}
    rows = np.flatnonzero(values.notna().to_numpy())
    return [(first.setdefault(value, int(row)), int(row)) for row, value in zip(rows, values.iloc[rows], strict=True)]


def _named_groups(rows: "pd.DataFrame") -> "pd.Series":
    """The column `group`, missing where it is empty."""
    return rows["group"].where(rows["group"] != "")


def _first_rows(values: "pd.Series") -> dict[Any, int]:
    once = values.dropna().drop_duplicates()
    return dict(zip(once, once.index, strict=True))


def _held_by_test(values: "pd.Series", test_rows: dict[Any, int], reason: str) -> dict[int, tuple[str, int]]:
    """Row number -> (reason, row number in the test) for each of `values`, numbered from 0, that a test row has too."""
    return {row: (reason, test_rows[value]) for row, value in enumerate(values) if value in test_rows}


def _on_two_sides(values: "pd.Series", sides: np.ndarray) -> int:
    """How many distinct values lie on more than one side; missing ones do not count."""
    return int((values.to_frame("value").assign(side=sides).groupby("value")["side"].nunique() > 1).sum())


def _near_across(forms: "pd.Series", sides: np.ndarray, threshold: float) -> np.ndarray:
    """Rows i < j on different sides with nearly the same text, int64 (m, 2); of equal texts on a side only the first."""
    if threshold == 0:
        return np.empty((0, 2), dtype=np.int64)
    once = np.flatnonzero(~forms.to_frame().assign(side=sides).duplicated().to_numpy())
    return once[exact_near_pairs(forms.iloc[once].tolist(), threshold, sides[once])]
