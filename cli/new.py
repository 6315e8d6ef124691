"""fineline new: a project of one's own, from a look at the data."""

import argparse
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fineline.process.errors import UsageError

if TYPE_CHECKING:
    from fineline.rows.columns import Columns
    from fineline.tasks import Task

EXAMPLES = {"single_label": "data/sample/messages.csv"}
"""Each task with the rows in the checkout that its example is made of."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments: the folder, and the data or an example."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the project goes; its name names the model")
    parser.add_argument(
        "--data", metavar="SOURCE", help="the labelled rows: what pin.source may be, a file, folder, pattern or address"
    )
    parser.add_argument("--test-data", metavar="SOURCE", help="rows kept apart as the test split, like --data")
    parser.add_argument("--task", default="single_label", help="what the model will learn (%(default)s)")
    parser.add_argument(
        "--columns",
        action="append",
        default=[],
        metavar="FIELD=NAME",
        help="which column a field is in, where the choice would be another; as ingest.columns: text=body, label=topic, "
        "group=customer, annotators=a,b; nothing after = means none",
    )
    parser.add_argument(
        "--encoding", default="", help="encoding of text, as ingest.encoding (what the file looks like)"
    )
    parser.add_argument("--delimiter", default="", metavar="C", help="what separates cells (what the file looks like)")
    parser.add_argument(
        "--example", choices=list(EXAMPLES), metavar="TASK", help=f"a runnable example: {', '.join(EXAMPLES)}"
    )
    parser.epilog = (
        "examples: fineline new complaints --data complaints.csv\n"
        "          fineline new complaints --data export.CSV --columns text=body --columns label=topic\n"
        "          fineline new first-steps --example single_label\n\n"
        "It says what it found, what it chose and why, and writes params.yaml with what differs from the defaults, dvc.yaml,\n"
        ".gitignore and README.md. A file up to 50 MB is copied into the project's folder data/ and versioned with DVC; what\n"
        "is larger, a folder, a pattern or an address is read where it is. The folder must not be there yet."
    )


def run(flags: argparse.Namespace) -> int:
    """Looks, says, writes. Raises UsageError where the choice is the user's, or the folder is there already."""
    from cli.project import choose_columns, files, look_at_data, said
    from cli.project.look_at_texts import look_at_texts
    from cli.project.params import differing
    from fineline.tasks import get_task

    _check(flags)
    task = get_task(flags.example or flags.task)
    source = str(files.checkout() / EXAMPLES[flags.example]) if flags.example else flags.data.removeprefix("file://")
    given = _given(flags.columns, task)
    known = [name for name in given.values() if isinstance(name, str)]
    seen = look_at_data.look(source, flags.encoding, flags.delimiter, known)
    choice = choose_columns.choose(seen, task, given)
    texts = look_at_texts(seen.column(choice.columns["text"]).cells)
    places = _places(flags.folder, source, flags.test_data)
    if seen.names and not isinstance(places[0][1], Path):
        raise UsageError(f"{seen.files[0].shown} has no line of column names", "write one above its rows")
    for line in said.found(source, seen, choice, texts):
        print(line)
    sources = dict(zip(("source", "test_source"), (str(place) for _, place in places), strict=False))
    blocks, why = differing(flags.folder.name, task.name, sources, seen, choice, texts)
    copies = {Path(name): place for name, place in places if isinstance(place, Path)}
    files.write_project(flags.folder, blocks, why, copies, seen)
    for line in _written(flags.folder, places):
        print(line)
    return 0


def _check(flags: argparse.Namespace) -> None:
    from fineline.sources.locations import find_files

    if bool(flags.data) == bool(flags.example):
        raise UsageError(
            "give either --data or --example", "for instance fineline new complaints --data complaints.csv"
        )
    if os.path.lexists(flags.folder) or not flags.folder.name:
        raise UsageError(f"{flags.folder} is there already", "name a folder that is not, or move it away")
    if flags.test_data:
        find_files(flags.test_data)  # which says what is wrong with it


def _given(pairs: Sequence[str], task: "Task") -> "Columns":
    """The columns that the user names. Raises UsageError for a field that the task does not have."""
    from components.ingest.params import Params
    from fineline.steps.params import validate

    given: Columns = {}
    for pair in pairs:
        field, equals, name = pair.partition("=")
        if not equals:
            raise UsageError(f"--columns {pair} is not FIELD=NAME", "for instance --columns text=body")
        given[field] = [part for part in name.split(",") if part] if field == "annotators" else name
    # What is not given gets a name that no column has, so that it is none that is given.
    others = {field: f"\0{field}" for field in ("text", *task.columns)}
    validate(Params, "ingest", {"task": task.name, "columns": others | given}, "--columns")
    return given


def _places(folder: Path, *sources: str | None) -> list[tuple[str, Path | str]]:
    """Where the project finds each source: a Path in it for a file that is copied, else the address or path as seen from it."""
    places: list[tuple[str, Path | str]] = []
    for source in filter(None, sources):
        place = _place(source, folder)
        if any(place == other for _, other in places) and isinstance(place, Path):  # two files of one name
            place = place.with_name(f"test-{place.name}")
        places.append((source, place))
    return places


def _place(source: str, folder: Path) -> Path | str:
    from cli.project.files import COPIED

    path = Path(source)
    if path.is_file() and path.stat().st_size <= COPIED:
        return Path("data") / path.name
    match = re.fullmatch(r"dvc://(?P<repository>[^:]+)(?P<rest>@[^@]+)", source)
    if match and Path(match["repository"]).is_dir():
        return f"dvc://{os.path.relpath(match['repository'], folder)}{match['rest']}"
    return source if "://" in source else os.path.relpath(source, folder)


def _written(folder: Path, places: "Sequence[tuple[str, Path | str]]") -> Iterator[str]:
    yield f"{folder}/: params.yaml, dvc.yaml, README.md, .gitignore"
    for source, place in places:
        kept = f"copied to {place}, versioned by DVC" if isinstance(place, Path) else f"read where it is: {place}"
        yield f"  {source} {kept}"
    yield "next:"
    programs = Path(sys.executable).parent
    if Path(shutil.which("python") or "").parent != programs:
        yield f"  . {shlex.quote(str(programs / 'activate'))}"
    yield f"  cd {shlex.quote(str(folder))}"
    yield "  dvc repro"
    yield "  fineline summary"
