"""fineline predict: texts, lines or a file of rows, labelled by a registered model or a bundle folder. No torch."""

import argparse
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.ingest.records import unreadable
from fineline import dataset
from fineline.errors import DataRejected, UsageError
from fineline.fetch import open_model
from fineline.progress import progress
from pipelines import tables
from pipelines.tables import Row

if TYPE_CHECKING:
    from fineline.bundle import Bundle

Answer = dict[str, Any]
Pair = tuple[Row, Answer]

DEFAULT_MODEL = "models:/fineline@champion"

ROWS_AT_ONCE = 1_024
_BYTES_AT_ONCE = 1 << 16
_TEXT_HINT = "give texts in UTF-8 (iconv -f CP1252 -t UTF-8)"


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument(
        "texts", nargs="*", metavar="TEXT", help="texts; without any, and without --file, lines of stdin"
    )
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        help=f"models:/NAME@ALIAS, models:/NAME/VERSION, or a bundle folder (default: {DEFAULT_MODEL})",
    )
    parser.add_argument("--file", type=Path, metavar="IN", help=f"a file of rows: {', '.join(tables.FORMATS)}")
    parser.add_argument(
        "--out", type=Path, help="where the rows of --file go with their answers, in the format of its own extension"
    )
    parser.add_argument("--text-column", default="text", metavar="NAME", help="the column of --file to read (text)")
    parser.add_argument("--probabilities", action="store_true", help="give the probability of every label too")
    parser.epilog = (
        "examples: fineline predict 'my card has not arrived'\n"
        "          fineline predict --model artifacts/bundle < lines.txt | jq .label\n"
        "          fineline predict --model models:/fineline/3 --file in.csv --out out.parquet --probabilities\n\n"
        "A terminal gets 'label score text' lines; a pipe gets one JSON object per text. With --out, the columns label and\n"
        "score (and probabilities, JSON in CSV) are added to the file's own, as predicted_label, ... if it has such columns.\n"
        "The file is checked as a whole before the first text is labelled; OUT appears when it is complete."
    )


def run(flags: argparse.Namespace) -> int:
    """Labels what `flags` name."""
    if flags.file and flags.texts:
        raise UsageError("both texts and --file are given", "give one of them")
    if flags.out and not flags.file:
        raise UsageError(
            "--out is for the rows of --file", "add --file, or redirect: fineline predict TEXT > out.jsonl"
        )
    if flags.file:
        _label_file(flags)
    else:
        _label_texts(flags)
    return 0


def _label_texts(flags: argparse.Namespace) -> None:
    from fineline.bundle import predict

    for number, text in enumerate(flags.texts, 1):
        if problem := unreadable(text):
            raise DataRejected(f"text {number}: {problem}", _TEXT_HINT)
    bundle = open_model(flags.model)
    for texts in [flags.texts] if flags.texts else _lines():
        answers = _asked_for(predict(bundle, texts), flags)
        _print([({"text": text}, answer) for text, answer in zip(texts, answers, strict=True)], "text", bundle)


def _label_file(flags: argparse.Namespace) -> None:
    from fineline.bundle import predict

    _check_paths(flags.file, flags.out)
    columns, count = tables.survey(flags.file, lambda number, row: _text(row, flags, number))
    if flags.text_column not in columns:
        raise _no_column(flags, columns)
    bundle = open_model(flags.model, threads=1)
    labelled = _labelled(bundle, flags)
    if not flags.out:
        for pairs in labelled if sys.stdout.isatty() else progress(labelled, "predict", total=count, unit="texts"):
            _print(pairs, flags.text_column, bundle)
        return
    example = _asked_for(predict(bundle, [""]), flags)[0]
    names = _added_names(columns, list(example), flags.file)
    added = {names[key]: value for key, value in example.items()}
    _check_replaced(flags.out, columns, added)
    with tables.writing(flags.out, flags.file, columns, added) as write:
        for pairs in progress(labelled, "predict", total=count, unit="texts"):
            write([{**row, **{names[key]: value for key, value in answer.items()}} for row, answer in pairs])
    print(f"{flags.out}: {dataset.describe(count)}, added {', '.join(added)}", file=sys.stderr)


def _labelled(bundle: "Bundle", flags: argparse.Namespace) -> Iterator[list[Pair]]:
    """The rows of the file with their answers, in order, in batches. Memory holds a batch or two per core.

    `bundle` has one thread: batches side by side, one per core, take 0.6 of the time of all cores on one batch (int8 MiniLM
    on 2 cores).
    """
    from fineline.bundle import predict

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    waiting: deque[tuple[list[Row], Future[list[Answer]]]] = deque()

    def first() -> list[Pair]:
        rows, answers = waiting.popleft()
        return list(zip(rows, _asked_for(answers.result(), flags), strict=True))

    with ThreadPoolExecutor(cores) as pool:
        for rows in tables.read_batches(flags.file, ROWS_AT_ONCE):
            texts = [_text(row, flags) for row in rows]
            waiting.append((rows, pool.submit(predict, bundle, texts)))
            if len(waiting) > cores:
                yield first()
        while waiting:
            yield first()


