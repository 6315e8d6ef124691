"""CSV and TSV, read strictly: a row of another width, a lost quote or a NUL byte is found, never guessed around."""

import csv
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TextIO

from fineline.process.errors import DataRejected
from fineline.rows import encodings
from fineline.rows.records import RECORD_LIMIT, Record, unreadable
from fineline.rows.settings import Reading

_SAYS_DELIMITER = re.compile(r'"?sep=([^"\r\n])"?[\r\n]*')
"""The line that Excel writes before the header, and reads."""
_LINE_END = re.compile(r"\r\n|\r|\n")
_PEEKED = 1_000_000
"""Characters from which is seen whether a TSV's quotes are quotes."""


class _Raw(NamedTuple):
    """A record before its cells have names: the line it begins on, how many it has, cells, text, what is wrong with it."""

    line: int
    lines: int
    cells: list[str]
    raw: str
    problem: str


class Delimited(NamedTuple):
    """The column names, the records below them, and whether cells stand in quotes."""

    columns: list[str]
    records: Iterator[Record]
    quoted: bool


def read_delimited(stream: TextIO, delimiter: str, shown: str, how: Reading) -> Delimited:
    """The column names of the first line, and the records below it, one by one. A first line `sep=;` names the delimiter.

    `stream` is opened with newline="" and errors="surrogateescape". With quoting 'auto', a file with tabs between its cells
    is read without quotes when those in its beginning are text (`_are_quotes`). Raises DataRejected for what makes the
    whole file doubtful: no header, a column named twice, a quote that is never closed.
    """
    csv.field_size_limit(RECORD_LIMIT)
    lines: Iterator[str] = iter(lambda: stream.readline(RECORD_LIMIT), "")
    first = next(lines, "")
    said = _SAYS_DELIMITER.fullmatch(first)
    delimiter = said[1] if said else delimiter
    ahead = [] if said else [first]
    quoted = how.quoting != "none"
    if how.quoting == "auto" and delimiter == "\t":
        ahead += _beginning(lines)
        quoted = _are_quotes(ahead, delimiter, how)
    skipped = 1 if said else 0
    lines = itertools.chain(ahead, lines)
    records = _records(lines, skipped, _dialect(delimiter, quoted, how), shown, how)
    columns = _columns(next(records, None), lines, shown, how)
    return Delimited(columns, (_checked(record, columns, delimiter, how) for record in records), quoted)


def _columns(header: _Raw | None, below: Iterator[str], shown: str, how: Reading) -> list[str]:
    """The column names in the record `header`; raises DataRejected when they are none."""
    if header is None:
        raise DataRejected(f"{shown} is empty", "give a file whose first line names the columns")
    if problem := header.problem or unreadable(header.raw):
        hint = f"if it is text in another encoding, set {how.name('encoding')} (for instance cp1252 or utf-16)"
        if "encoding" in problem:
            hint = f"the file is in another encoding: {encodings.hint([header.raw, *_beginning(below)], how)}"
        raise DataRejected(f"{shown} line 1: the column names cannot be read: {problem}", hint)
    columns = [cell.strip() for cell in header.cells]
    if twice := sorted({name for name in columns if name and columns.count(name) > 1}):
        raise DataRejected(f"{shown} line 1: two columns are named {', '.join(twice)}", "rename or remove one of them")
    return columns


def _beginning(lines: Iterator[str]) -> list[str]:
    """The next lines, about a million characters of them."""
    size, taken = 0, []
    for line in lines:
        taken.append(line)
        size += len(line)
        if size >= _PEEKED:
            break
    return taken


def _dialect(delimiter: str, quoted: bool, how: Reading) -> dict[str, Any]:
    quotes = {"quotechar": how.quotechar} if quoted else {"quoting": csv.QUOTE_NONE}
    return {"delimiter": delimiter, "escapechar": how.escapechar or None, "strict": True, **quotes}


def _checked(record: _Raw, columns: list[str], delimiter: str, how: Reading) -> Record:
    line, lines, cells, raw, problem = record
    problem = problem or unreadable(raw)
    if not problem and len(cells) != len(columns):
        problem = f"{len(cells)} cells where the header has {len(columns)}"
    if len(cells) > 1 and not any(cell.strip() for cell in cells):
        return Record(line, {}, raw=raw, blank=True)
    if not problem and cells[-1].strip() == columns[-1] and _is_header(cells, columns):
        problem = "the column names again, as in files that were joined end to end"
    if not problem and lines > 1 and how.quoting == "auto" and holds_rows(cells, delimiter):
        problem = (
            f"a quote seems to be lost: the {lines} lines from here on look like rows of their own; close the quote, or set "
            f"{how.name('quoting')}: none where quotes are text, quoted where such cells are right"
        )
    if problem:
        return Record(line, {}, problem, raw)
    return Record(line, dict(zip(columns, cells, strict=True)))


