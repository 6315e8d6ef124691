"""A row as it was read, before anything is known about its columns."""

import dataclasses
import json
import re
from typing import Any

RECORD_LIMIT = 64_000_000
"""Characters of a text file's line, or of a record with line breaks in quotes, that are read into memory at most."""

_SHOWN = 2_000
_UNDECODED = re.compile("[\udc80-\udcff]")


@dataclasses.dataclass(slots=True)
class Record:
    """One row of a file.

    `line` is where it begins, counted from 1: the line of a text file, the row of a Parquet or Arrow file. `values` are
    its raw values by column. A row that could not be read has a `problem` instead, and its `raw` text.
    """

    line: int
    values: dict[str, Any]
    problem: str = ""
    raw: str = ""

    def content(self) -> str:
        """The row as text for the quarantine, its first 2,000 characters; bytes that are no text show as \\xe9."""
        text = self.raw or json.dumps(self.values, ensure_ascii=False, default=str)
        text = _UNDECODED.sub(lambda match: f"\\x{ord(match[0]) - 0xDC00:02x}", text[:_SHOWN].rstrip("\r\n"))
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


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
