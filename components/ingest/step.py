"""Reads the source in a stream and writes one typed Parquet file, with what could not be read beside it."""

import functools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.ingest.params import Params
from components.ingest.rows import set_id, typed_row
from components.ingest.seen import Seen, open_seen
from fineline.artifacts import folders
from fineline.process.errors import DataRejected, UsageError
from fineline.process.progress import progress
from fineline.rows.dataset import DATA, ROW_GROUP, describe, schema
from fineline.rows.quarantine import QUARANTINE, Quarantine, check_list
from fineline.rows.tables import check_columns, named, open_table
from fineline.sources import pinned
from fineline.sources import source_version as versions
from fineline.sources.locations import File, said_left_out
from fineline.sources.redaction import redacted
from fineline.tasks import Task, get_task

if TYPE_CHECKING:
    import pyarrow as pa

_LABELS_LISTED = 1_000
_NAMED = 3
_BUFFERED_CHARACTERS = 32_000_000
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def run(*, params: Params, source_version: str, dataset: Path) -> str:
    """Writes the dataset of exactly the `source_version` (what pin made: its folder, or its line of JSON); gives its row
    count for people.

    Raises UsageError for a column that is not there, DataRejected for data that cannot be read, ResourceError for storage
    that does not answer and for a source that changed since. Refused rows outlive a failure in <dataset>.rejected.jsonl.
    """
    task = get_task(params.task)
    with versions.opened(source_version) as (version, version_folder):
        files = _files(version, params)
        rejected = dataset.with_name(f"{dataset.name}.rejected.jsonl")
        check_list(rejected)
        with folders.output(dataset) as folder:
            try:
                figures = _ingest(files, folder, params, task)
                _check(version, files, figures["sources"])
            except DataRejected as error:
                if not (folder / QUARANTINE).stat().st_size:
                    raise
                (folder / QUARANTINE).replace(rejected)
                raise DataRejected(error.what, f"{error.hint}; the refused rows are in {rejected}") from None
            folders.write_manifest(
                folder,
                step="ingest",
                kind="dataset",
                params=params.recorded(),
                inputs={"source_version": version_folder},
                figures=figures,
                task=task.name,
            )
            rejected.unlink(missing_ok=True)
    return _summary(figures) + "".join(dict.fromkeys(said_left_out([file]) for file, _test in files))


def _files(version: versions.Version, params: Params) -> list[tuple[File, bool]]:
    """The files to read, each with whether all of its rows belong to the test split."""
    files = []
    for role, source in version.items():
        found = [named(file, params.reading()) for file in pinned.files_of(source)]
        splits = sorted({file.split for file in found if file.split})
        if role == "test_source" and len(splits) > 1:
            raise UsageError(
                f"pin.test_source {redacted(source.location)} has several splits: {', '.join(splits)}",
                "name one: add ':test' to a hub id, '/test' to a folder",
            )
        files += [(file, role == "test_source" or file.split == "test") for file in found]
    return files


def _check(version: versions.Version, files: Sequence[tuple[File, bool]], sources: Sequence[Mapping[str, Any]]) -> None:
    """Raises ResourceError unless what was read of each source is the version of it."""
    first = 0
    for source in version.values():
        own = slice(first, first + source.files)
        first = own.stop
        pinned.check(source, [file for file, _ in files[own]], [entry["sha256"] for entry in sources[own]])


def _ingest(files: Sequence[tuple[File, bool]], folder: Path, params: Params, task: Task) -> dict[str, Any]:
    """Writes data.parquet and quarantine.jsonl into `folder`; gives the figures of the manifest."""
    present = [name for name in ("group", "annotators", "time") if params.columns[name]]
    if params.columns["split"] or any(test for _file, test in files):
        present.append("split")
    columns = schema(task, present, params.keep_columns)
    sources: list[dict[str, Any]] = []
    cleaned: Counter[tuple[str, str]] = Counter()
    with (folder / QUARANTINE).open("w", encoding="utf-8") as stream, open_seen(folder / "seen.sqlite") as seen:
        quarantine = Quarantine(stream, params.max_bad_rows, params.reading())
        rows = _rows(files, params, task, seen, quarantine, sources, cleaned)
        labels = _write(progress(rows, "ingest"), folder / DATA, columns, task)
        quarantine.check(sum(entry["rows"] for entry in sources))
        for role, wanted in (("source", False), ("test_source", True)):
            read = [entry["rows"] for entry, (_file, test) in zip(sources, files, strict=True) if test == wanted]
            if read and not sum(read):
                reason = f": {quarantine.summary()}" if quarantine.count else ""
                raise DataRejected(f"pin.{role} has no row that can be read{reason}", "give a file with rows")
    figures: dict[str, Any] = {
        "rows": sum(entry["rows"] for entry in sources),
        "quarantined": quarantine.count,
        "sources": sources,
    }
    if cleaned:
        listed = [{"written": old, "label": new, "rows": rows} for (old, new), rows in sorted(cleaned.items())]
        figures["cleaned_labels"] = {"rows": cleaned.total(), "list": listed}
    return {**figures, "labels": labels} if labels else figures


