"""CSV and TSV, read strictly: a row of another width, a lost quote or a NUL byte is found, never guessed around."""

import csv
import re
from collections.abc import Iterator
from typing import TextIO

from fineline.process.errors import DataRejected
from fineline.rows.records import RECORD_LIMIT, Record, unreadable
from fineline.rows.settings import Reading

_SAYS_DELIMITER = re.compile(r'"?sep=([^"\r\n])"?[\r\n]*')
"""The line that Excel writes before the header, and reads."""


def read_delimited(stream: TextIO, delimiter: str, shown: str, how: Reading) -> tuple[list[str], Iterator[Record]]:
    """The column names of the first line, and the records below it, one by one. A first line `sep=;` names the delimiter.

    `stream` is opened with newline="" and errors="surrogateescape". Raises DataRejected for what makes the whole file
    doubtful: no header, a column named twice, a quote that is never closed.
    """
    csv.field_size_limit(RECORD_LIMIT)
    first = stream.readline(RECORD_LIMIT)
    if said := _SAYS_DELIMITER.fullmatch(first):
        delimiter = said[1]
    records = _records(stream, "" if said else first, delimiter, shown)
    header = next(records, None)
    if header is None:
        raise DataRejected(f"{shown} is empty", "give a file whose first line names the columns")
    _line, cells, raw, problem = header
    if problem or unreadable(raw):
        raise DataRejected(
            f"{shown} line 1: the column names cannot be read: {problem or unreadable(raw)}",
            f"if it is text in another encoding, set {how.name('encoding')} (for instance cp1252 or utf-16)",
        )
    columns = [cell.strip() for cell in cells]
    if twice := sorted({name for name in columns if name and columns.count(name) > 1}):
        raise DataRejected(f"{shown} line 1: two columns are named {', '.join(twice)}", "rename or remove one of them")
    return columns, (_checked(record, columns) for record in records)


def _checked(record: tuple[int, list[str], str, str], columns: list[str]) -> Record:
    line, cells, raw, problem = record
    problem = problem or unreadable(raw)
    if not problem and len(cells) != len(columns):
        problem = f"{len(cells)} cells where the header has {len(columns)}"
    if len(cells) > 1 and not any(cell.strip() for cell in cells):
        return Record(line, {}, raw=raw, blank=True)
    if problem:
        return Record(line, {}, problem, raw)
    return Record(line, dict(zip(columns, cells, strict=True)))


def _records(stream: TextIO, first: str, delimiter: str, shown: str) -> Iterator[tuple[int, list[str], str, str]]:
    """(first line, cells, raw text, problem) of each record that has cells. `first` is the line that was read already, if any."""
    pending: list[str] = []
    before = 0 if first else 1  # lines that the csv reader does not see

    def lines() -> Iterator[str]:
        size = 0
        ahead = first
        while line := ahead or stream.readline(RECORD_LIMIT):
            ahead = ""
            size = len(line) if not pending else size + len(line)
            pending.append(line)
            if size >= RECORD_LIMIT:
                last = before + reader.line_num + 1
                raise DataRejected(
                    f"{shown} line {last - len(pending) + 1}: the row that starts here has more than {RECORD_LIMIT:,} "
                    f"characters; a quote may be open since line {_opened(pending, delimiter, last)}",
                    "close the quote, or remove the row",
                )
            yield line

    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    while True:
        pending.clear()
        start = before + reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # A quote that went over a line break swallowed rows: what follows cannot be trusted. Within one line it can.
            if len(pending) > 1 or "unexpected end of data" in str(error):
                opened = _opened(pending, delimiter, before + reader.line_num)
                raise DataRejected(
                    f"{shown} line {opened}: a quote opens here and is not closed properly",
                    'close it, or write a quote that belongs to the text twice ("")',
                ) from None
            yield start, [], pending[0], f"broken quotes: {error}"
            continue
        if cells:
            yield start, cells, pending[0] if len(pending) == 1 else "".join(pending), ""


def _opened(lines: list[str], delimiter: str, last: int) -> int:
    """The line on which the last quoted cell of a record opens; `last` is the number of the last of its `lines`."""
    first = opened = last - len(lines) + 1
    quoted, at_start = False, True
    for number, line in enumerate(lines, first):
        for position, character in enumerate(line):
            if quoted:
                # A doubled quote closes and opens again in place, which leaves `quoted` right and `opened` as it was.
                quoted = character != '"'
            elif character == '"' and (at_start or line[position - 1] == '"'):
                opened = number if at_start else opened
                quoted = True
            at_start = not quoted and character in (delimiter, "\n", "\r")
    return opened
