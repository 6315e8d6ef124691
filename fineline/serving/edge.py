"""What happens to every request before and after its route: the bound on its body, its metrics, its line in the log."""

import logging
import time
from typing import TYPE_CHECKING, Any

from starlette.datastructures import MutableHeaders, State
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from fineline.serving.metrics import Metrics
    from fineline.serving.settings import Settings

QUIET = ("/v2/health/live", "/v2/health/ready", "/metrics")  # asked every few seconds by machines

CLOSE = {"Connection": "close"}  # else the rest of a body that was refused would be read, to be thrown away

log = logging.getLogger("fineline.serving")


class Edge:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, settings: "Settings", metrics: "Metrics", state: State):
        self._app, self._settings, self._metrics, self._state = app, settings, metrics, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, unless its body is said to be too large; stops reading one that turns out to be."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, read = time.perf_counter(), 500, 0
        largest = self._settings.max_body_bytes
        too_large = f"the body is larger than the {largest} bytes that one request may have"

        async def bounded() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > largest:
                raise HTTPException(413, too_large, CLOSE)
            return message

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if not self._state.ready:  # a client that keeps its connection would meet a closed door
                    MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        try:
            if _announced(scope) > largest:
                await JSONResponse({"error": too_large}, 413, CLOSE)(scope, receive, watched)
            else:
                await self._app(scope, bounded, watched)
        finally:
            self._note(scope, status, time.perf_counter() - started)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        self._metrics.requests.labels(route, status).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if route not in QUIET:
            fields: dict[str, Any] = {"method": scope["method"], "route": route, "status": status}
            fields["ms"] = round(1000 * seconds, 2)
            log.info("request", extra={"fields": fields | scope.get("state", {}).get("logged", {})})


def _announced(scope: Scope) -> int:
    """The length that the request says its body has; 0 when it says none."""
    length = dict(scope["headers"]).get(b"content-length", b"0")
    return int(length) if length.isdigit() else 0
