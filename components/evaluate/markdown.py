"""Markdown in which what users wrote is text: https://github.github.com/gfm/."""

import re
from collections.abc import Sequence
from typing import Any

_MARKUP = re.compile(r"[\\`*\[\]<>~$&#]|(?<!\w)_|_(?!\w)")


def plain(text: Any) -> str:
    """`text` on one line, without meaning as markup."""
    return _MARKUP.sub(lambda found: "\\" + found[0], " ".join(str(text).split()))


def code(text: Any) -> str:
    """`text` on one line as a code span, in more backticks than it holds."""
    shown = " ".join(str(text).split())
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    space = " " if not shown or shown[0] == "`" or shown[-1] == "`" else ""
    return f"{fence}{space}{shown}{space}{fence}"


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table of cells that are Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"
