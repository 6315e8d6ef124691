"""Rows that could not be read: each on a line of quarantine.jsonl with file, line, reason and the row itself."""

import json
from typing import TextIO

from fineline.process.errors import DataRejected
from fineline.rows.dataset import describe
from fineline.rows.records import Record
from fineline.rows.settings import Reading

QUARANTINE = "quarantine.jsonl"

_NAMED = 3
_READ_ON = 1_000


class Quarantine:
    """Writes refused rows to `stream` and counts them. More than `allowed` are too many; `more` tells how to allow them."""

    def __init__(self, stream: TextIO, allowed: int, how: Reading, more: str = "") -> None:
        self.count = 0
        self._how = how
        self._more = more or f"raise {how.name('max_bad_rows')}"
        self._stream = stream
        self._allowed = allowed
        self._first: list[str] = []
        self._encoding = 0

    def add(self, file: str, record: Record, reason: str) -> None:
        """Keeps `record` of `file`. Raises DataRejected a thousand rows beyond what is allowed: then all is wrong."""
        entry = {"file": file, "line": record.line, "reason": reason, "content": record.content()}
        self._stream.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self.count += 1
        self._encoding += "not valid in the file's encoding" in reason
        if len(self._first) < _NAMED:
            self._first.append(f"{file} line {record.line}: {reason}")
        if self.count >= self._allowed + _READ_ON:
            raise self._rejection(f"{describe(self.count)} cannot be read, and reading stopped there")

    def check(self) -> None:
        """Raises DataRejected when there are more rows than allowed."""
        if self.count > self._allowed:
            raise self._rejection(f"{describe(self.count)} cannot be read")

    def summary(self) -> str:
        """The first few rows: file, line and reason."""
        return "; ".join(self._first) + ("; ..." if self.count > len(self._first) else "")

    def _rejection(self, what: str) -> DataRejected:
        return DataRejected(
            f"{what}, {self._allowed} are allowed: {self.summary()}",
            f"the file is in another encoding: set {self._how.name('encoding')}, for instance to cp1252"
            if self._encoding > self.count / 2
            else f"mend the rows, or {self._more}",
        )
