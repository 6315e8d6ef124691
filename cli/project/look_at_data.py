"""What a source of rows is like: its encoding, what separates its cells, whether it has a header, and what its columns hold."""

import codecs
import contextlib
import dataclasses
import functools
import gzip
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from fineline.process.errors import DataRejected, UsageError
from fineline.rows import encodings
from fineline.rows.cells import text_of
from fineline.rows.delimited import read_delimited
from fineline.rows.records import Record
from fineline.rows.settings import Reading, known_encoding, one_character
from fineline.rows.tables import named, open_table
from fineline.sources.locations import FORMATS, File, find_files, reachable

ROWS = 100_000
"""Rows that are looked at."""

TEXTS = "text message body content sentence utterance comment review tweet post query question description".split()
LABELS = "label intent category class topic target sentiment tag y gold".split()
"""What columns of texts and of labels are often called."""

_HEAD = 4_000_000
_TRIED = 1_000
_MARKS = (",", ";", "\t", "|")
_WIDE = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"} | {
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_DECIMALS = re.compile(r"[+-]?\d*\.\d*[1-9]\d*")
_SENTENCE = 6


@dataclasses.dataclass(frozen=True)
class Column:
    """The cells of a column as text, without the empty ones. `nested` cells hold a list or a mapping and are not among them."""

    name: str
    cells: list[str]
    nested: int = 0

    @functools.cached_property
    def counts(self) -> Counter[str]:
        return Counter(self.cells)

    @functools.cached_property
    def length(self) -> float:
        """Mean length in characters."""
        return sum(map(len, self.cells)) / max(1, len(self.cells))

    @property
    def longest(self) -> int:
        return max(map(len, self.cells), default=0)

    @property
    def words(self) -> float:
        """Mean count of words; of a script without spaces between them, of characters."""
        return sum(map(_words, self.cells)) / max(1, len(self.cells))

    def share(self, pattern: re.Pattern[str]) -> float:
        """Share of the cells that `pattern` matches as a whole."""
        return sum(bool(pattern.fullmatch(cell)) for cell in self.cells) / max(1, len(self.cells))

    @property
    def dates(self) -> bool:
        return self.share(_DATE) > 0.95

    @property
    def numbers(self) -> bool:
        return self.share(_NUMBER) > 0.95

    @property
    def scores(self) -> bool:
        """Whether it holds numbers with decimals: a measure, no class."""
        return self.numbers and self.share(_DECIMALS) > 0.3


@dataclasses.dataclass(frozen=True)
class Look:
    """What was seen of the `files`: `rows` of them (all, unless `more`), of which `bad` cannot be read, the `first_bad` for
    one. `names` are those that the columns get, where the first line is data and the file does not name them."""

    files: list[File]
    how: Reading
    columns: list[Column]
    rows: int
    more: bool
    bad: int = 0
    first_bad: str = ""
    names: list[str] = dataclasses.field(default_factory=list)

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


def look(location: str, encoding: str = "", delimiter: str = "", known: Sequence[str] = ()) -> Look:
    """Looks at the source's first rows, 100,000 at most. What is given is not guessed; columns that are `known` are in a header.

    Raises UsageError for what is no such source, DataRejected for a file without rows or that is not what its name says,
    ResourceError when the storage does not answer.
    """
    files = find_files(location)
    how = _reading(files[0], encoding, delimiter)
    files = [named(file, how) for file in files]
    with contextlib.ExitStack() as stack:
        table = stack.enter_context(open_table(files[0], None, how))
        columns, first = table.columns, list(itertools.islice(table.records, _TRIED))
        names = []
        if files[0].format == "delimited" and not set(known) & set(columns) and _is_data(columns, first):
            names = [f"column_{number}" for number in range(1, len(columns) + 1)]
            first = [Record(1, dict(zip(columns, columns, strict=True))), *first]
        others = itertools.chain.from_iterable(_records(file, how) for file in files[1:])
        filled = (record for record in itertools.chain(first, table.records, others) if not record.blank)
        records = list(itertools.islice(filled, ROWS + 1))
        class_names = table.class_names
    rows = records[:ROWS]
    bad = [record for record in rows if record.problem]
    good = [record for record in rows if not record.problem]
    if not good:
        why = f": line {bad[0].line}: {bad[0].problem}" if bad else ""
        raise DataRejected(f"{files[0].shown} has no row that can be read{why}", "give a file with rows")
    found = [
        _column(title, name, good, how, class_names) for name, title in zip(columns, names or columns, strict=True)
    ]
    return Look(
        files,
        how,
        [column for column in found if column.name],
        len(good),
        len(records) > ROWS,
        len(bad),
        f"line {bad[0].line}: {bad[0].problem}" if bad else "",
        names,
    )