def _lines() -> Iterator[list[str]]:
    """The lines of stdin, as many as have arrived: a slow writer gets its answers at once, a fast one batches."""
    if sys.stdin.isatty():
        print("one text per line, Ctrl-D to end", file=sys.stderr)
    rest, number = b"", 0
    while chunk := sys.stdin.buffer.read1(_BYTES_AT_ONCE):  # type: ignore[union-attr]
        *whole, rest = (rest + chunk).split(b"\n")
        if whole:
            yield [_decoded(line, number + i) for i, line in enumerate(whole, 1)]
            number += len(whole)
    if rest:
        yield [_decoded(rest, number + 1)]


def _decoded(line: bytes, number: int) -> str:
    text = line.removesuffix(b"\r").decode("utf-8", "surrogateescape")
    if problem := unreadable(text):
        raise DataRejected(f"stdin line {number}: {problem}", _TEXT_HINT)
    return text.removeprefix("\ufeff") if number == 1 else text


def _check_paths(file: Path, out: Path | None) -> None:
    """Raises UsageError for what would fail after the work."""
    if not file.is_file():
        raise UsageError(f"{file} {'is a folder' if file.is_dir() else 'does not exist'}", "give --file a file of rows")
    for path in filter(None, (file, out)):
        tables.check_format(path)
    if out and out.is_dir():
        raise UsageError(f"{out} is a folder", "give --out a file name")
    if out and not out.absolute().parent.is_dir():
        raise UsageError(f"{out.parent} does not exist", "make that folder, or write elsewhere")
    if out and out.exists() and out.samefile(file):
        raise UsageError("--out is the same file as --file", "write to another file")
    if out and out.is_symlink():
        raise UsageError(f"{out} is a symbolic link", "give --out the file itself, or another one")


def _check_replaced(out: Path, columns: Sequence[str], added: Iterable[str]) -> None:
    """Raises UsageError where a file stands at `out` that this command did not write: one of other columns."""
    if not out.exists() or not out.stat().st_size:
        return
    try:
        found = set(tables.named_columns(out))
    except DataRejected:
        found = set()
    if not set(added) <= found <= {*columns, *added}:
        raise UsageError(
            f"{out} exists and is no earlier result of this command: it has other columns",
            "give --out another file, or move it away yourself",
        )


def _text(row: Row, flags: argparse.Namespace, number: int = 0) -> str:
    """The text of a row; none counts as the empty text, a number as it is written."""
    if flags.text_column not in row:
        raise _no_column(flags, list(row), f" in row {number}")
    value = row[flags.text_column]
    if not isinstance(value, str | int | float | None):
        raise DataRejected(
            f"{flags.file} row {number}: {flags.text_column} is a {type(value).__name__}, not a text",
            "give the column that holds the text with --text-column",
        )
    return "" if value is None else str(value)


def _no_column(flags: argparse.Namespace, columns: Sequence[str], where: str = "") -> UsageError:
    return UsageError(
        f"{flags.file} has no column '{flags.text_column}'{where}", f"--text-column can be: {', '.join(columns)}"
    )


def _asked_for(answers: list[Answer], flags: argparse.Namespace) -> list[Answer]:
    """The answers, without what was not asked for."""
    if flags.probabilities:
        return answers
    return [{key: value for key, value in answer.items() if key != "probabilities"} for answer in answers]


def _added_names(columns: Sequence[str], keys: Sequence[str], file: Path) -> dict[str, str]:
    """What each part of an answer is called in a file with these columns."""
    names = {key: f"predicted_{key}" if key in columns else key for key in keys}
    if taken := sorted(set(names.values()) & set(columns)):
        raise UsageError(f"{file} has columns {', '.join(taken)} already", "rename or remove them")
    return names


def _print(pairs: list[Pair], text_column: str, bundle: "Bundle") -> None:
    """Answers on stdout: aligned lines for a terminal, JSON lines for a pipe."""
    if not sys.stdout.isatty():
        sys.stdout.write("".join(f"{tables.as_json({**row, **answer})}\n" for row, answer in pairs))
        sys.stdout.flush()
        return
    width = max(map(len, bundle.labels))
    for row, answer in pairs:
        shown = [
            f"{value:.3f}" if isinstance(value, float) else str(value).ljust(width)
            for key, value in answer.items()
            if key != "probabilities"
        ]
        print(*shown, " ".join(str(row[text_column]).split()), sep="  ")
        for label, value in sorted(answer.get("probabilities", {}).items(), key=lambda item: -item[1]):
            print(f"    {label.ljust(width)}  {value:.3f}")
