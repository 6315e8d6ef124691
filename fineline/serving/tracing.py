"""OpenTelemetry traces: a span for each request, sent where the standard OTEL_* variables say, and nowhere without them.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

import logging
import os
import threading
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_HTTP = "http/protobuf"
_TRACE_PARENT = b"traceparent"

log = logging.getLogger("fineline.serving")


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether an endpoint is set, and traces are not switched off."""
    off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    exporter = environment.get("OTEL_TRACES_EXPORTER", "otlp")
    return not off and exporter == "otlp" and any(environment.get(name) for name in ENDPOINTS)


def provider() -> Any:
    """What makes spans and sends them; None where they are not wanted or cannot be sent, which is then said in the log."""
    if not wanted(os.environ):
        return None
    protocol = next((os.environ[name] for name in _PROTOCOLS if os.environ.get(name)), _HTTP)
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning(
            "no traces", extra={"fields": {"why": "OpenTelemetry is not installed: pip install 'fineline[otel]'"}}
        )
        return None
    if protocol != _HTTP:
        log.warning("no traces", extra={"fields": {"why": f"they are sent by {_HTTP}, not by {protocol}"}})
        return None
    os.environ.setdefault("OTEL_SERVICE_NAME", "fineline")
    made = TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return made


def close(made: Any, seconds: float) -> None:
    """Sends what was not sent yet, for at most `seconds`."""
    thread = threading.Thread(target=made.shutdown, name="traces", daemon=True)
    thread.start()
    thread.join(seconds)


class Traces:
    """ASGI middleware: a span around each request, child of the `traceparent` that came; its own goes on to the log.

    It holds method, route, status, version and number of texts; no text, address or header, nor what an error says.
    """

    def __init__(self, app: ASGIApp, provider: Any, quiet: tuple[str, ...]):
        from opentelemetry.trace import SpanKind, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._app, self._quiet = app, quiet
        self._tracer, self._format = provider.get_tracer("fineline"), TraceContextTextMapPropagator()
        self._server, self._error = SpanKind.SERVER, StatusCode.ERROR

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on; those that machines ask every few seconds without a span."""
        if scope["type"] != "http" or scope["path"] in self._quiet:
            await self._app(scope, receive, send)
            return
        came = Headers(scope=scope)
        context = self._format.extract({name: came[name] for name in ("traceparent", "tracestate") if name in came})
        with self._tracer.start_as_current_span(
            scope["method"], context, self._server, record_exception=False, set_status_on_exception=False
        ) as span:
            own: dict[str, str] = {}
            self._format.inject(own)
            others = [header for header in scope["headers"] if header[0] != _TRACE_PARENT]
            inner = {**scope, "headers": [*others, (_TRACE_PARENT, own["traceparent"].encode())]}
            status = 500

            async def watched(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            try:
                await self._app(inner, receive, watched)
            finally:
                self._describe(span, inner, status)

    def _describe(self, span: Any, scope: Scope, status: int) -> None:
        state = scope.get("state", {})
        route, logged = state.get("route", "none"), state.get("logged", {})
        span.update_name(f"{scope['method']} {route}")
        span.set_attributes(
            {
                "http.request.method": scope["method"],
                "http.route": route,
                "http.response.status_code": status,
                **{f"fineline.{name}": logged[name] for name in ("version", "texts") if name in logged},
            }
        )
        if status >= 500:
            span.set_status(self._error)
