"""Rows that could not be read: each on a line of quarantine.jsonl with file, line, reason and the whole row."""

import json
from pathlib import Path
from typing import TextIO

from fineline.process.errors import DataRejected, UsageError
from fineline.rows import encodings
from fineline.rows.dataset import describe
from fineline.rows.records import Record
from fineline.rows.settings import Reading

QUARANTINE = "quarantine.jsonl"

_FIELDS = ["file", "line", "reason", "content"]
_NAMED = 3
_READ_ON = 1_000


class TooManyBad(DataRejected):
    """More rows were refused than may be."""


class Quarantine:
    """Writes refused rows to `stream` and counts them. More than `allowed`, a number of rows or below 1 a share of all, are
    too many; `more` tells how to allow them."""

    def __init__(self, stream: TextIO, allowed: float, how: Reading, more: str = "") -> None:
        self.count = 0
        self._how = how
        self._more = more or f"raise {how.name('max_bad_rows')}"
        self._stream = stream
        self._allowed = allowed
        self._first: list[str] = []
        self._undecoded = 0
        self._sample: list[str] = []
        self._sampled = 0

    def add(self, file: str, record: Record, reason: str) -> None:
        """Keeps `record` of `file`; one at line 0 is the whole file.

        Raises TooManyBad a thousand rows beyond the number that is allowed: then all is wrong.
        """
        entry = dict(zip(_FIELDS, (file, record.line, reason, record.content()), strict=True))
        self._stream.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self.count += 1
        if "not valid in the file's encoding" in reason:
            self._undecoded += 1
            if self._sampled < encodings.SAMPLE:
                self._sample.append(record.raw)
                self._sampled += len(record.raw)
        if len(self._first) < _NAMED:
            self._first.append(f"{file} line {record.line}: {reason}" if record.line else reason)
        if not self._is_share() and self.count >= self._allowed + _READ_ON:
            raise self._rejection(
                f"{describe(self.count)} cannot be read, and reading stopped there, {self._allowed:,.0f}"
            )

    def check(self, good: int) -> None:
        """Raises TooManyBad when there are more rows than allowed beside `good` ones."""
        rows = self.count + good
        if self._is_share() and self.count > self._allowed * rows:
            raise self._rejection(f"{self.count:,} of {describe(rows)} cannot be read, {self._allowed:.2%}")
        if not self._is_share() and self.count > self._allowed:
            raise self._rejection(f"{describe(self.count)} cannot be read, {self._allowed:,.0f}")

    def summary(self) -> str:
        """The first few rows: file, line and reason."""
        return "; ".join(self._first) + ("; ..." if self.count > len(self._first) else "")

    def _is_share(self) -> bool:
        return 0 < self._allowed < 1

    def _rejection(self, what: str) -> TooManyBad:
        return TooManyBad(
            f"{what} are allowed: {self.summary()}",
            f"the file is in another encoding: {encodings.hint(self._sample, self._how)}"
            if self._undecoded > self.count / 2
            else f"mend the rows, or {self._more}",
        )


def check_list(path: Path) -> None:
    """Raises UsageError when something stands at `path` that is no list of refused rows: it would be lost to one."""
    try:
        with path.open(encoding="utf-8") as stream:
            entry = json.loads(stream.readline())
        ours = path.is_file() and not path.is_symlink() and list(entry) == _FIELDS
    except FileNotFoundError:
        ours = not path.is_symlink()
    except (OSError, ValueError, TypeError):
        ours = False
    if not ours:
        raise UsageError(
            f"{path} stands where refused rows are listed, and is no such list", "move it away, or write elsewhere"
        )
