"""The rows: a text and its labels, a list of distinct strings in alphabetical order, which may be empty."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from fineline.process.errors import UsageError
from fineline.texts.sameness import clean_name

COLUMNS = ["labels"]
NONE = "(none)"
MARK = "|"
"""What stands between labels where they are one line, and so in no label."""


def fields() -> list[Any]:
    """One column: the labels, a list of strings."""
    import pyarrow as pa

    return [pa.field(name, pa.list_(pa.string()), nullable=False) for name in COLUMNS]


def parse(raw: dict[str, Any], delimiter: str) -> dict[str, Any]:
    """The labels, each clean (`clean_name`), of a list, of a JSON list, or of a cell in which `delimiter` stands between them; an
    empty cell has none. Raises ValueError for what is nothing of these."""
    value = raw.get("labels")
    if isinstance(value, str):
        value = _listed(value, delimiter)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if value is None or (isinstance(value, float) and np.isnan(value)):
        raise ValueError("no labels: a row without any has an empty list")
    if not isinstance(value, list):
        raise ValueError(f"the labels are a {type(value).__name__}, not a list")
    if wrong := [item for item in value if not isinstance(item, str | int | float | bool)]:
        raise ValueError(f"a label is a {type(wrong[0]).__name__}, not one value")
    names = {clean_name(str(item)) for item in value} - {""}
    if marked := sorted(name for name in names if MARK in name):
        raise ValueError(
            f"the label {marked[0][:40]!r} holds {MARK!r}, which stands between labels where they are one line"
        )
    return {"labels": sorted(names)}


def strata(rows: Any) -> Any:
    """The labels themselves; rows without any are a stratum too."""
    return rows["labels"].explode().fillna(NONE).astype(str)


def labels_of(rows: Any) -> Any:
    """The labels themselves."""
    return rows["labels"].explode().dropna().astype(str)


def written(rows: Any) -> Any:
    """The labels with a mark between them."""
    return rows["labels"].map(line)


def line(names: Collection[str]) -> str:
    """Labels in one line."""
    return MARK.join(sorted(set(names)))


def named(text: str) -> list[str]:
    """The labels in a line."""
    return text.split(MARK) if text else []


def renamed(rows: Any, names: Mapping[str, str]) -> Any:
    """The rows with their labels called otherwise."""
    return rows.assign(labels=rows["labels"].map(lambda labels: sorted({names.get(name, name) for name in labels})))


def label_set(rows: Any) -> list[str]:
    """The distinct labels, sorted."""
    return sorted(labels_of(rows).unique())


def targets(rows: Any, labels: Sequence[str]) -> np.ndarray:
    """Whether each row has each of `labels`, bool (n, k)."""
    index = {label: i for i, label in enumerate(labels)}
    has = np.zeros((len(rows), len(labels)), dtype=bool)
    unknown: set[str] = set()
    for row, names in enumerate(rows["labels"]):
        unknown.update(set(names) - index.keys())
        has[row, [index[name] for name in names if name in index]] = True
    if unknown:
        shown = ", ".join(sorted(unknown)[:10])
        raise UsageError(f"labels not known to the model: {shown}", "train on data that has them")
    return has


def _listed(cell: str, delimiter: str) -> Any:
    """What a cell of text holds: a JSON list, or names with `delimiter` between them."""
    if cell.lstrip().startswith("["):
        try:
            return json.loads(cell)
        except ValueError:
            raise ValueError(f"the labels begin like a JSON list and are none: {cell[:40]!r}") from None
    return cell.split(delimiter)
