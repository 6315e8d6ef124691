"""A second model beside the one that answers: it labels the same texts, when there is time, and answers a share of the requests.

So a challenger meets real texts before it is promoted. It neither slows nor fails an answer: it runs in a thread of the lowest
priority, when nothing else waits, and what finds no room to wait is dropped and counted.
"""

import concurrent.futures
import dataclasses
import hashlib
import logging
from functools import partial
from typing import TYPE_CHECKING

from fineline.serving.batching import Batcher, QueueFull, Scored

if TYPE_CHECKING:
    from fineline.serving.metrics import Metrics
    from fineline.serving.models import Served, Watch
    from fineline.serving.sample_log import SampleLog

log = logging.getLogger("fineline.serving")


@dataclasses.dataclass(frozen=True)
class Pair:
    """Who answers a request, and who labels its texts beside, if anyone. `canary` says that the shadow answers."""

    answers: "Served"
    beside: "Served | None" = None
    canary: bool = False

    @property
    def versions(self) -> tuple[str, str]:
        """The model's and its shadow's."""
        beside = self.beside.version if self.beside else ""
        return (beside, self.answers.version) if self.canary else (self.answers.version, beside)


@dataclasses.dataclass(frozen=True)
class Shadow:
    """The second model, what it is compared by, and the share of the requests that it answers."""

    watch: "Watch"
    canary: float
    batcher: Batcher
    metrics: "Metrics"
    sample_log: "SampleLog | None"

    def pair(self, model: "Served", request_id: str) -> Pair:
        """Who answers the request of that id: the same of two versions for an id, in every replica."""
        second = self.watch.found
        if second is None or second.sha256 == model.sha256:  # not there, or promoted meanwhile
            return Pair(model)
        if _place(request_id) < self.canary:
            return Pair(second, model, canary=True)
        return Pair(model, second)

    def compare(self, pair: Pair, texts: list[str], scored: Scored) -> None:
        """Has `texts`, which are answered, labelled by the other model too, later; counts and logs both."""
        assert pair.beside
        try:
            done = self.batcher.submit(pair.beside, texts, aside=True)
        except QueueFull:
            self._note(pair, texts, scored, None, "dropped")
            return
        done.add_done_callback(partial(self._compared, pair, texts, scored))

    def _compared(
        self, pair: Pair, texts: list[str], scored: Scored, done: "concurrent.futures.Future[Scored]"
    ) -> None:
        if done.cancelled():
            self._note(pair, texts, scored, None, "dropped")
        elif error := done.exception():
            log.error("shadow failed", exc_info=error, extra={"fields": {"version": pair.versions[1]}})
            self._note(pair, texts, scored, None, "failed")
        else:
            self._note(pair, texts, scored, done.result())

    def _note(self, pair: Pair, texts: list[str], scored: Scored, other: Scored | None, why: str = "") -> None:
        pairs = zip(scored.answers, other.answers if other else scored.answers, strict=True)
        brief = pair.answers.bundle.task.brief
        for one, two in pairs:
            result = why or ("agree" if brief(one)[0] == brief(two)[0] else "differ")
            self.metrics.shadow_texts.labels(*pair.versions, result).inc()
        if self.sample_log:
            self.sample_log.add(pair, texts, scored, other)


def _place(request_id: str) -> float:
    """Where an id falls in [0, 1): the first 8 bytes of its SHA-256."""
    return int.from_bytes(hashlib.sha256(request_id.encode()).digest()[:8]) / 2**64
