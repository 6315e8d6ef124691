"""Files of rows for `fineline predict`: read as ingest reads them, written in the format that the name says."""

import contextlib
import csv
import dataclasses
import decimal
import gzip
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from fineline.process.errors import UsageError
from fineline.rows import arrow
from fineline.rows.cells import text_of
from fineline.rows.quarantine import Quarantine
from fineline.rows.records import Number, Record, as_json, as_text
from fineline.rows.settings import Reading
from fineline.rows.tables import check_columns, named, open_table
from fineline.sources.locations import FORMATS, File, find_files, format_of, reachable

Row = dict[str, Any]

STDIN = Path("-")
ROWS_AT_ONCE = 1_024
_EXACT = 2**53  # whole numbers up to here are the same as float64
_LONGEST_INT = 21  # characters of an int64, with its sign


@dataclasses.dataclass(frozen=True)
class Batch:
    """Rows to label, in order, with their texts; `arrow` is the same rows as a table of Arrow where both files are Parquet."""

    rows: list[Row]
    texts: list[str]
    arrow: Any = None


@dataclasses.dataclass(frozen=True)
class Survey:
    """What a first reading found: the columns in order of appearance, the JSON numbers' kinds by column, for Parquet, and
    whether quotes were found to be text (`bare`)."""

    columns: list[str]
    count: int
    blank: int
    kinds: Mapping[str, set[str]]
    bare: bool = False


Write = Callable[[Batch, list[Row]], None]


def local_file(path: Path, how: Reading) -> File:
    """The file at `path`, with its format. Raises UsageError when there is none, or its name does not say what it holds."""
    if not path.is_file():
        raise UsageError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}", "give --file a file of rows")
    (found,) = find_files(str(path))
    return named(dataclasses.replace(found, shown=str(path)), how)


@contextlib.contextmanager
def spooled(stream: BinaryIO, how: Reading) -> Iterator[File]:
    """The rows of a stream as a file, which is read twice: JSON Lines, or delimited text where a delimiter is given."""
    with tempfile.NamedTemporaryFile(prefix="fineline-") as copy:
        while chunk := stream.read(arrow.CHUNK):
            copy.write(chunk)
        copy.flush()
        (found,) = find_files(copy.name)
        yield dataclasses.replace(found, name="stdin", shown="stdin", format="delimited" if how.delimiter else "jsonl")


def survey(file: File, text_column: str, how: Reading, bad: Quarantine) -> Survey:
    """Reads the whole file once; rows without a text that can be read are counted in `bad`.

    Raises UsageError when the text column is not there, DataRejected when the file is not what its name says.
    """
    kinds: dict[str, set[str]] = {}
    count = blank = 0
    with open_table(file, [text_column] if file.format == "parquet" else None, how) as table:
        check_columns(table, file.shown, [text_column], how)
        columns = dict.fromkeys(table.columns)
        for record in table.records:
            if record.blank:
                blank += 1
                continue
            try:
                _text(record, text_column, how)
            except ValueError as reason:
                bad.add(file.name, record, str(reason))
                continue
            count += 1
            if file.format == "jsonl":
                columns.update(dict.fromkeys(record.values))
                for name, value in record.values.items():
                    if value is not None:
                        kinds.setdefault(name, set()).add(_kind(value))
        return Survey(list(columns), count, blank, kinds, table.bare)


def batches(file: File, text_column: str, how: Reading, as_arrow: bool) -> Iterator[Batch]:
    """The rows that `survey` counted, with all of their columns; with `as_arrow` a Parquet file's as they are in it."""
    if as_arrow:
        yield from _arrow_batches(file, text_column, how)
        return
    rows: list[Row] = []
    texts: list[str] = []
    with open_table(file, None, how) as table:
        for record in table.records:
            with contextlib.suppress(ValueError):  # bad rows, which the survey has counted
                if not record.blank:
                    texts.append(_text(record, text_column, how))
                    rows.append(record.values)
            if len(rows) == ROWS_AT_ONCE:
                yield Batch(rows, texts)
                rows, texts = [], []
    if rows:
        yield Batch(rows, texts)


def check_out(path: Path, force: bool) -> None:
    """Raises UsageError for what would fail after the work, or destroy what stands there."""
    if not format_of(path.name) or (format_of(path.name) == "parquet" and path.suffix.lower() == ".gz"):
        raise UsageError(f"{path}: cannot tell its format", f"the name must end in {', '.join(FORMATS)}")
    check_new(path, force)


