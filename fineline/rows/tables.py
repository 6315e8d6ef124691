"""Files opened as tables: a stream of records that is never held in memory as a whole."""

import codecs
import contextlib
import dataclasses
import difflib
import gzip
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TextIO

from fineline.process.errors import DataRejected, UsageError
from fineline.rows import arrow
from fineline.rows.arrow import CHUNK
from fineline.rows.cells import text_of
from fineline.rows.delimited import read_delimited
from fineline.rows.jsonl import ARRAY_HINT, read_jsonl
from fineline.rows.quarantine import Quarantine
from fineline.rows.records import Record
from fineline.rows.settings import Reading
from fineline.sources.locations import FORMATS, File, reachable

_WIDE_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclasses.dataclass(frozen=True)
class Table:
    """An open file. `sha256` is that of the file's bytes, hex; call it when the records are read.

    `bare` says that its quotes were found to be text, where the parameters leave that open.
    """

    columns: list[str]
    records: Iterator[Record]
    class_names: Mapping[str, list[str]]
    sha256: Callable[[], str]
    bare: bool = False


@contextlib.contextmanager
def open_table(file: File, wanted: Sequence[str] | None, how: Reading) -> Iterator[Table]:
    """Opens `file`; its records arrive as they are read, with the `wanted` columns (None: all) and perhaps others.

    Raises DataRejected when the file is not what its name says.
    """
    with reachable(file.shown, listed=True):
        raw = file.filesystem.open(file.path, "rb")
    with raw:
        hashed = _Hashed(raw)
        names: Mapping[str, list[str]] = {}
        bare = False
        with reachable(file.shown, listed=True):
            if file.format == "parquet":
                hashed.digest(file.shown)  # Parquet is read from its end; a remote file is fetched twice
                raw.seek(0)
                table = arrow.open_parquet(file, raw)
                schema = table.schema_arrow
                chosen = None if wanted is None else [name for name in wanted if name in schema.names]
                columns, records, names = _typed(file, schema, arrow.parquet_batches(table, chosen))
            elif file.format == "arrow":
                columns, records, names = _typed(
                    file, *arrow.open_stream(file, io.BufferedReader(hashed, CHUNK), wanted)
                )
            else:
                columns, records, bare = _open_text(file, hashed, how)
        names = {**names, **file.class_names}
        yield Table(columns, _guarded(file, records), names, lambda: hashed.digest(file.shown), bare)


def named(file: File, how: Reading) -> File:
    """`file` with its format: with a delimiter given, one of any other name is delimited text.

    Raises UsageError when neither its name nor a delimiter says what it holds.
    """
    if file.format or how.delimiter:
        return dataclasses.replace(file, format=file.format or "delimited")
    if file.suffix == ".json":
        raise UsageError(f"{file.shown}: JSON is read line by line, from .jsonl or .ndjson", ARRAY_HINT)
    raise UsageError(
        f"{file.shown}: the name does not say what the file holds",
        f"it must end in {', '.join(FORMATS)} (.gz too), or set {how.name('delimiter')} to read it as delimited text",
    )


def check_columns(table: Table, shown: str, needed: Sequence[str], how: Reading) -> None:
    """Raises UsageError, with a hint of what the cause may be, unless the file has the `needed` columns."""
    if not table.columns:  # nothing readable yet: the rows themselves will tell
        return
    missing = [name for name in needed if name not in table.columns]
    if not missing:
        return
    listed = ", ".join(repr(name[:60]) for name in table.columns[:50])
    alone = table.columns[0] if len(table.columns) == 1 else ""
    if separator := next((mark for mark in ("\t", ";", "|", ",") if mark in alone), ""):
        hint = f"cells seem to be separated by {separator!r}: set {how.name('delimiter')}"
    else:
        close = difflib.get_close_matches(missing[0], table.columns, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        hint += f"name the columns in {how.name('columns')}"
    raise UsageError(f"{shown} has no column {', '.join(map(repr, missing))}; it has {listed}", hint)


def _guarded(file: File, records: Iterator[Record]) -> Iterator[Record]:
    with reachable(file.shown, listed=True):
        yield from records


def _typed(file: File, schema: Any, batches: Iterator[Any]) -> tuple[list[str], Iterator[Record], dict[str, list[str]]]:
    arrow.check_names(file, schema)
    return schema.names, arrow.records(file, batches), arrow.class_names(schema)


def _open_text(file: File, hashed: "_Hashed", how: Reading) -> tuple[list[str], Iterator[Record], bool]:
    with _decoding(file.shown, how):
        stream = _text(file, hashed, how)
        if file.format == "delimited":
            separator = how.delimiter or ("\t" if file.suffix == ".tsv" else ",")
            columns, records, quoted = read_delimited(stream, separator, file.shown, how)
        else:
            (columns, records), quoted = read_jsonl(stream, file.shown), True
    return columns, _decoded(file.shown, how, records), not quoted and how.quoting == "auto"


def _text(file: File, hashed: "_Hashed", how: Reading) -> TextIO:
    """The file as text with its line ends; bytes that the encoding does not have arrive as lone surrogates."""
    unpacked: Any = gzip.GzipFile(fileobj=io.BufferedReader(hashed, CHUNK)) if file.compressed else hashed
    stream = io.BufferedReader(unpacked, CHUNK)
    start = stream.peek(4)[:4]
    encoding = how.encoding
    if encoding == "utf-8":
        for mark, name in _WIDE_MARKS.items():
            if start.startswith(mark):
                raise DataRejected(f"{file.shown} is {name.upper()}, not UTF-8", f"set {how.name('encoding')}: {name}")
        encoding = "utf-8-sig"
    return io.TextIOWrapper(stream, encoding=encoding, errors="surrogateescape", newline="")


@contextlib.contextmanager
def _decoding(shown: str, how: Reading) -> Iterator[None]:
    try:
        yield
    except UnicodeError as error:  # UTF-16 and UTF-32 cannot go on behind a wrong byte
        raise DataRejected(
            f"{shown} cannot be read as {how.encoding}: {error}", f"set {how.name('encoding')} to the file's encoding"
        ) from None


def _decoded(shown: str, how: Reading, records: Iterator[Record]) -> Iterator[Record]:
    with _decoding(shown, how):
        yield from records


class _Hashed(io.RawIOBase):
    """A binary file that is hashed while it is read from start to end, so that a remote one is fetched once."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._hash = hashlib.sha256()
        self._whole = ""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._raw.read(len(buffer))
        self._hash.update(data)
        buffer[: len(data)] = data
        return len(data)

    def digest(self, shown: str) -> str:
        """sha256 of the whole file, hex; reads on to its end where its reader stopped before."""
        if not self._whole:
            with reachable(shown, listed=True):
                while data := self._raw.read(CHUNK):
                    self._hash.update(data)
            self._whole = self._hash.hexdigest()
        return self._whole


def usable(
    table: Table,
    name: str,
    columns: Sequence[str],
    how: Reading,
    bad: Quarantine,
    check: Callable[[Mapping[str, str | None]], None],
) -> Iterator[tuple[int, dict[str, str | None]]]:
    """Line and texts of the `columns` of every row of a file called `name` that can be read and that `check` takes; the others,
    for which it raises ValueError, are counted in `bad`. Blank rows are none."""
    for record in table.records:
        if record.blank:
            continue
        try:
            if record.problem:
                raise ValueError(record.problem)
            row = {column: text_of(record, column, how, table.class_names) for column in columns}
            check(row)
        except ValueError as reason:
            bad.add(name, record, str(reason))
        else:
            yield record.line, row
