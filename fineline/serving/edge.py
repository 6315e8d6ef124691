"""What happens to every request before and after its route: the bounds on its body, its metrics, its line in the log."""

import asyncio
import logging
import re
import time
import uuid
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders, State
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fineline.serving.connections import CROWDED
from fineline.serving.encodings import KNOWN, Decompressor

if TYPE_CHECKING:
    from fineline.serving.metrics import Metrics
    from fineline.serving.settings import Settings
    from fineline.serving.tokens import Tokens

QUIET = ("/v2/health/live", "/v2/health/ready", "/metrics")  # asked every few seconds by machines

CLOSE = {"Connection": "close"}  # else the rest of a body that was refused would be read, to be thrown away

REQUEST_ID = "X-Request-ID"
_REQUEST_ID = re.compile(r"[!-~]{1,128}")
_TRACE_PARENT = re.compile(
    r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*"
)  # https://www.w3.org/TR/trace-context

log = logging.getLogger("fineline.serving")


class Edge:
    """ASGI middleware."""

    def __init__(
        self, app: ASGIApp, settings: "Settings", metrics: "Metrics", state: State, tokens: "Tokens | None" = None
    ):
        self._app, self._settings, self._metrics, self._state = app, settings, metrics, state
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, unless its body is said to be too large or there are too many connections; stops reading a body
        that turns out to be, or does not come in time."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0
        crowded, ids = CROWDED in scope.get("state", {}), _ids(scope)
        scope.setdefault("state", {})["request_id"] = ids["request_id"]
        # HEAD is GET whose answer has no body: the connection leaves that out, by the method that came.
        asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = ids["request_id"]
                if crowded or not self._state.ready:  # a client that keeps its connection would meet a closed door
                    MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        try:
            if refused := self._refused(scope, crowded):
                await refused(scope, receive, watched)
            else:
                await self._app(asked, self._bounded(scope, receive), watched)
        except asyncio.CancelledError:  # --shutdown-seconds are over
            if not status:
                await JSONResponse({"error": "the server ends"}, 503, CLOSE)(scope, receive, watched)
        finally:
            fields = {"method": scope["method"], **ids}
            self._note(asked, status or 500, time.perf_counter() - started, fields)

    def _refused(self, scope: Scope, crowded: bool) -> JSONResponse | None:
        """The answer to a request that is not read."""
        if crowded and scope["path"] not in QUIET:
            return JSONResponse({"error": "too many connections: try again later"}, 503, {**CLOSE, "Retry-After": "1"})
        if self._tokens and not self._tokens.allow(scope):
            what = "the header Authorization must be: Bearer, and a token that this server knows"
            return JSONResponse({"error": what}, 401, {**CLOSE, "WWW-Authenticate": "Bearer"})
        encoding = _encoding(scope)
        if encoding and encoding not in KNOWN:
            what = f"the body's Content-Encoding must be {' or '.join(KNOWN)}"
            return JSONResponse({"error": what}, 415, {**CLOSE, "Accept-Encoding": ", ".join(KNOWN)})
        if _announced(scope) > self._settings.max_body_bytes:
            return JSONResponse({"error": self._too_large().detail}, 413, CLOSE)
        return None

    def _too_large(self) -> HTTPException:
        largest = self._settings.max_body_bytes
        return HTTPException(413, f"the body is larger than the {largest} bytes that one request may have", CLOSE)

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """`receive`, for a body that is plain, bounded and there in time."""
        largest, seconds = self._settings.max_body_bytes, self._settings.body_seconds
        deadline = asyncio.get_running_loop().time() + seconds
        encoding = _encoding(scope)
        unpack = Decompressor(encoding, largest, self._too_large()) if encoding else None
        read, more = 0, True

        async def bounded() -> Message:
            nonlocal read, more
            if not more:  # what comes then is the client's going away
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"the body did not come within {seconds:g} s", CLOSE) from None
            if message["type"] != "http.request":
                return message
            body, more = message.get("body", b""), message.get("more_body", False)
            read += len(body)
            if read > largest:
                raise self._too_large()
            if unpack and (read or more):
                message = {**message, "body": unpack.feed(body, last=not more)}
            return message

        return bounded

    def _note(self, scope: Scope, status: int, seconds: float, fields: dict[str, Any]) -> None:
        route = getattr(scope.get("route"), "path", "none")
        self._metrics.requests.labels(route, status).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        scope.setdefault("state", {})["route"] = route
        if route not in QUIET:
            fields |= {"route": route, "status": status, "ms": round(1000 * seconds, 2)}
            log.info("request", extra={"fields": fields | scope.get("state", {}).get("logged", {})})


def _ids(scope: Scope) -> dict[str, str]:
    """By what the line in the log is found again: the id that the client or a proxy gave the request, else a new one, and that of
    the trace it belongs to."""
    headers = Headers(scope=scope)
    given, trace = headers.get(REQUEST_ID, ""), _TRACE_PARENT.fullmatch(headers.get("traceparent", ""))
    ids = {"request_id": given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex}
    return {**ids, "trace_id": trace[1]} if trace else ids


def _announced(scope: Scope) -> int:
    """The length that the request says its body has; 0 when it says none."""
    length = dict(scope["headers"]).get(b"content-length", b"0")
    return int(length) if length.isdigit() else 0


def _encoding(scope: Scope) -> str:
    """The Content-Encoding of the body; '' for none."""
    name = dict(scope["headers"]).get(b"content-encoding", b"").decode("latin-1").strip().lower()
    return "" if name == "identity" else name.removeprefix("x-")
