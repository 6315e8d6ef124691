"""Text on its way through Kubeflow to a step: written so that none of the programs in between changes it.

What changes or refuses a text: Kubeflow fills in `[[ScheduledTime]]` and the like for a recurring run
(backend/src/common/util/parameter_formatter.go) and `{{$...}}` in a command; Argo Workflows fills in `{{...}}`, and writes
characters that Go cannot print in a way that is no JSON (util/template/simple_template.go, Go's strconv.Quote); Kubernetes
expands `$(NAME)` and `$$` in a command (third_party/forked/golang/expansion); a command's argument holds no NUL, and where
it starts with `-` a program takes it for a flag. The driver writes JSON anew, so that JSON's own escapes do not last.

A text with any of these travels as `percent-encoded:` and itself, with these characters as percent and hexadecimal digits
(RFC 3986); every other text travels as it is. `encoded` is for what is handed to Kubeflow, `decoded` for what came from it,
and for nothing else: the same JSON given by hand or by DVC means what it says.
"""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote

MARK = "percent-encoded:"

_CHANGED = re.compile(r"\$[$(]|\{\{|\[\[|^-|[\x00\x7f]")


def encoded(value: Any) -> Any:
    """`value`, of JSON's types, with every text in it, keys too, written so that it arrives."""
    return each_text(_encoded, value)


def decoded(value: Any) -> Any:
    """What `encoded` was given. A text that only looks like its work, as somebody may have typed it, stays as it is."""
    return each_text(_decoded, value)


def each_text(change: Callable[[str], str], value: Any) -> Any:
    """`value`, of JSON's types, with every text in it, keys too, changed by `change`."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(name): each_text(change, item) for name, item in value.items()}
    if isinstance(value, list):
        return [each_text(change, item) for item in value]
    return value


def _encoded(text: str) -> str:
    if not _CHANGED.search(text) and not text.startswith(MARK) and all(map(_printable, text)):
        return text
    safe = (
        quote(character) if character in "%${[\x00\x7f" or not _printable(character) else character
        for character in text
    )
    return MARK + "".join(safe)


def _decoded(text: str) -> str:
    if not text.startswith(MARK):
        return text
    meant = unquote(text.removeprefix(MARK))
    return meant if _encoded(meant) == text else text


def _printable(character: str) -> bool:
    """Whether Go writes the character as it is or as \\uXXXX; above it uses \\UXXXXXXXX, which JSON does not know."""
    return character <= "\uffff" or character.isprintable()
