"""fineline feedback: texts with the labels that are right, kept where monitor looks, and as a file for the next dataset."""

import argparse
import csv
import datetime
import io
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from cli import reading, tables
from fineline.process.errors import UsageError
from fineline.rows.quarantine import Quarantine
from fineline.rows.settings import Reading
from fineline.rows.tables import check_columns, named, open_table, usable
from fineline.sources.locations import File, find_files

FIELDS = ("text", "label", "time")

_ANY_NUMBER = sys.maxsize


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="texts with labels to keep, as a table")
    parser.add_argument(
        "--folder",
        type=Path,
        required=True,
        metavar="DIR",
        help="where feedback is kept: that of `fineline serve --feedback-folder`, and monitor.feedback",
    )
    parser.add_argument("--out", type=Path, metavar="CSV", help="write all that is kept as one CSV file, for ingest")
    parser.add_argument("--force", action="store_true", help="replace CSV where it is there already")
    reading.add(parser, "text=text, label=label")
    parser.epilog = (
        "examples: fineline feedback corrected.csv --folder feedback --columns label=right\n"
        "          fineline feedback --folder feedback --out data/labels/feedback.csv\n\n"
        "FILE is kept as a whole or, where a row has no text or no label, not at all. CSV has each text once, with the label\n"
        "that came last, and the columns text, label and time."
    )


def run(flags: argparse.Namespace) -> int:
    """Keeps FILE, writes CSV."""
    if not flags.file and not flags.out:
        raise UsageError("there is nothing to do", "give FILE to keep texts with labels, or --out to write them")
    how = reading.reading(flags)
    if flags.out:
        _check_out(flags.out, flags.force)
    if flags.file:
        told = list(_labelled(flags, how))
        from fineline.serving.feedback import Feedback

        Feedback(flags.folder, "--folder").add(told)
        print(f"{flags.folder}: {len(told):,} labelled texts kept")
    if flags.out:
        rows = kept(flags.folder)
        _write(flags.out, rows)
        print(f"{flags.out}: {len(rows):,} texts, each with the label that came last")
    return 0


def _labelled(flags: argparse.Namespace, how: Reading) -> Iterator[tuple[str, str]]:
    """The texts of FILE with their labels. Raises DataRejected naming the rows that lack one."""
    columns = reading.columns(flags, FIELDS[:2])
    bad = Quarantine(io.StringIO(), 0, how, more="leave them out")
    count = 0
    for text, label, _ in _rows(tables.local_file(flags.file, how), {**columns, "time": ""}, how, bad):
        count += 1
        yield text, label
    bad.check(count)


def _rows(file: File, columns: Mapping[str, str], how: Reading, bad: Quarantine) -> Iterator[tuple[str, str, str]]:
    """(text, label, time) of a file's rows; those that cannot be read, or lack one, are counted in `bad`."""
    names = [columns[field] for field in FIELDS if columns[field]]
    time = columns["time"]

    def check(row: Mapping[str, str | None]) -> None:
        if missing := [name for name in names if not (row[name] or "").strip()]:
            raise ValueError(f"no {missing[0]}")
        if time:
            datetime.datetime.fromisoformat((row[time] or "").strip())

    with open_table(file, names, how) as table:
        check_columns(table, file.shown, names, how)
        for _, row in usable(table, file.name, names, how, bad, check):
            text, label, when = ((row.get(columns[field]) or "").strip() for field in FIELDS)
            yield text, label, when


def kept(folder: Path) -> list[tuple[str, str, str]]:
    """What lies in `folder`: each text once, with the label that came last. Rows that a kill cut off are left out, and said."""
    how = Reading("--")
    bad = Quarantine(io.StringIO(), _ANY_NUMBER, how)
    columns = {field: field for field in FIELDS}
    rows = [row for file in find_files(str(folder)) for row in _rows(named(file, how), columns, how, bad)]
    last = {row[0]: row for row in sorted(rows, key=_when)}
    if bad.count:
        print(f"left out {bad.count:,}: {bad.summary()}", file=sys.stderr)
    return list(last.values())


def _when(row: tuple[str, str, str]) -> datetime.datetime:
    found = datetime.datetime.fromisoformat(row[2])
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def _check_out(path: Path, force: bool) -> None:
    if path.suffix.lower() != ".csv":
        raise UsageError(f"--out {path} is no CSV file", "its name must end in .csv")
    tables.check_out(path, force)


def _write(path: Path, rows: list[tuple[str, str, str]]) -> None:
    with tables.whole(path) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([FIELDS, *rows])
