"""How a command reads a file of rows: the flags that are named as the parameters of ingest."""

import argparse
from collections.abc import Sequence
from typing import get_args

from fineline.process.errors import UsageError
from fineline.rows.columns import Columns, mapped
from fineline.rows.records import RECORD_LIMIT
from fineline.rows.settings import Quoting, Reading, known_encoding, one_character


def add(parser: argparse.ArgumentParser, example: str) -> None:
    """Adds the flags; `example` shows what --columns takes."""
    parser.add_argument(
        "--columns",
        action="append",
        default=[],
        metavar="FIELD=NAME",
        help=f"which column of the file a field is in, as ingest.columns ({example})",
    )
    parser.add_argument("--encoding", default="utf-8", help="encoding of text, as ingest.encoding (utf-8)")
    parser.add_argument(
        "--delimiter", default="", metavar="C", help="what separates cells, as ingest.delimiter (by the file's name)"
    )
    parser.add_argument(
        "--quoting", default="auto", choices=get_args(Quoting), help="what quotes are, as ingest.quoting (auto)"
    )
    parser.add_argument("--quotechar", default='"', metavar="C", help='the quote, as ingest.quotechar (")')
    parser.add_argument("--escapechar", default="", metavar="C", help="as ingest.escapechar (none)")


def reading(flags: argparse.Namespace) -> Reading:
    """How the file is read. Raises UsageError for what is no encoding or no mark."""
    try:
        encoding = known_encoding(flags.encoding)
    except ValueError as error:
        raise UsageError(f"--encoding {flags.encoding}: {error}", "such as utf-8, cp1252, utf-16 or gb18030") from None
    marks = {}
    for name, such_as in (("delimiter", r"';', '|' or '\t'"), ("quotechar", '"'), ("escapechar", r"'\'")):
        try:
            marks[name] = one_character(getattr(flags, name))
        except ValueError as error:
            raise UsageError(f"--{name} {getattr(flags, name)!r}: {error}", f"such as {such_as}") from None
    try:
        return Reading("--", encoding, max_cell_bytes=4 * RECORD_LIMIT, quoting=flags.quoting, **marks)
    except ValueError as error:
        raise UsageError(f"--{error}", "such as --delimiter ';' --quotechar \"'\"") from None


def columns(flags: argparse.Namespace, needed: Sequence[str]) -> Columns:
    """The column of each field of `needed`. Raises UsageError for another field."""
    given = dict(pair.partition("=")[::2] for pair in flags.columns)
    try:
        return mapped(given, needed)
    except ValueError as error:
        raise UsageError(f"--columns: {error}", "for instance --columns text=body") from None
