"""OpenTelemetry: what a collector that speaks the protocol gets, and that nothing is sent or imported where none is named."""

import asyncio
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from fineline.serving.tracing import ENDPOINTS, Traces, wanted
from tests.serving import serving

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TEXT = "my pin is 1234"


class Collector(http.server.BaseHTTPRequestHandler):
    """Keeps the spans of the requests that come; `answers` is what it says."""

    spans: list
    services: set
    answers = 200

    def do_POST(self) -> None:
        sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
        for resource in sent.resource_spans:
            names = {each.key: each.value.string_value for each in resource.resource.attributes}
            self.services.add((self.path, names["service.name"]))
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        self.send_response(self.answers)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Collector]]:
    kept = type("Kept", (Collector,), {"spans": [], "services": set()})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kept)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield kept
    server.shutdown()
    server.server_close()


def test_a_collector_gets_a_span_for_each_request(bundle: Path, collector: type[Collector]) -> None:
    with serving(bundle, "--name", "tiny") as server:
        version = server.predict(TEXT, "a")["version"]
        headers = {"traceparent": PARENT}
        requests.post(f"{server.url}/predict", json={"texts": [TEXT]}, headers=headers, timeout=60)
        server.post("/predict", {"texts": [TEXT + "\ud800"]})
        server.get(f"/{TEXT}")
        server.get("/metrics")
        assert server.stop() == 0
        lines = server.events("request")
    assert collector.services == {("/v1/traces", "fineline")}
    spans = sorted(collector.spans, key=lambda span: span.start_time_unix_nano)
    assert [span.name for span in spans] == ["POST /predict"] * 3 + ["GET none"]
    assert [span.trace_id.hex() for span in spans] == [line["trace_id"] for line in lines]
    assert (spans[1].trace_id.hex(), spans[1].parent_span_id.hex()) == (PARENT[3:35], PARENT[36:52])
    found = [{each.key: each.value for each in span.attributes} for span in spans]
    assert [each["http.response.status_code"].int_value for each in found] == [200, 200, 400, 404]
    assert (found[0]["fineline.version"].string_value, found[0]["fineline.texts"].int_value) == (version, 2)
    assert "1234" not in str(spans)


def test_a_collector_that_is_gone_costs_nothing(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:9/v1/traces")
    with serving(bundle, "--name", "tiny") as server:
        for _ in range(5):
            server.predict(TEXT)
        assert server.stop() == 0
        assert TEXT not in str(server.log)


def test_what_cannot_be_sent_is_said(bundle: Path, collector: type[Collector], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with serving(bundle, "--name", "tiny") as server:
        server.predict(TEXT)
        assert server.stop() == 0
        assert "not by grpc" in server.events("no traces")[0]["why"]
    assert collector.spans == []


def test_the_standard_variables_decide() -> None:
    endpoint = {ENDPOINTS[1]: "http://collector:4318"}
    assert wanted(endpoint)
    assert wanted({ENDPOINTS[0]: "http://collector:4318/v1/traces"})
    for off in (
        {},
        {ENDPOINTS[0]: ""},
        {**endpoint, "OTEL_SDK_DISABLED": "true"},
        {**endpoint, "OTEL_TRACES_EXPORTER": "none"},
    ):
        assert not wanted(off)


def test_what_an_error_says_is_not_sent() -> None:
    kept, made = InMemorySpanExporter(), TracerProvider()
    made.add_span_processor(SimpleSpanProcessor(kept))

    async def fails(*_: object) -> None:
        raise ValueError(TEXT)

    scope = {"type": "http", "path": f"/{TEXT}", "method": "GET", "headers": [(b"traceparent", b"\xff")]}
    with pytest.raises(ValueError, match=TEXT):
        asyncio.run(Traces(fails, made, ())(scope, fails, fails))
    (span,) = kept.get_finished_spans()
    assert not span.status.is_ok
    assert TEXT not in span.to_json()


def test_nothing_is_imported_where_no_collector_is_named() -> None:
    script = "import sys, fineline.serving.server as s; assert s.tracing.provider() is None; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not [
        name for name in done.stdout.split() if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))
    ]
