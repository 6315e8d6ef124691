"""The recent rows: files read as tables, the newest days of them, a sample of those."""

import dataclasses
import posixpath
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from components.monitor.params import Params
from fineline.errors import DataRejected, UsageError
from fineline.patience import kind_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

FORMATS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
LOGGED = ("time", "label", "score", "version")
"""What a serving log has beside the text (fineline/serving/sample_log.py)."""

_GLOB = re.compile(r"[*?\[]")


@dataclasses.dataclass(frozen=True)
class Recent:
    """`rows` to compare, of `read` rows in all, of which `empty` had no text; `version` is that of logged predictions."""

    rows: "pd.DataFrame"
    read: int
    empty: int
    version: str


def read(params: Params, slices: Sequence[str]) -> Recent:
    """The recent rows: text, the columns of `slices` that the source has, and logged predictions if asked.

    Raises UsageError when the source or a column is not there, DataRejected when a file cannot be read as what its name
    says, ResourceError when the storage does not answer.
    """
    import pandas as pd

    logged = LOGGED if params.predictions == "logged" else ()
    needed = dict.fromkeys(filter(None, [params.text_column, params.time_column, *logged]))
    wanted = list(dict.fromkeys([*needed, *slices]))
    tables = []
    for filesystem, path in _files(params.source):
        table = _table(filesystem, path, wanted)
        if missing := [name for name in needed if name not in table.column_names]:
            raise UsageError(
                f"{path} has no column {', '.join(missing)}; it has {', '.join(table.column_names)[:200]}",
                "correct monitor.text_column or monitor.time_column; logged predictions are those of fineline serve",
            )
        tables.append(table.select([name for name in wanted if name in table.column_names]))
    rows = pd.concat([table.to_pandas() for table in tables], ignore_index=True)
    count = len(rows)
    text = rows[params.text_column].astype("string").str.strip().fillna("")
    rows = rows[(text != "").to_numpy()].astype({params.text_column: str}).rename(columns={params.text_column: "text"})
    empty = count - len(rows)
    version = ""
    if time := params.time_column or ("time" if logged else ""):
        times = _times(rows, time)
        rows, times = rows[times >= times.max() - pd.Timedelta(days=params.window_days)], times
        if logged and len(rows):
            version = str(rows.loc[times[rows.index].idxmax(), "version"])
            rows = rows[rows["version"].astype(str) == version]
    if len(rows) > params.max_rows:
        rows = rows.sample(params.max_rows, random_state=params.seed).sort_index()
    return Recent(rows.reset_index(drop=True), count, empty, version)


def _files(location: str) -> list[tuple[Any, str]]:
    """(fsspec filesystem, path) of each file of a known format behind `location`, in the order of their names."""
    import fsspec

    shown = re.sub(r"//[^/@:]+:[^/@]+@", "//***@", location)
    try:
        filesystem, path = fsspec.url_to_fs(location)
        if _GLOB.search(location):
            found = filesystem.glob(path)
        elif filesystem.isdir(path):
            found = filesystem.ls(path, detail=False)
        else:
            found = [path] if filesystem.exists(path) else []
    except Exception as error:  # every driver raises its own
        raise kind_of(error)(
            f"monitor.source {shown} cannot be reached: {' '.join(str(error).split())}",
            "check the location, the network, the storage's credentials and that its fsspec driver is installed",
        ) from error
    chosen = sorted(
        name
        for name in found
        if name.removesuffix(".gz").endswith(FORMATS) and not posixpath.basename(name).startswith((".", "_"))
    )
    if not chosen:
        why = f"has no file of a known format ({', '.join(FORMATS)})" if found else "does not exist"
        raise UsageError(f"monitor.source {shown} {why}", "give a file, a folder or a glob of texts to --source")
    return [(filesystem, name) for name in chosen]


def _table(filesystem: Any, path: str, text_columns: Sequence[str]) -> "pa.Table":
    """A file as a table; of delimited text the columns named stay as they are written."""
    import pyarrow as pa
    import pyarrow.csv as pa_csv
    import pyarrow.json as pa_json
    import pyarrow.parquet as pq

    try:
        with filesystem.open(path, "rb", compression="gzip" if path.endswith(".gz") else None) as stream:
            kind = posixpath.splitext(path.removesuffix(".gz"))[1]
            if kind == ".parquet":
                return pq.read_table(stream)
            if kind in (".jsonl", ".ndjson"):
                return pa_json.read_json(stream)
            return pa_csv.read_csv(
                stream,
                parse_options=pa_csv.ParseOptions(delimiter="\t" if kind == ".tsv" else ",", newlines_in_values=True),
                convert_options=pa_csv.ConvertOptions(column_types=dict.fromkeys(text_columns, pa.string())),
            )
    except (pa.ArrowInvalid, UnicodeDecodeError, EOFError) as error:
        raise DataRejected(
            f"{path} cannot be read: {' '.join(str(error).split())[:300]}",
            "correct the file; fineline's ingest reads more kinds of them",
        ) from None
    except OSError as error:
        raise kind_of(error)(f"{path} cannot be read: {error}", "check the network and your rights") from error


def _times(rows: "pd.DataFrame", column: str) -> "pd.Series":
    import pandas as pd

    times = pd.to_datetime(rows[column], utc=True, format="ISO8601", errors="coerce")
    if times.isna().any():
        first = rows.loc[times.isna(), column].iloc[0]
        raise DataRejected(
            f"{int(times.isna().sum())} of {len(rows)} values of {column} are no time, such as {first!r}",
            "write times as ISO 8601 (2026-07-31T12:00), or leave monitor.time_column empty",
        )
    return times
