"""Parquet and Arrow files: rows of typed values. One that Python cannot hold costs the rows that need it, never the file."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from fineline.process.errors import DataRejected
from fineline.rows.records import Record, Unreadable
from fineline.sources.locations import File

CHUNK = 1 << 20
_BATCH = 256


def open_parquet(file: File, raw: Any) -> Any:
    """The pyarrow ParquetFile in the stream `raw`. Raises DataRejected when it is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Spark's INT96 as microseconds: as nanoseconds, years before 1677 and after 2262 would wrap around in silence.
        return pq.ParquetFile(raw, buffer_size=CHUNK, coerce_int96_timestamp_unit="us")
    except (pa.ArrowInvalid, OSError) as error:
        raise broken(file, error) from None


def parquet_batches(table: Any, columns: Sequence[str] | None, size: int = _BATCH) -> Iterator[Any]:
    """The record batches of a ParquetFile, row group by row group: over the whole file iter_batches keeps what it has read
    (pyarrow 25)."""
    for group in range(table.num_row_groups):
        yield from table.iter_batches(batch_size=size, row_groups=[group], columns=columns)


def open_stream(file: File, raw: Any, wanted: Sequence[str] | None) -> tuple[Any, Iterator[Any]]:
    """Schema and record batches, with the `wanted` columns, of an Arrow stream. Raises DataRejected when it is none."""
    import pyarrow as pa

    try:
        stream = pa.ipc.open_stream(raw)
    except (pa.ArrowInvalid, OSError) as error:
        raise broken(file, error) from None
    columns = [name for name in stream.schema.names if wanted is None or name in wanted]
    slices = (
        batch.slice(start, _BATCH).select(columns) for batch in stream for start in range(0, batch.num_rows, _BATCH)
    )
    return stream.schema, slices


def class_names(schema: Any) -> dict[str, list[str]]:
    """`datasets` notes in the schema which numbers are classes, and their names."""
    noted = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = noted.get("info", {}).get("features", {})
    return {column: kind["names"] for column, kind in features.items() if kind.get("_type") == "ClassLabel"}


def check_names(file: File, schema: Any) -> None:
    """Raises DataRejected for a name that two columns have."""
    if twice := sorted({name for name in schema.names if schema.names.count(name) > 1}):
        raise DataRejected(f"{file.shown}: two columns are named {', '.join(twice)}", "rename or remove one of them")


def records(file: File, batches: Iterator[Any]) -> Iterator[Record]:
    """The rows of record batches. Raises DataRejected where the file is damaged."""
    import pyarrow as pa

    number = 0
    try:
        for batch in batches:
            for values in rows(batch):
                number += 1
                yield Record(number, values)
    except (pa.ArrowInvalid, OSError) as error:
        raise broken(file, error, f" after row {number}") from None


def rows(batch: Any) -> list[dict[str, Any]]:
    """A record batch as one dict for each row; what Python cannot hold is an Unreadable."""
    try:
        return batch.to_pylist()
    except (OverflowError, ValueError):  # a date beyond the year 9999, bytes that are no UTF-8
        columns = {
            name: [_value(cell) for cell in column] for name, column in zip(batch.schema.names, batch, strict=True)
        }
        return [{name: column[i] for name, column in columns.items()} for i in range(batch.num_rows)]


def broken(file: File, error: Exception, where: str = "") -> Exception:
    """Damage as DataRejected; what the storage raised (it has an errno, pyarrow's own has none) as it is."""
    if isinstance(error, OSError) and error.errno:
        return error
    kind = "Parquet" if file.format == "parquet" else "Arrow"
    return DataRejected(f"{file.shown} is no whole {kind} file{where}: {error}", "write or copy the file again")


def _value(cell: Any) -> Any:
    try:
        return cell.as_py()
    except OverflowError as error:
        return Unreadable(f"a {cell.type} beyond what can be ({error})")
    except UnicodeDecodeError as error:
        return Unreadable(f"no UTF-8 (byte 0x{error.object[error.start]:02x} at {error.start})")
    except ValueError as error:
        return Unreadable(f"no {cell.type} ({error})")
