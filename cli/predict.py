"""fineline predict: texts, lines or a file of rows, labelled by a registered model or a bundle folder. No torch."""

import argparse
import codecs
import contextlib
import io
import json
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from cli import reading, tables
from cli.serve import default_model
from cli.tables import Batch
from fineline.process import computing
from fineline.process.errors import DataRejected, Preempted, UsageError
from fineline.process.progress import progress
from fineline.registry.fetch import open_model
from fineline.rows import dataset
from fineline.rows.quarantine import Quarantine, check_list
from fineline.rows.records import as_json, unreadable
from fineline.rows.settings import Reading
from fineline.sources.locations import FORMATS, File

if TYPE_CHECKING:
    from fineline.bundles.bundle import Bundle

Answer = dict[str, Any]

_BYTES_AT_ONCE = 1 << 16
_ANY_NUMBER = sys.maxsize


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument(
        "texts", nargs="*", metavar="TEXT", help="texts; without any, and without --file, lines of stdin"
    )
    parser.add_argument(
        "--model",
        help="models:/NAME@ALIAS, models:/NAME/VERSION, or a bundle folder (default: what serves of the project here, "
        "models:/NAME@champion with register.name of its params.yaml)",
    )
    parser.add_argument(
        "--file",
        type=Path,
        metavar="IN",
        help=f"a file of rows: {', '.join(FORMATS)} (.gz too for the text formats); - for JSON Lines of stdin",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="where the rows of --file go with their answers, in the format of its own extension",
    )
    parser.add_argument("--force", action="store_true", help="replace OUT where it is there already")
    reading.add(parser, "text=text")
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out what cannot be read; listed in OUT.skipped.jsonl, or on stderr",
    )
    parser.add_argument("--probabilities", action="store_true", help="give the probability of every label too")
    parser.epilog = (
        "examples: fineline predict 'my card has not arrived'\n"
        "          fineline predict --model artifacts/bundle < lines.txt | jq .label\n"
        "          fineline predict --model models:/fineline/3 --file in.csv.gz --out out.parquet --probabilities\n"
        "          fineline predict --file excel.CSV --delimiter ';' --encoding cp1252 --columns text=body --out out.csv\n\n"
        "A terminal gets 'label score text' lines; a pipe gets one JSON object per text, in UTF-8. With --out, the columns\n"
        "label and score (and probabilities, JSON in CSV) are added to the file's own, which stay as they were written, as\n"
        "predicted_label, ... if it has such columns. The file is checked as a whole before the first text is labelled; OUT\n"
        "appears when it is complete."
    )


def run(flags: argparse.Namespace) -> int:
    """Labels what `flags` name."""
    if flags.file and flags.texts:
        raise UsageError("both texts and --file are given", "give one of them")
    if flags.out and not flags.file:
        raise UsageError(
            "--out is for the rows of --file", "add --file, or redirect: fineline predict TEXT > out.jsonl"
        )
    how = reading.reading(flags)
    try:
        if flags.file == tables.STDIN:
            with tables.spooled(sys.stdin.buffer, how) as file:
                _label_file(file, how, flags)
        elif flags.file:
            _label_file(tables.local_file(flags.file, how), how, flags)
        else:
            _label_texts(how, flags)
    except KeyboardInterrupt as stop:
        began = f"{flags.out} was not written; the same command begins anew" if flags.out else ""
        raise Preempted(f"stopped by {str(stop) or 'Ctrl-C'}", began) from None
    return 0


def _label_texts(how: Reading, flags: argparse.Namespace) -> None:
    from fineline.bundles.bundle import predict

    for number, text in enumerate(flags.texts, 1):
        if problem := unreadable(text):
            raise DataRejected(f"text {number}: {problem}", "give texts in the encoding of your locale")
    bundle = open_model(flags.model or default_model())
    for texts in [flags.texts] if flags.texts else _lines(how, flags.skip_bad):
        answers = _asked_for(predict(bundle, texts), flags)
        _print(Batch([{"text": text} for text in texts], texts), answers, bundle)


def _label_file(file: File, how: Reading, flags: argparse.Namespace) -> None:
    from fineline.bundles.bundle import predict

    if flags.out:
        if flags.out.exists() and flags.file != tables.STDIN and flags.out.samefile(flags.file):
            raise UsageError("--out is the same file as --file", "write to another file")
        tables.check_out(flags.out, flags.force)
    text_column = reading.columns(flags, ["text"])["text"]
    with _skipped(flags) as stream:
        bad = Quarantine(stream, _ANY_NUMBER if flags.skip_bad else 0, how, more="leave them out: --skip-bad")
        found = tables.survey(file, text_column, how, bad)
        bad.check(found.count)
    bundle = open_model(flags.model or default_model(), threads=1)
    as_arrow = bool(flags.out) and file.format == "parquet" and flags.out.suffix.lower() == ".parquet"
    labelled = _labelled(bundle, tables.batches(file, text_column, how, as_arrow), flags)
    left_out = [f"{bad.count:,} bad"] if bad.count else []
    left_out += [f"{found.blank:,} blank"] if found.blank else []
    said = (f"; left out {' and '.join(left_out)}" if left_out else "") + (
        "; its quotes are text" if found.bare else ""
    )
    if not sys.stdout.isatty() or flags.out:
        labelled = progress(labelled, "predict", total=found.count, unit="texts", size=lambda item: len(item[1]))
    if not flags.out:
        for batch, answers in labelled:
            _print(batch, answers, bundle)
        if said:
            print(f"{file.shown}: {dataset.describe(found.count)}{said}", file=sys.stderr)
        return
    example = _asked_for(predict(bundle, [""]), flags)[0]
    names = _added_names(found.columns, list(example), file)
    added = {names[key]: value for key, value in example.items()}
    with tables.writing(flags.out, file, found, added) as write:
        for batch, answers in labelled:
            write(batch, [{names[key]: value for key, value in answer.items()} for answer in answers])
    print(f"{flags.out}: {dataset.describe(found.count)}, added {', '.join(added)}{said}", file=sys.stderr)


