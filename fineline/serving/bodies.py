"""Bodies of requests: JSON of whole characters, alone or with the protocol's binary tensors behind it."""

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

HEADER_LENGTH = "Inference-Header-Content-Length"
"""The header that says how many bytes are JSON, where binary tensors follow:
https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/extension_binary_data.md"""

CLIENT_WENT_AWAY = 499
"""nginx's status for it, in the log and the metrics; nobody is sent it."""

Model = TypeVar("Model", bound=BaseModel)

_MAYBE_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_HALF = re.compile("[\ud800-\udfff]")


def body_of(
    model: type[Model], unpacked: Callable[[Any, bytes], None] | None = None
) -> Callable[[Request], Awaitable[Model]]:
    """What reads a request's body as `model`, for a route to depend on. `unpacked` puts binary tensors, the bytes behind the
    JSON, into it. A body that is none is HTTPException 400, 415 or 499, or RequestValidationError."""

    async def read(request: Request) -> Model:
        try:
            content = await request.body()
        except ClientDisconnect:
            raise HTTPException(CLIENT_WENT_AWAY, "the client went away") from None
        binary = request.headers.get(HEADER_LENGTH) if unpacked else None
        _check_kind(request.headers.get("content-type", ""), binary is not None)
        length = len(content) if binary is None else _length(binary, len(content))
        found = _parsed(content[:length])
        if unpacked:
            unpacked(found, content[length:])
        try:
            return model.model_validate(found)
        except ValidationError as error:
            raise RequestValidationError(error.errors(include_input=False, include_url=False)) from None

    return read


def _check_kind(kind: str, binary: bool) -> None:
    """Clients of the protocol name no type, or that of binary data where there is some."""
    if kind and "json" not in kind and not (binary and kind.startswith("application/octet-stream")):
        raise HTTPException(415, "the body must be JSON, with the header Content-Type: application/json")


def _length(header: str, whole: int) -> int:
    if not (header.isascii() and header.isdigit() and len(header) < 20 and int(header) <= whole):
        raise HTTPException(400, f"{HEADER_LENGTH} is not a number of bytes that the body has")
    return int(header)


def _parsed(content: bytes) -> Any:
    """The JSON; of an empty body {}, which lacks what the route wants."""
    try:
        text = content.decode("utf-8-sig")
        found = json.loads(text) if text else {}
    except UnicodeDecodeError as error:
        raise HTTPException(400, f"the body is not valid JSON: no UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise HTTPException(400, f"the body is not valid JSON: {error.msg} at {error.pos}") from None
    except RecursionError:
        raise HTTPException(400, "the body is not valid JSON: it is nested too deeply") from None
    except ValueError:
        raise HTTPException(400, "the body is not valid JSON: it holds a number of too many digits") from None
    if _MAYBE_HALF.search(text) and (place := _half(found)) is not None:
        raise HTTPException(400, f"{place} is no text: it holds half of a surrogate pair")
    return found


def _half(found: Any) -> str | None:
    """Where in a JSON value the first lone surrogate is, which JSON can say and no text, answer or log can hold."""
    left: list[tuple[tuple[Any, ...], Any]] = [((), found)]
    while left:
        path, value = left.pop()
        if isinstance(value, str) and _HALF.search(value):
            return _shown(path)
        if isinstance(value, list):
            left += [((*path, number), item) for number, item in enumerate(value)][::-1]
        if isinstance(value, dict):
            left += [((*path, name), part) for name, item in value.items() for part in (name, item)][::-1]
    return None


def _shown(path: tuple[Any, ...]) -> str:
    if path[:1] == ("texts",) and len(path) == 2:
        return f"text {path[1] + 1}"
    return ".".join(map(str, path)).encode("ascii", "backslashreplace").decode() or "the body"
