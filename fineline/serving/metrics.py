"""What Prometheus reads at /metrics."""

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

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
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
        self.texts = Counter("fineline_texts", "Texts labelled", registry=registry)
        self.batch_size = Histogram(
            "fineline_batch_size", "Texts in one run of the model", buckets=_TEXTS, registry=registry
        )
        self.queue = Gauge("fineline_queue_texts", "Texts that wait for a batch", registry=registry)
        self.model = Gauge(
            "fineline_model_info", "The version that serves", ["name", "version", "bundle_sha256"], registry=registry
        )
        self.reloads = Counter(
            "fineline_reloads",
            "Looks at a moved alias: loaded, refused (a version unfit to serve), failed (the registry gave none)",
            ["result"],
            registry=registry,
        )
        for result in ("loaded", "refused", "failed"):
            self.reloads.labels(result)
        self.log_dropped = Counter(
            "fineline_log_rows_dropped", "Sampled rows that could not be written", registry=registry
        )

    def serves(self, name: str, version: str, digest: str) -> None:
        """Notes which version serves from now on."""
        self.model.clear()
        self.model.labels(name, version, digest).set(1)
