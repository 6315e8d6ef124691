"""How files are read, as far as their users say it: encoding, delimiter, quotes, how large a cell may be."""

import codecs
import dataclasses
from typing import Literal

Quoting = Literal["auto", "quoted", "none"]
"""auto: cells may stand in quotes, which are checked; quoted: the same, taken at their word; none: a quote is text."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """Encoding of text files, what separates cells ('' = by the file's name), and what quotes mean.

    `called` stands before the names of these parameters where messages speak of them: 'ingest.', 'monitor.', or '--'.
    Raises ValueError when one character is to mean two things.
    """

    called: str
    encoding: str = "utf-8"
    delimiter: str = ""
    max_cell_bytes: int = 1_000_000
    quoting: Quoting = "auto"
    quotechar: str = '"'
    escapechar: str = ""

    def __post_init__(self) -> None:
        if not self.quotechar:
            raise ValueError("quotechar must be one character; quoting: none takes quotes as text")
        marks = [mark for mark in (self.delimiter, self.quotechar, self.escapechar) if mark]
        if len(set(marks)) < len(marks):
            raise ValueError("delimiter, quotechar and escapechar must be different characters")

    def name(self, parameter: str) -> str:
        """What people call `parameter`: ingest.columns, --columns."""
        return self.called + (parameter.replace("_", "-") if self.called == "--" else parameter)


def known_encoding(value: str) -> str:
    """The name of a text encoding as Python writes it. Raises ValueError for another one."""
    try:
        "".encode(value)  # also refuses codecs that are no text encodings, such as base64
        return codecs.lookup(value).name.removesuffix("-sig")
    except LookupError:
        raise ValueError("Python knows no text encoding of that name") from None


def rows_or_share(value: float) -> float:
    """A number of rows, or a share of all rows between 0 and 1. Raises ValueError for what is neither."""
    if value > 1 and value != int(value):
        raise ValueError("must be a whole number of rows, or a share below 1")
    return value


def one_character(value: str) -> str:
    r"""One character that a file gives a meaning, \t for a tab, or ''. Raises ValueError for another one."""
    value = "\t" if value == r"\t" else value
    if len(value) > 1 or value in ("\r", "\n", "\0"):
        raise ValueError("must be one character, and no line break")
    return value
