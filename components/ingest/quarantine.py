"""Rows that could not be read: each on a line of quarantine.jsonl with file, line, reason and the row itself."""

import json
from typing import TextIO

from components.ingest.records import Record
from fineline.dataset import describe
from fineline.errors import DataRejected

QUARANTINE = "quarantine.jsonl"

_NAMED = 3
_READ_ON = 1_000


class Quarantine:
    """Writes refused rows to `stream` and counts them; more than `allowed` of them stop the step."""

    def __init__(self, stream: TextIO, allowed: int) -> None:
        self.count = 0
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
            "the file is in another encoding: set ingest.encoding, for instance to cp1252"
            if self._encoding > self.count / 2
            else "mend the rows, or raise ingest.max_bad_rows",
        )
