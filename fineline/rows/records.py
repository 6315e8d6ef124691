"""A row as it was read, before anything is known about its columns."""

import base64
import dataclasses
import datetime
import json
import math
import re
from typing import Any

RECORD_LIMIT = 64_000_000
"""Characters of a text file's line, or of a record with line breaks in quotes, that are read into memory at most."""

_UNDECODED = re.compile("[\udc80-\udcff]")


class Number(str):
    """A number as its file writes it: 1.10 is not 1.1."""


@dataclasses.dataclass(frozen=True, slots=True)
class Unreadable:
    """A single value that could not be read; the other values of its row could."""

    reason: str


@dataclasses.dataclass(slots=True)
class Record:
    """One row of a file.

    `line` is where it begins, counted from 1: the line of a text file, the row of a Parquet or Arrow file. `values` are
    its raw values by column. A row that could not be read has a `problem` instead, and its `raw` text. A `blank` one holds
    nothing but empty cells, as spreadsheets leave them below their rows: it is no row.
    """

    line: int
    values: dict[str, Any]
    problem: str = ""
    raw: str = ""
    blank: bool = False

    def content(self) -> str:
        """The whole row as text for the quarantine; bytes that are no text show as \\xe9."""
        text = self.raw or as_json(self.values)
        text = _UNDECODED.sub(lambda match: f"\\x{ord(match[0]) - 0xDC00:02x}", text.rstrip("\r\n"))
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def as_json(value: Any) -> str:
    """`value` as JSON (RFC 8259) on one line: numbers as they were written, a missing one as null, bytes and dates as text."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{json.dumps(str(key), ensure_ascii=False)}: {as_json(v)}" for key, v in value.items())
            + "}"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(as_json, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return "null" if math.isnan(value) else '"Infinity"' if value > 0 else '"-Infinity"'
    if value is None or isinstance(value, str | bool | int | float):
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(as_text(value), ensure_ascii=False)


def as_text(value: Any) -> str:
    """A value that JSON has no kind for, as text: dates as ISO 8601, bytes as the UTF-8 that they are, else in base64."""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return base64.b64encode(value).decode("ascii")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return value.reason if isinstance(value, Unreadable) else str(value)


def unreadable(text: str) -> str:
    """Why `text`, decoded with surrogateescape, is no text; '' when it is."""
    if "\0" in text:
        return "a NUL byte"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        if 0xDC80 <= code <= 0xDCFF:
            return f"byte 0x{code - 0xDC00:02x} is not valid in the file's encoding"
        return f"half of a surrogate pair, U+{code:04X}"
    return ""
