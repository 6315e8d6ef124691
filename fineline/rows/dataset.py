"""Rows on disk: a dataset folder holds data.parquet, a splits folder train, validation and test.parquet."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fineline.process.errors import UsageError
from fineline.tasks import Task

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

DATA = "data.parquet"
SPLITS = ("train", "validation", "test")
ROW_GROUP = 50_000
ALL_KEPT = "*"

_OWN = ("id", "text", "group", "annotators", "time", "split", "parent_id", "method")


def own_columns(task: Task) -> set[str]:
    """The names that a row's own columns have, which no kept column may take."""
    return {*_OWN, *task.columns}


def schema(task: Task, optional: Sequence[str] = (), keep: Sequence[str] = ()) -> "pa.Schema":
    """Columns of a dataset: id and text, the task's own, those of group, annotators, time, split, parent_id, method that
    `optional` names, and the `keep` columns as strings. `split` says where a row must go ('test') or is null."""
    import pyarrow as pa

    kinds = {"annotators": pa.list_(pa.string())}
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("text", pa.string(), nullable=False),
            *task.fields(),
            *(pa.field(name, kinds.get(name, pa.string())) for name in optional),
            *(pa.field(name, pa.string()) for name in keep),
        ]
    )


def read_rows(path: Path) -> "pd.DataFrame":
    """A Parquet file of rows as a frame with object strings; raises UsageError when it is missing or empty."""
    import pyarrow.parquet as pq

    if not path.is_file():
        raise UsageError(f"{path} does not exist", "run the step that makes it (dvc repro)")
    rows = pq.read_table(path).to_pandas()
    if rows.empty:
        raise UsageError(f"{path} has no rows", "look at the reports of the steps before")
    return rows


def read_splits(folder: Path) -> "dict[str, pd.DataFrame]":
    """train, validation and test rows of a splits folder."""
    return {name: read_rows(folder / f"{name}.parquet") for name in SPLITS}


def chosen_columns(rows: "pd.DataFrame", names: Sequence[str], task: Task, parameter: str) -> list[str]:
    """The columns of `rows` that `parameter` names; for [ALL_KEPT] those that ingest.keep_columns kept.

    Raises UsageError for a column that is not there.
    """
    if list(names) == [ALL_KEPT]:
        own = own_columns(task)
        return [str(column) for column in rows if column not in own]
    if missing := [name for name in names if name not in rows]:
        raise UsageError(
            f"{parameter}: the rows have no column {', '.join(missing)}",
            f"they have {', '.join(map(str, rows))}; ingest.keep_columns keeps further ones",
        )
    return list(names)


def write_rows(rows: "pd.DataFrame", path: Path, schema: "pa.Schema | None" = None) -> None:
    """Writes rows as Parquet, the same bytes for the same rows: no index, no pandas metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(rows, schema=schema, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(table, path, compression="zstd", row_group_size=ROW_GROUP)


def row_schema(path: Path) -> "pa.Schema":
    """The schema of a Parquet file, without metadata; give it to `write_rows` to keep the columns' types."""
    import pyarrow.parquet as pq

    return pq.read_schema(path).remove_metadata()


def describe(rows: Any) -> str:
    """'1,640 rows' for a frame or a count."""
    count = rows if isinstance(rows, int) else len(rows)
    return f"{count:,} row{'' if count == 1 else 's'}"
