"""How files are read, as far as their users say it: encoding, delimiter, how large a cell may be."""

import codecs
import dataclasses


@dataclasses.dataclass(frozen=True)
class Reading:
    """Encoding of text files, and what separates cells ('' = by the file's name).

    `called` stands before the names of these parameters where messages speak of them: 'ingest.', 'monitor.', or '--'.
    """

    called: str
    encoding: str = "utf-8"
    delimiter: str = ""
    max_cell_bytes: int = 1_000_000

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


def one_character(value: str) -> str:
    r"""A delimiter: one character, \t for a tab, or ''. Raises ValueError for another one."""
    value = "\t" if value == r"\t" else value
    if len(value) > 1 or value in ('"', "\r", "\n", "\0"):
        raise ValueError("must be one character, and neither a quote nor a line break")
    return value
