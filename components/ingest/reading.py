"""Files opened as tables: a stream of records that is never held in memory as a whole."""

import codecs
import contextlib
import dataclasses
import gzip
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TextIO

from components.ingest.delimited import read_delimited
from components.ingest.jsonl import read_jsonl
from components.ingest.records import Record
from fineline.errors import DataRejected
from fineline.locations import File, reachable

_BATCH = 256
_CHUNK = 1 << 20
_WIDE_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclasses.dataclass(frozen=True)
class Table:
    """An open file. `sha256` is that of the file's bytes, hex; call it when the records are read."""

    columns: list[str]
    records: Iterator[Record]
    class_names: Mapping[str, list[str]]
    sha256: Callable[[], str]


@contextlib.contextmanager
def open_table(file: File, wanted: Sequence[str], encoding: str, delimiter: str) -> Iterator[Table]:
    """Opens `file`; its records arrive as they are read, with the `wanted` columns and perhaps others.

    Raises DataRejected when the file is not what its name says.
    """
    with reachable(file.shown, listed=True):
        raw = file.filesystem.open(file.path, "rb")
    with raw:
        hashed = _Hashed(raw)
        with reachable(file.shown, listed=True):
            if file.format == "parquet":
                columns, records, class_names = _open_parquet(file, raw, hashed, wanted)
            elif file.format == "arrow":
                columns, records, class_names = _open_arrow(file, hashed, wanted)
            else:
                columns, records, class_names = _open_text(file, hashed, encoding, delimiter)
        yield Table(
            columns, _guarded(file, records), {**class_names, **file.class_names}, lambda: hashed.digest(file.shown)
        )


def _guarded(file: File, records: Iterator[Record]) -> Iterator[Record]:
    with reachable(file.shown, listed=True):
        yield from records


Opened = tuple[list[str], Iterator[Record], dict[str, list[str]]]


def _open_text(file: File, hashed: "_Hashed", encoding: str, delimiter: str) -> Opened:
    with _decoding(file.shown, encoding):
        stream = _text(file, hashed, encoding)
        if file.format == "delimited":
            separator = delimiter or ("\t" if file.suffix == ".tsv" else ",")
            columns, records = read_delimited(stream, separator, file.shown)
        else:
            columns, records = read_jsonl(stream, file.shown)
    return columns, _decoded(file.shown, encoding, records), {}


def _open_parquet(file: File, raw: Any, hashed: "_Hashed", wanted: Sequence[str]) -> Opened:
    import pyarrow as pa
    import pyarrow.parquet as pq

    hashed.digest(file.shown)  # Parquet is read from its end; a remote file is fetched twice
    raw.seek(0)
    try:
        table = pq.ParquetFile(raw, buffer_size=_CHUNK)
    except (pa.ArrowInvalid, OSError) as error:
        raise _broken(file, error) from None
    schema = table.schema_arrow
    columns = [name for name in wanted if name in schema.names]
    # Row group by row group: over the whole file iter_batches keeps what it has read (pyarrow 25).
    batches = (
        batch
        for group in range(table.num_row_groups)
        for batch in table.iter_batches(batch_size=_BATCH, row_groups=[group], columns=columns)
    )
    return _arrow_table(file, schema, batches)


def _open_arrow(file: File, hashed: "_Hashed", wanted: Sequence[str]) -> Opened:
    import pyarrow as pa

    try:
        stream = pa.ipc.open_stream(io.BufferedReader(hashed, _CHUNK))
    except (pa.ArrowInvalid, OSError) as error:
        raise _broken(file, error) from None
    schema = stream.schema
    columns = [name for name in wanted if name in schema.names]
    batches = (
        batch.slice(start, _BATCH).select(columns) for batch in stream for start in range(0, batch.num_rows, _BATCH)
    )
    return _arrow_table(file, schema, batches)


def _arrow_table(file: File, schema: Any, batches: Iterator[Any]) -> Opened:
    """Records of Arrow batches. `datasets` notes in the schema which numbers are classes, and their names."""
    import pyarrow as pa

    if twice := sorted({name for name in schema.names if schema.names.count(name) > 1}):
        raise DataRejected(f"{file.shown}: two columns are named {', '.join(twice)}", "rename or remove one of them")
    noted = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = noted.get("info", {}).get("features", {})
    names = {column: kind["names"] for column, kind in features.items() if kind.get("_type") == "ClassLabel"}

    def records() -> Iterator[Record]:
        number = 0
        try:
            for batch in batches:
                for values in batch.to_pylist():
                    number += 1
                    yield Record(number, values)
        except (pa.ArrowInvalid, OSError) as error:
            raise _broken(file, error, f" after row {number}") from None

    return schema.names, records(), names


def _broken(file: File, error: Exception, where: str = "") -> Exception:
    """Damage as DataRejected; what the storage raised (it has an errno, pyarrow's own has none) as it is."""
    if isinstance(error, OSError) and error.errno:
        return error
    kind = "Parquet" if file.format == "parquet" else "Arrow"
    return DataRejected(f"{file.shown} is no whole {kind} file{where}: {error}", "write or copy the file again")


def _text(file: File, hashed: "_Hashed", encoding: str) -> TextIO:
    """The file as text with its line ends; bytes that the encoding does not have arrive as lone surrogates."""
    unpacked: Any = gzip.GzipFile(fileobj=io.BufferedReader(hashed, _CHUNK)) if file.compressed else hashed
    stream = io.BufferedReader(unpacked, _CHUNK)
    start = stream.peek(4)[:4]
    if encoding == "utf-8":
        for mark, name in _WIDE_MARKS.items():
            if start.startswith(mark):
                raise DataRejected(f"{file.shown} is {name.upper()}, not UTF-8", f"set ingest.encoding: {name}")
        encoding = "utf-8-sig"
    return io.TextIOWrapper(stream, encoding=encoding, errors="surrogateescape", newline="")


@contextlib.contextmanager
def _decoding(shown: str, encoding: str) -> Iterator[None]:
    try:
        yield
    except UnicodeError as error:  # UTF-16 and UTF-32 cannot go on behind a wrong byte
        raise DataRejected(
            f"{shown} cannot be read as {encoding}: {error}", "set ingest.encoding to the file's encoding"
        ) from None


def _decoded(shown: str, encoding: str, records: Iterator[Record]) -> Iterator[Record]:
    with _decoding(shown, encoding):
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
                while data := self._raw.read(_CHUNK):
                    self._hash.update(data)
            self._whole = self._hash.hexdigest()
        return self._whole
