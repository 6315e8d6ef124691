"""Files of rows, read and written batch by batch: CSV, TSV, JSONL, Parquet, told by the extension."""

import codecs
import contextlib
import csv
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from components.ingest.delimited import read_delimited
from components.ingest.records import RECORD_LIMIT, unreadable
from fineline.errors import DataRejected, UsageError

Row = dict[str, Any]
Write = Callable[[list[Row]], None]

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
FORMATS = (*_DELIMITERS, ".jsonl", ".parquet")

_SURVEYED = 1_000


def check_format(path: Path) -> None:
    """Raises UsageError when the extension is none of FORMATS."""
    if path.suffix not in FORMATS:
        raise UsageError(f"{path}: cannot tell its format", f"the name must end in {', '.join(FORMATS)}")


def read_batches(path: Path, size: int) -> Iterator[list[Row]]:
    """The rows of a file in batches of `size`. Cells of CSV and TSV are strings; other formats keep their types.

    Raises DataRejected, with the line, for what cannot be read.
    """
    if path.suffix == ".parquet":
        yield from _read_parquet(path, size)
        return
    rows = _read_delimited(path) if path.suffix in _DELIMITERS else _read_jsonl(path)
    while batch := list(itertools.islice(rows, size)):
        yield batch


def survey(path: Path, check: Callable[[int, Row], object]) -> tuple[list[str], int]:
    """Reads the whole file once: (its columns in order of appearance, number of rows). `check` gets each row's number, row."""
    columns: dict[str, None] = dict.fromkeys(named_columns(path))
    count = 0
    for batch in read_batches(path, _SURVEYED):
        for row in batch:
            count += 1
            check(count, row)
            columns.update(dict.fromkeys(row))
    return list(columns), count


@contextlib.contextmanager
def writing(path: Path, like: Path, columns: Sequence[str], added: Mapping[str, Any]) -> Iterator[Write]:
    """Gives a function that appends batches of rows to a file, which takes its name when the block ends well.

    `like` is the file that the rows come from, `columns` are its, `added` an example of the columns that come new.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        if path.suffix == ".parquet":
            with _parquet_writer(partial, like, columns, added) as write:
                yield write
        elif path.suffix in _DELIMITERS:
            with partial.open("w", encoding="utf-8", newline="") as stream:
                yield _delimited_writer(stream, _DELIMITERS[path.suffix], [*columns, *added])
        else:
            with partial.open("w", encoding="utf-8") as stream:
                yield lambda rows: stream.writelines(f"{as_json(row)}\n" for row in rows)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def as_json(value: Any) -> str:
    """JSON on one line; dates and the like as text."""
    return json.dumps(value, ensure_ascii=False, default=str)


def named_columns(path: Path) -> list[str]:
    """The columns that a file names before any row; of JSONL those of its first row."""
    if path.suffix == ".parquet":
        with _open_parquet(path) as table:
            return table.schema_arrow.names
    if path.suffix in _DELIMITERS:
        with _opened(path) as stream:
            return read_delimited(stream, _DELIMITERS[path.suffix], str(path))[0]
    return list(next(_read_jsonl(path), {}))


def _opened(path: Path) -> TextIO:
    """A text file of which bytes that are no UTF-8 arrive as lone surrogates, and line ends as they are."""
    with path.open("rb") as stream:
        if stream.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise _rejected(path, 1, "UTF-16, not UTF-8")
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def _read_delimited(path: Path) -> Iterator[Row]:
    with _opened(path) as stream:
        _columns, records = read_delimited(stream, _DELIMITERS[path.suffix], str(path))
        for record in records:
            if record.problem:
                raise _rejected(path, record.line, record.problem)
            yield record.values


def _read_jsonl(path: Path) -> Iterator[Row]:
    with _opened(path) as stream:
        number = 0
        while line := stream.readline(RECORD_LIMIT):
            number += 1
            if not line.strip():
                continue
            if problem := unreadable(line):
                raise _rejected(path, number, problem)
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise _rejected(path, number, f"no JSON: {error}") from None
            if not isinstance(row, dict):
                raise _rejected(path, number, "not a JSON object")
            if "\\ud" in line.lower() and (problem := unreadable(as_json(row))):
                raise _rejected(path, number, problem)
            yield row


def _rejected(path: Path, line: int, problem: str) -> DataRejected:
    hint = "correct or remove that row; a file in another encoding: iconv -f UTF-16 -t UTF-8 (or -f CP1252)"
    return DataRejected(f"{path} line {line}: {problem}", hint)


def _open_parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise DataRejected(f"{path} is no Parquet file: {error}", "write it again") from None


def _read_parquet(path: Path, size: int) -> Iterator[list[Row]]:
    with _open_parquet(path) as table:
        for batch in table.iter_batches(batch_size=size):
            yield batch.to_pylist()


@contextlib.contextmanager
def _parquet_writer(partial: Path, like: Path, columns: Sequence[str], added: Mapping[str, Any]) -> Iterator[Write]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([*_known_fields(like, columns), *pa.Table.from_pylist([dict(added)]).schema])
    with pq.ParquetWriter(partial, schema, compression="zstd") as writer:

        def write(rows: list[Row]) -> None:
            try:
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise DataRejected(
                    f"{like}: a value does not fit its Parquet column: {error}", "write to .jsonl instead"
                ) from None

        yield write


def _known_fields(like: Path, columns: Sequence[str]) -> list[Any]:
    """Arrow fields of the columns of `like`: its own in Parquet, as the first rows have them in JSONL, else strings."""
    import pyarrow as pa

    if like.suffix == ".parquet":
        with _open_parquet(like) as table:
            return list(table.schema_arrow)
    kinds: dict[str, Any] = {}
    if like.suffix == ".jsonl":
        try:
            found = pa.Table.from_pylist(next(read_batches(like, _SURVEYED), [])).schema
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise DataRejected(f"{like}: rows differ in their types: {error}", "write to .jsonl instead") from None
        kinds = {field.name: field.type for field in found if field.type != pa.null()}
    return [pa.field(name, kinds.get(name, pa.string())) for name in columns]


def _delimited_writer(stream: TextIO, delimiter: str, columns: Sequence[str]) -> Write:
    writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
    writer.writerow(columns)
    return lambda rows: writer.writerows([_cell(row.get(name)) for name in columns] for row in rows)


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return as_json(value) if isinstance(value, dict | list) else value