def _records(file: File, how: Reading) -> Iterator[Record]:
    with open_table(file, None, how) as table:
        yield from table.records


def _column(title: str, name: str, records: Sequence[Record], how: Reading, class_names: Any) -> Column:
    cells, nested = [], 0
    for record in records:
        if isinstance(record.values.get(name), list | dict):
            nested += 1
            continue
        try:
            text = text_of(record, name, how, class_names)
        except ValueError:  # a value that is no text; ingest says which, if the column is used
            continue
        if text is not None and text.strip():
            cells.append(text.strip())
    return Column(title, cells, nested)


def _words(text: str) -> int:
    return max(len(text.split()), sum(character > "\u2e7f" for character in text))


def _is_data(columns: Sequence[str], first: Sequence[Record]) -> bool:
    """Whether the first line is a row as those below it: it holds a number, a sentence, or a value that comes again below, and
    neither a usual name nor the numbers 0, 1, 2, ... that pandas gives."""
    names = [name for name in columns if name]
    if {name.lower() for name in names} & {*TEXTS, *LABELS} or names == [str(n) for n in range(len(names))]:
        return False
    if any(_NUMBER.fullmatch(name) or len(name.split()) >= _SENTENCE for name in columns):
        return True
    below = {name: Counter(str(record.values.get(name)).strip() for record in first) for name in columns if name}
    return any(counts[name] >= max(2, len(first) // 500) for name, counts in below.items())


def _reading(file: File, encoding: str, delimiter: str) -> Reading:
    """How `file` is read: what is given, and the rest as its first 4 MB look."""
    try:
        given = Reading("--", known_encoding(encoding) if encoding else "", one_character(delimiter))
    except ValueError as error:
        raise UsageError(f"--encoding {encoding} --delimiter {delimiter!r}: {error}", "such as cp1252, ';'") from None
    if file.format in ("parquet", "arrow"):
        return dataclasses.replace(given, encoding=given.encoding or "utf-8")
    if file.suffix == ".json" and not delimiter:
        named(file, given)  # which says what to do
    head = _head(file)
    if head.startswith(b"PK\x03\x04"):
        raise UsageError(f"{file.shown} is a workbook or an archive", f"save what is in it as {', '.join(FORMATS)}")
    given = dataclasses.replace(given, encoding=given.encoding or _encoding(head, file.shown))
    if delimiter or file.format == "jsonl":
        return given
    return dataclasses.replace(given, delimiter=_delimiter(head, file, given))


def _head(file: File) -> bytes:
    with reachable(file.shown), file.filesystem.open(file.path, "rb") as raw:
        stream = gzip.GzipFile(fileobj=raw) if file.compressed else raw
        return stream.read(_HEAD)


def _encoding(head: bytes, shown: str) -> str:
    """UTF-8 where that fits, else what a byte order mark or charset-normalizer says."""
    for mark, name in _WIDE.items():
        if head.startswith(mark):
            return name
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        telling = b"\n".join(line for line in head.splitlines()[: 100 * _TRIED] if not line.isascii())
        best = next(iter(encodings.likely(telling)), encodings.WESTERN)
        if b"\0" in head or "\ufffd" in telling.decode(best, "replace"):
            raise UsageError(
                f"{shown} is no UTF-8, and in no encoding that can be guessed",
                "if it is a text file, say which: --encoding NAME",
            ) from None
        return known_encoding(best)
    if b"\0" in head:
        raise UsageError(f"{shown} holds NUL bytes", "if it is a text file, say its encoding: --encoding utf-16-le")
    return "utf-8"


def _delimiter(head: bytes, file: File, how: Reading) -> str:
    """The mark that gives most rows as many cells as the first line; '' where it is the one that the file's name says."""
    text = head.decode(how.encoding, "replace").removeprefix("\ufeff")
    if text.startswith(("sep=", '"sep=')):  # the file says it, and the reader listens
        return "" if file.format else ","
    fitting = {mark: _fit(text, mark, file.shown, how) for mark in _MARKS}
    best = max(fitting, key=lambda mark: fitting[mark])
    usual = "\t" if file.suffix == ".tsv" else "," if file.format else None
    return "" if best == usual or (usual and fitting[best] == fitting[usual]) else best


def _fit(text: str, mark: str, shown: str, how: Reading) -> tuple[float, int]:
    """How well `mark` separates the cells of `text`: share of rows as wide as the first line, rounded, and that width."""
    try:
        columns, records, _quoted = read_delimited(io.StringIO(text, newline=""), mark, shown, how)
        rows = [record for record in itertools.islice(records, _TRIED) if not record.blank]
    except DataRejected:
        return 0.0, 0
    if len(columns) < 2:
        return 0.0, 1
    return round(sum(not row.problem for row in rows) / max(1, len(rows)), 1), len(columns)