@contextlib.contextmanager
def _skipped(flags: argparse.Namespace) -> Iterator[TextIO]:
    """Where bad rows are listed: beside OUT when they are left out, on stderr without OUT; nowhere when they end the command."""
    if not flags.skip_bad:
        yield io.StringIO()
    elif not flags.out:
        yield sys.stderr
    else:
        path = flags.out.with_name(f"{flags.out.name}.skipped.jsonl")
        check_list(path)
        with path.open("w", encoding="utf-8") as stream:
            yield stream
        if not path.stat().st_size:
            path.unlink()


def _labelled(
    bundle: "Bundle", batches: Iterator[Batch], flags: argparse.Namespace
) -> Iterator[tuple[Batch, list[Answer]]]:
    """The batches with their answers, in order. Memory holds a batch or two per core.

    `bundle` has one thread: batches side by side, one per core, take 0.6 of the time of all cores on one batch (int8 MiniLM
    on 2 cores).
    """
    from fineline.bundles.bundle import predict

    cores = computing.cores()
    waiting: deque[tuple[Batch, Future[list[Answer]]]] = deque()

    def first() -> tuple[Batch, list[Answer]]:
        batch, answers = waiting.popleft()
        return batch, _asked_for(answers.result(), flags)

    with ThreadPoolExecutor(cores) as pool:
        for batch in batches:
            waiting.append((batch, pool.submit(predict, bundle, batch.texts)))
            if len(waiting) > cores:
                yield first()
        while waiting:
            yield first()


def _lines(how: Reading, skip_bad: bool) -> Iterator[list[str]]:
    """The lines of stdin, as many as have arrived: a slow writer gets its answers at once, a fast one batches."""
    if sys.stdin.isatty():
        print("one text per line, Ctrl-D to end", file=sys.stderr)
    encoding = "utf-8-sig" if how.encoding == "utf-8" else how.encoding
    decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")
    rest, number = "", 0
    while chunk := sys.stdin.buffer.read1(_BYTES_AT_ONCE):  # type: ignore[union-attr]
        *whole, rest = (rest + decoder.decode(chunk)).split("\n")
        if texts := _readable(whole, number, skip_bad):
            yield texts
        number += len(whole)
    if rest := rest + decoder.decode(b"", final=True):
        yield from filter(None, [_readable([rest], number, skip_bad)])


def _readable(lines: list[str], before: int, skip_bad: bool) -> list[str]:
    """The lines that are text, without their ends. `before` lines came before them."""
    if before == 0 and lines and _is_json_object(lines[0]):
        print("these lines look like JSON: --file - reads them as rows", file=sys.stderr)
    texts = []
    for number, line in enumerate(lines, before + 1):
        text = line.removesuffix("\r")
        if problem := unreadable(text):
            if not skip_bad:
                raise DataRejected(
                    f"stdin line {number}: {problem}", "set --encoding, or leave such lines out: --skip-bad"
                )
            print(f"stdin line {number}: {problem}", file=sys.stderr)
            continue
        texts.append(text)
    return texts


def _is_json_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _asked_for(answers: list[Answer], flags: argparse.Namespace) -> list[Answer]:
    """The answers, without what was not asked for."""
    if flags.probabilities:
        return answers
    return [{key: value for key, value in answer.items() if key != "probabilities"} for answer in answers]


def _added_names(columns: Sequence[str], keys: Sequence[str], file: File) -> dict[str, str]:
    """What each part of an answer is called in a file with these columns."""
    names = {key: f"predicted_{key}" if key in columns else key for key in keys}
    if taken := sorted(set(names.values()) & set(columns)):
        raise UsageError(f"{file.shown} has columns {', '.join(taken)} already", "rename or remove them")
    return names


def _word(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def _print(batch: Batch, answers: list[Answer], bundle: "Bundle") -> None:
    """Answers on stdout: aligned lines for a terminal, JSON lines for a pipe."""
    if not sys.stdout.isatty():
        lines = (f"{as_json({**row, **answer})}\n" for row, answer in zip(batch.rows, answers, strict=True))
        sys.stdout.buffer.write("".join(lines).encode("utf-8"))  # JSON is UTF-8, whatever the locale
        sys.stdout.buffer.flush()
        return
    width = max(map(len, bundle.labels))
    for text, answer in zip(batch.texts, answers, strict=True):
        shown = [
            f"{value:.3f}" if isinstance(value, float) else _word(value).ljust(width)
            for key, value in answer.items()
            if key != "probabilities"
        ]
        print(*shown, " ".join(text.split()), sep="  ")
        for label, value in sorted(answer.get("probabilities", {}).items(), key=lambda item: -item[1]):
            print(f"    {label.ljust(width)}  {value:.3f}")
