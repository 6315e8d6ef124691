"""The recent rows: files read as ingest reads them, the newest days of them, a sample of those."""

import dataclasses
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.monitor.params import Params
from fineline.process.errors import DataRejected, FinelineError, UsageError
from fineline.rows.quarantine import Quarantine, TooManyBad
from fineline.rows.records import Record
from fineline.rows.tables import check_columns, named, open_table, usable
from fineline.sources.locations import File, find_files, said_left_out
from fineline.sources.redaction import redacted

if TYPE_CHECKING:
    import pandas as pd

LOGGED = ("time", "label", "score", "version")
"""What a serving log has beside the text (fineline/serving/sample_log.py)."""
CANARY = "canary"

_PLACE = "\0place"
_CLOCKS_DIFFER_BY = "1D"


@dataclasses.dataclass(frozen=True)
class Recent:
    """`rows` to compare, of `read` rows in all, of which `empty` had no text; `version` is that of logged predictions.

    `bad` rows, and files, could not be read, or have a time that cannot be; `first_bad` names the first of them. `repeated` rows
    have the text of another one that is compared, `older` ones are not of the newest monitor.window_days. `left_out` names what
    lies beside the files and is not read.
    """

    rows: "pd.DataFrame"
    read: int
    empty: int
    version: str
    bad: int = 0
    first_bad: str = ""
    repeated: int = 0
    older: int = 0
    left_out: Sequence[str] = ()


def read(params: Params, slices: Sequence[str]) -> Recent:
    """The recent rows: text, the columns of `slices` that the source has, and logged predictions if asked; all as text.

    A file that cannot be read as what its name says is a bad one among others. Raises UsageError when the source or a column
    is not there, DataRejected when no file can be read or more is bad than monitor.max_bad_rows, ResourceError when the storage
    does not answer.
    """
    import pandas as pd

    logged = LOGGED if params.predictions == "logged" else ()
    slices = [*slices, CANARY] if logged else slices
    needed = list(dict.fromkeys(filter(None, [*params.columns.values(), *logged])))
    bad = Quarantine(io.StringIO(), params.max_bad_rows, params.reading())
    files = _files(params)
    rows = pd.DataFrame(
        list(_rows(params, files, needed, slices, bad)), columns=[*dict.fromkeys([*needed, *slices]), _PLACE]
    )
    count = len(rows) + bad.count
    time = params.columns["time"] or ("time" if logged else "")
    times = _times(rows, time, bad) if time else None
    bad.check(count - bad.count)
    if times is not None:
        rows, times = rows[times.notna()], times[times.notna()]
    text_column = params.columns["text"]
    text = rows[text_column].str.strip().fillna("")
    rows = rows[text != ""].rename(columns={text_column: "text"})
    empty = count - bad.count - len(rows)
    if logged:  # of the model's answers, not of its shadow's
        rows = rows[rows[CANARY] != "true"]
    version, older = "", 0
    if times is not None and len(rows):
        times = times[rows.index]
        old = times < times.max() - pd.Timedelta(days=params.window_days)
        older, rows = int(old.sum()), rows[~old]
        if logged:
            version = str(rows.loc[times[rows.index].idxmax(), "version"])
            rows = rows[rows["version"] == version]
    repeated = pd.Series(False, rows.index) if params.count_repeats else rows.duplicated("text")
    rows = rows[~repeated]
    if len(rows) > params.max_rows:
        rows = rows.sample(params.max_rows, random_state=params.seed).sort_index()
    there = [name for name in rows if name == "text" or (name != _PLACE and rows[name].notna().any())]
    rows = rows[there].reset_index(drop=True)
    return Recent(rows, count, empty, version, bad.count, bad.summary(), int(repeated.sum()), older, files[0].left_out)


def labelled(params: Params) -> "pd.DataFrame":
    """text and label of monitor.feedback, of its newest days: of a text the label that came last. Raises as `read` does."""
    import pandas as pd

    columns = {"text": "text", "time": "time"}
    given = {"source": params.feedback, "columns": columns, "predictions": "computed", "count_repeats": True}
    found = read(params.model_copy(update=given), ["label", "time"])
    if "label" not in found.rows:
        raise UsageError(
            f"monitor.feedback: {redacted(params.feedback)} has no column 'label'", "give texts with their labels"
        )
    rows = found.rows.dropna(subset=["label"])
    when = pd.to_datetime(rows["time"], utc=True, format="ISO8601")
    return rows.loc[when.sort_values(kind="stable").index].drop_duplicates("text", keep="last", ignore_index=True)


def _files(params: Params) -> list[File]:
    """The files of the source that hold something; the first names what lies beside them and is not read, empty ones too."""
    found = find_files(params.source)
    full = [file for file in found if file.info.get("size") != 0] or found
    empty = [f"{file.name} (empty)" for file in found if file not in full]
    full[0] = dataclasses.replace(full[0], left_out=[*full[0].left_out, *empty])
    if said := said_left_out(full):
        print(f"monitor: {redacted(params.source)}{said}", file=sys.stderr)
    return full


def _rows(
    params: Params, files: Sequence[File], needed: Sequence[str], slices: Sequence[str], bad: Quarantine
) -> Iterator[dict[str, Any]]:
    """The columns of every row that can be read, with its place, which is shown to people; the others are counted in `bad`, as is
    a file that cannot be read to its end, unless none can."""
    failures: list[FinelineError] = []
    for file in files:
        try:
            yield from _rows_of(file, params, needed, slices, bad)
        except TooManyBad:
            raise
        except (DataRejected, UsageError) as error:
            failures.append(error)
            bad.add(file.name, Record(0, {}), error.what)
    if len(failures) == len(files):
        raise failures[0]


def _rows_of(
    file: File, params: Params, needed: Sequence[str], slices: Sequence[str], bad: Quarantine
) -> Iterator[dict[str, Any]]:
    how = params.reading()
    with open_table(named(file, how), [*needed, *slices], how) as table:
        check_columns(table, file.shown, needed, how)
        if table.bare:
            print(f"monitor: quotes are text in {file.name}", file=sys.stderr)
        present = list(dict.fromkeys([*needed, *(name for name in slices if name in table.columns)]))
        whole = _check_logged if params.predictions == "logged" else lambda row: None
        for line, row in usable(table, file.name, present, how, bad, whole):
            yield {**row, _PLACE: (file.name, line)}


def _check_logged(row: Mapping[str, str | None]) -> None:
    if none := [name for name in LOGGED if row[name] is None]:
        raise ValueError(f"no {none[0]}")


def _times(rows: "pd.DataFrame", column: str, bad: Quarantine) -> "pd.Series":
    """The times, NaT for one that is none or has not come yet: such a row would make all others look old. It counts as bad."""
    import pandas as pd

    times = pd.to_datetime(rows[column], utc=True, format="ISO8601", errors="coerce")
    future = times > pd.Timestamp.now("UTC") + pd.Timedelta(_CLOCKS_DIFFER_BY)
    if len(rows) and (times.isna() | future).all():
        raise DataRejected(
            f"{len(rows)} of {len(rows)} values of {column} are no time in the past, such as {rows[column].iloc[0]!r}",
            "write times as ISO 8601 (2026-07-31T12:00), or leave monitor.columns.time empty",
        )
    wrong = rows[times.isna() | future]
    for (file, line), value, late in zip(wrong[_PLACE], wrong[column], future[wrong.index], strict=True):
        reason = f"{column} {value!r} {'has not come yet' if late else 'is no time'}"
        bad.add(file, Record(line, {column: value}), reason)
    return times.mask(future)