def _rows(
    files: Sequence[tuple[File, bool]],
    params: Params,
    task: Task,
    seen: Seen,
    quarantine: Quarantine,
    sources: list[dict[str, Any]],
    cleaned: Counter[tuple[str, str]],
) -> Iterator[dict[str, Any]]:
    """Every good row of every file, with its id. Adds to `sources` what each file gave, once it is read, and to `cleaned` the
    labels that were written otherwise: (as written, as kept), beyond a thousand of these ('', '')."""
    label_columns = task.columns
    numeric: dict[bool, tuple[str, str]] = {}
    how = params.reading()
    for file, test in files:
        accepted = refused = blank = 0
        kinds: dict[bool, str] = {}
        with open_table(file, params.needed_columns(), how) as table:
            check_columns(table, file.shown, params.needed_columns(), how)
            for record in table.records:
                if record.blank:
                    blank += 1
                    continue
                try:
                    row = typed_row(record, params, how, task, table.class_names, test)
                    set_id(row, label_columns, seen, f"{file.name} line {record.line}")
                except ValueError as reason:
                    quarantine.add(file.name, record, str(reason))
                    refused += 1
                    continue
                accepted += 1
                for name in label_columns:
                    label, written = row[name], record.values[params.columns[name]]
                    if isinstance(label, str):
                        kinds.setdefault(_is_number(label), label)
                        if (
                            isinstance(written, str)
                            and written != label
                            and params.columns[name] not in table.class_names
                        ):
                            known = (written, label) in cleaned or len(cleaned) < _LABELS_LISTED
                            cleaned[(written, label) if known else ("", "")] += 1
                yield row
            source = {"name": file.name, "sha256": table.sha256(), "rows": accepted, "quarantined": refused}
            source |= ({"blank": blank} if blank else {}) | ({"quoting": "none"} if table.bare else {})
            sources.append(source)
        if len(kinds) == 1:
            ((kind, label),) = kinds.items()
            numeric.setdefault(kind, (file.shown, label))
        if len(numeric) == 2:
            raise DataRejected(
                f"every label is a number in {numeric[True][0]} (such as {numeric[True][1]!r}) "
                f"and text in {numeric[False][0]} (such as {numeric[False][1]!r})",
                "write the labels the same way in all files",
            )


def _write(rows: Iterator[dict[str, Any]], path: Path, columns: "pa.Schema", task: Task) -> dict[str, int]:
    """Writes `rows` to Parquet, a row group at a time; gives the count of each label, none when there are over 1,000."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    label_columns = task.columns
    counts: Counter[str] = Counter()
    few = True
    buffer: list[dict[str, Any]] = []
    size = 0
    with pq.ParquetWriter(path, columns, compression="zstd") as writer:

        def flush() -> None:
            nonlocal few, size
            table = pa.Table.from_pylist(buffer, schema=columns)
            writer.write_table(table, row_group_size=ROW_GROUP)
            if few:
                counts.update(task.strata(table.select(label_columns).to_pandas()).tolist())
                few = len(counts) <= _LABELS_LISTED
            buffer.clear()
            size = 0

        for row in rows:
            buffer.append(row)
            size += sum(len(value) for value in row.values() if isinstance(value, str))
            if len(buffer) >= ROW_GROUP or size >= _BUFFERED_CHARACTERS:
                flush()
        if buffer:
            flush()
    return dict(sorted(counts.items())) if few else {}


@functools.lru_cache(maxsize=4_096)
def _is_number(label: str) -> bool:
    return bool(_NUMBER.fullmatch(label))


def _summary(figures: dict[str, Any]) -> str:
    files = len(figures["sources"])
    labels = f", {len(figures['labels'])} labels" if "labels" in figures else ""
    cleaned = f", {figures['cleaned_labels']['rows']:,} labels cleaned" if "cleaned_labels" in figures else ""
    refused = f", {figures['quarantined']} in {QUARANTINE}" if figures["quarantined"] else ""
    blank = sum(source.get("blank", 0) for source in figures["sources"])
    left = f", {blank:,} blank" if blank else ""
    bare = [source["name"] for source in figures["sources"] if "quoting" in source]
    left += f"; quotes are text in {', '.join(bare[:_NAMED])}{', ...' * (len(bare) > _NAMED)}" if bare else ""
    return f"{describe(figures['rows'])}{labels} from {files} file{'' if files == 1 else 's'}{cleaned}{refused}{left}"
