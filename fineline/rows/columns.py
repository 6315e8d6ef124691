"""Which column of a source each field of a row is in: {text: body, label: topic}."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

Columns = dict[str, Any]
"""Field to the name of its column, '' for none; a field of several columns to a list of names, [] for none."""


def mapped(
    given: Mapping[str, Any], needed: Sequence[str], others: Sequence[str] = (), several: Sequence[str] = ()
) -> Columns:
    """`given` with every field: a needed one that is not given is in the column of its own name, any other in none.

    Fields of `several` take lists of columns, the others one. Raises ValueError for an unknown field, a needed one without
    a column, a column that two needed ones share, and what is no name.
    """
    fields = [*needed, *others, *several]
    if unknown := [name for name in given if name not in fields]:
        close = difflib.get_close_matches(unknown[0], fields, n=1)
        raise ValueError(
            f"there is no field {unknown[0]}"
            + (f", did you mean {close[0]}?" if close else "")
            + f"; the fields are {', '.join(fields)}"
        )
    columns: Columns = {name: given.get(name, name if name in needed else "") for name in fields}
    for name in several:
        columns[name] = _names(name, columns[name] or [])
    for name in (*needed, *others):
        if not isinstance(columns[name], str):
            raise ValueError(f"{name} is {columns[name]!r}, not the name of a column")
    in_use: dict[str, str] = {}
    for name in needed:
        if not columns[name]:
            raise ValueError(f"{name} needs a column")
        if (other := in_use.setdefault(columns[name], name)) != name:
            raise ValueError(f"{other} and {name} name the same column, {columns[name]!r}")
    return columns


def _names(field: str, columns: Any) -> list[str]:
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise ValueError(f"{field} is {columns!r}, not a list of columns")
    if "" in columns or len(set(columns)) < len(columns):
        raise ValueError(f"{field} holds an empty or a repeated name")
    return columns