def check_new(path: Path, force: bool) -> None:
    """Raises UsageError where no file can be written, or, without `force`, where one stands."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder", "give --out a file name")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{path.parent} does not exist", "make that folder, or write elsewhere")
    if os.path.lexists(path) and not force:
        raise UsageError(f"{path} exists already", "give --out another name, or replace it with --force")


@contextlib.contextmanager
def writing(path: Path, file: File, found: Survey, added: Mapping[str, Any]) -> Iterator[Write]:
    """Gives a function that appends a batch with its answers to a file, which takes its name when the block ends well.

    `file` is the one that the rows come from, `found` its survey, `added` an example of the columns that come new.
    """
    kind = format_of(path.name)
    with whole(path) as partial:
        if kind == "parquet":
            with _parquet_writer(partial, file, found, added) as write:
                yield write
        else:
            with _text_file(partial, path.suffix.lower() == ".gz") as stream:
                tab = path.name.lower().removesuffix(".gz").endswith(".tsv")
                yield (
                    _delimited_writer(stream, "\t" if tab else ",", [*found.columns, *added])
                    if (kind == "delimited")
                    else _json_writer(stream)
                )


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Gives a file beside `path` to write to, which takes its name when the block ends well."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _text(record: Record, column: str, how: Reading) -> str:
    """The text of a row; null counts as the empty text, a number as it is written. Raises ValueError for a bad row."""
    if record.problem:
        raise ValueError(record.problem)
    if column not in record.values:
        raise ValueError(f"no {column}")
    return text_of(record, column, how, {}) or ""


def _arrow_batches(file: File, text_column: str, how: Reading) -> Iterator[Batch]:
    import pyarrow as pa

    with reachable(file.shown, listed=True), file.filesystem.open(file.path, "rb") as raw:
        number = 0
        for batch in arrow.parquet_batches(arrow.open_parquet(file, raw), None, ROWS_AT_ONCE):
            kept, texts, rows = [], [], []
            for i, values in enumerate(arrow.rows(batch.select([text_column]))):
                number += 1
                with contextlib.suppress(ValueError):
                    texts.append(_text(Record(number, values), text_column, how))
                    kept.append(i)
                    rows.append(values)
            if kept:
                yield Batch(rows, texts, pa.Table.from_batches([batch]).take(kept))


def _kind(value: Any) -> str:
    """What a value of JSON can be in Parquet without another value coming back: bool, int64, float64 or text."""
    if isinstance(value, bool):
        return "bool"
    if not isinstance(value, Number):
        return "text"
    if value.lstrip("-").isdigit():
        size = abs(int(value)) if len(value) < _LONGEST_INT else 2**63
        return "whole" if size <= _EXACT else "int" if size < 2**63 else "text"
    with contextlib.suppress(decimal.InvalidOperation):  # an exponent of twenty digits
        if math.isfinite(float(value)) and decimal.Decimal(value) == decimal.Decimal(repr(float(value))):
            return "float"
    return "text"


@contextlib.contextmanager
def _text_file(path: Path, compressed: bool) -> Iterator[TextIO]:
    if compressed:
        with gzip.open(path, "wt", encoding="utf-8", newline="") as stream:
            yield stream
    else:
        with path.open("w", encoding="utf-8", newline="") as stream:
            yield stream


def _json_writer(stream: TextIO) -> Write:
    def write(batch: Batch, answers: list[Row]) -> None:
        stream.writelines(f"{as_json({**row, **answer})}\n" for row, answer in zip(batch.rows, answers, strict=True))

    return write


def _delimited_writer(stream: TextIO, delimiter: str, columns: Sequence[str]) -> Write:
    writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
    writer.writerow(columns)

    def write(batch: Batch, answers: list[Row]) -> None:
        rows = ({**row, **answer} for row, answer in zip(batch.rows, answers, strict=True))
        writer.writerows([_cell(row.get(name)) for name in columns] for row in rows)

    return write


@contextlib.contextmanager
def _parquet_writer(path: Path, file: File, found: Survey, added: Mapping[str, Any]) -> Iterator[Write]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # of an empty list nothing says what it holds
    new = pa.Table.from_pylist([{name: value if value != [] else [""] for name, value in added.items()}]).schema
    if file.format == "parquet":
        with file.filesystem.open(file.path, "rb") as raw:
            own = list(arrow.open_parquet(file, raw).schema_arrow)
    else:
        own = [pa.field(name, _parquet_type(found.kinds.get(name, set()))) for name in found.columns]
    schema = pa.schema([*own, *new])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:

        def write(batch: Batch, answers: list[Row]) -> None:
            columns = list(batch.arrow.columns) if batch.arrow else [_parquet_column(batch, field) for field in own]
            told = pa.Table.from_pylist(answers, schema=new)
            writer.write_table(pa.Table.from_arrays([*columns, *told.columns], schema=schema))

        yield write


def _parquet_type(kinds: set[str]) -> Any:
    import pyarrow as pa

    if kinds == {"bool"}:
        return pa.bool_()
    if kinds and kinds <= {"whole", "int"}:
        return pa.int64()
    return pa.float64() if kinds and kinds <= {"whole", "float"} else pa.string()


def _parquet_column(batch: Batch, field: Any) -> Any:
    import pyarrow as pa

    values = [row.get(field.name) for row in batch.rows]
    if pa.types.is_string(field.type):
        return pa.array([None if value is None else _cell(value) for value in values], field.type)
    make = {"int64": int, "double": float, "bool": bool}[str(field.type)]
    return pa.array([None if value is None else make(value) for value in values], field.type)


def _cell(value: Any) -> str:
    """A value as the text of a cell; nothing where it is missing."""
    if value is None or value != value:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list | bool):
        return as_json(value)
    return repr(value) if isinstance(value, float) else as_text(value)
