"""What Prometheus reads at /metrics."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

if TYPE_CHECKING:
    from fineline.serving.models import Served

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SCORES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
_VERSION = ["name", "version"]
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The server's metrics, in a registry of their own. docs/serving.md says what each of them means."""

    def __init__(self) -> None:
        disable_created_metrics()  # a second series for each counter that nobody reads
        self.registry = registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        self.requests = Counter(
            "fineline_requests", "Requests by route and status", ["route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "fineline_request_seconds", "Seconds to answer, by route", ["route"], buckets=_SECONDS, registry=registry
        )
        self.texts = Counter("fineline_texts", "Texts answered, by version", _VERSION, registry=registry)
        self._text_seconds = Histogram(
            "fineline_text_seconds",
            "Seconds of a text's share in a run of the model, by version",
            _VERSION,
            buckets=_SECONDS,
            registry=registry,
        )
        self._score = Histogram(
            "fineline_score", "Score of the label given, by version", _VERSION, buckets=_SCORES, registry=registry
        )
        self.shadow_texts = Counter(
            "fineline_shadow_texts",
            "Texts that both models were to label: agree, differ, failed, dropped (too much was waiting)",
            ["version", "shadow_version", "result"],
            registry=registry,
        )
        self.batch_size = Histogram(
            "fineline_batch_size", "Texts in one run of the model", buckets=_TEXTS, registry=registry
        )
        self.queue = Gauge("fineline_queue_texts", "Texts that wait for a batch", registry=registry)
        self._model = Gauge(
            "fineline_model_info",
            "The versions that serve, as model and as its shadow",
            ["role", *_VERSION, "bundle_sha256"],
            registry=registry,
        )
        self._serving: dict[str, tuple[str, ...]] = {}
        self.reloads = Counter(
            "fineline_reloads",
            "Looks at a moved alias: loaded, refused (a version unfit to serve), failed (the registry gave none)",
            ["role", "result"],
            registry=registry,
        )
        for result in ("loaded", "refused", "failed"):
            self.reloads.labels("model", result)
        self.feedback = Counter("fineline_feedback", "Texts that came with the label that is right", registry=registry)
        self.log_dropped = Counter(
            "fineline_log_rows_dropped", "Sampled rows that could not be written", registry=registry
        )

    def serves(self, role: str, served: "Served | None") -> None:
        """Notes which version is the model, or its shadow, from now on."""
        if role in self._serving:
            self._model.remove(*self._serving.pop(role))
        if served:
            self._serving[role] = (role, served.name, served.version, served.sha256)
            self._model.labels(*self._serving[role]).set(1)

    def ran(self, served: "Served", scores: Sequence[float], seconds: float) -> None:
        """Notes a run that took `seconds` for each of its texts."""
        version = served.name, served.version
        for score in scores:
            self._score.labels(*version).observe(score)
            self._text_seconds.labels(*version).observe(seconds)