def _is_header(cells: list[str], columns: list[str]) -> bool:
    return len(cells) > 1 and [cell.lstrip("\ufeff").strip() for cell in cells] == columns


def holds_rows(cells: Sequence[str], delimiter: str) -> bool:
    """Whether the lines of one of a row's `cells` are rows: what a lost quote has swallowed.

    Its first line then has that cell and all behind it, its last line all before it and that cell, each line between a
    whole row. Prose, which has no tabs, is told from rows by its spaces: no cell of theirs begins with one, none at the ends
    is empty, nor any of two. (In 44,000 paragraphs of software documentation, 6 look like two cells and none like three.)
    """
    width = len(cells)
    for place, cell in enumerate(cells if width > 1 else ()):
        rows = [line.split(delimiter) for line in _LINE_END.split(cell)]
        if len(rows) == 1:
            continue
        wanted = [width - place, *[width] * (len(rows) - 2), place + 1]
        if [len(row) for row in rows] == wanted and (delimiter == "\t" or not _is_prose(rows, width)):
            return True
    return False


def _is_prose(rows: list[list[str]], width: int) -> bool:
    ends = [*rows[0], *rows[-1]]
    told = [value for row in rows for value in row] if width == 2 else ends
    return not all(told) or any(value[:1].isspace() for row in rows for value in row)


def _are_quotes(lines: list[str], delimiter: str, how: Reading) -> bool:
    """Whether the quotes in a file's first `lines` stand around cells, or are text as tools that do not quote write it.

    They are text when one does not close where it should, or has rows inside. So they are around a cell that needs none
    (no delimiter, comma, line break or quote inside) under column names without quotes: who quotes all cells quotes those.
    """
    quote = how.quotechar
    if not any(quote in line for line in lines):
        return True
    mark, end = re.escape(quote), f"{re.escape(delimiter)}\r\n"
    needless = re.compile(rf"(?:^|{re.escape(delimiter)}){mark}[^{mark}{end},]*{mark}(?:[{end}]|$)")
    if not lines[0].startswith(quote) and any(needless.search(line) for line in lines):
        return False
    reader = csv.reader(lines, **_dialect(delimiter, True, how))
    read = width = 0
    try:
        for cells in reader:
            if reader.line_num - read > 1 and holds_rows(cells, delimiter):
                return False
            read, width = reader.line_num, len(cells)
    except csv.Error:
        # Where more lines follow, a text of several may be cut off; what is no such text has rows in it.
        cut = reader.line_num == len(lines) and sum(map(len, lines)) >= _PEEKED
        return cut and [line.count(delimiter) + 1 for line in lines[-2:]] != [width] * 2
    return True


def _records(lines: Iterable[str], before: int, dialect: dict[str, Any], shown: str, how: Reading) -> Iterator[_Raw]:
    """Each record that has cells. `before` lines came before these."""
    pending: list[str] = []

    def noted() -> Iterator[str]:
        size = 0
        for line in lines:
            size = len(line) if not pending else size + len(line)
            pending.append(line)
            if size >= RECORD_LIMIT:
                last = before + reader.line_num + 1
                raise DataRejected(
                    f"{shown} line {last - len(pending) + 1}: the row that starts here has more than {RECORD_LIMIT:,} "
                    f"characters; a quote may be open since line {_opened(pending, dialect, last)}",
                    "close the quote, or remove the row",
                )
            yield line

    reader = csv.reader(noted(), **dialect)
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
                opened = _opened(pending, dialect, before + reader.line_num)
                raise DataRejected(
                    f"{shown} line {opened}: a quote opens here and is not closed properly",
                    f"close it, or write a quote that belongs to the text twice ({2 * how.quotechar}); where quotes are text "
                    f"everywhere, set {how.name('quoting')}: none",
                ) from None
            yield _Raw(start, 1, [], pending[0], f"broken quotes: {error}")
            continue
        if cells:
            yield _Raw(start, len(pending), cells, pending[0] if len(pending) == 1 else "".join(pending), "")


def _opened(lines: list[str], dialect: dict[str, Any], last: int) -> int:
    """The line on which the last quoted cell of a record opens; `last` is the number of the last of its `lines`."""
    first = opened = last - len(lines) + 1
    quote, ends = dialect.get("quotechar"), (dialect["delimiter"], "\n", "\r")
    quoted, at_start = False, True
    for number, line in enumerate(lines, first):
        for position, character in enumerate(line):
            if quoted:
                # A doubled quote closes and opens again in place, which leaves `quoted` right and `opened` as it was.
                quoted = character != quote
            elif character == quote and (at_start or line[position - 1] == quote):
                opened = number if at_start else opened
                quoted = True
            at_start = not quoted and character in ends
    return opened
