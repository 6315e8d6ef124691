"""From a raw value to the text that it is: 001 is not 1, and 1.10 is not 1.1."""

import datetime
import decimal
from collections.abc import Mapping
from typing import Any

from fineline.rows.records import Record, Unreadable, unreadable
from fineline.rows.settings import Reading

Classes = Mapping[str, list[str]]
"""Column to the names that its numbers stand for, where the file says so."""


def text_of(record: Record, column: str, how: Reading, classes: Classes) -> str | None:
    """The value of `column` as text, None when it is missing.

    Raises ValueError for what is no single value, too large or no text.
    """
    value = record.values.get(column)
    if column in classes and value is not None:
        return _class_name(column, value, classes[column])
    text = str(value) if isinstance(value, str) else _as_text(column, value)
    if text is None:
        return None
    limit = how.max_cell_bytes
    if len(text) * 4 > limit and (size := len(text.encode("utf-8", "surrogatepass"))) > limit:
        raise ValueError(f"{column} has {size:,} bytes, {limit:,} are allowed ({how.name('max_cell_bytes')})")
    if problem := unreadable(text):
        raise ValueError(f"{column}: {problem}")
    return text


def _as_text(column: str, value: Any) -> str | None:
    """A typed value as text, as CSV and JSON have it: 1.0 is '1.0', so that one column has one set of labels in every format."""
    if value is None or value != value:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, int | decimal.Decimal):
        return str(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{column} is binary, not text") from None
    if isinstance(value, Unreadable):
        raise ValueError(f"{column} is {value.reason}")
    raise ValueError(f"{column} is a {type(value).__name__}, not one value")


def _class_name(column: str, value: Any, names: list[str]) -> str | None:
    """The name behind a class's number; None for -1, with which `datasets` marks a row without a class."""
    try:
        number = int(value)
    except (TypeError, ValueError):
        if value in names:
            return value
        raise ValueError(f"{column} is {value!r}, which is no class") from None
    if number == -1:
        return None
    if not 0 <= number < len(names):
        raise ValueError(f"{column} is {number}, but there are {len(names)} classes")
    return names[number]
