"""Dynamic batching: texts of many requests in one run of the model, in threads beside the event loop, from a bounded queue."""

import concurrent.futures
import dataclasses
import heapq
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from fineline.serving.metrics import Metrics
    from fineline.serving.models import Served

Answer = dict[str, Any]


class QueueFull(Exception):
    """More texts would wait than may."""


@dataclasses.dataclass(eq=False)
class _Request:
    """The texts of one request: all of them are answered by the same version."""

    served: "Served"
    answers: list[Answer]
    missing: int
    done: "concurrent.futures.Future[list[Answer]]"


class _Waiting(NamedTuple):
    request: _Request
    place: int
    text: str
    since: float


class Batcher:
    """`threads` threads, each of which takes as many waiting texts as may share a run of the model, and labels them.

    A thread that is free takes what waits after at most `max_wait_ms`; while all are busy, batches form by themselves.
    """

    def __init__(self, threads: int, max_wait_ms: float, max_queue: int, metrics: "Metrics"):
        self._max_wait, self._max_queue = max_wait_ms / 1000, max_queue
        self._metrics = metrics
        self._waiting: list[_Waiting] = []
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"batch-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, served: "Served", texts: Sequence[str]) -> "concurrent.futures.Future[list[Answer]]":
        """The answers to `texts` (one or more) of that version, in their order, when they are there. Raises QueueFull.

        What of them waits is forgotten when the answers are cancelled.
        """
        done: concurrent.futures.Future[list[Answer]] = concurrent.futures.Future()
        done.add_done_callback(self._forget)
        request = _Request(served, [{}] * len(texts), len(texts), done)
        now = time.monotonic()
        with self._changed:
            if self._closed or len(self._waiting) + len(texts) > self._max_queue:
                raise QueueFull
            self._waiting += [_Waiting(request, place, text, now) for place, text in enumerate(texts)]
            self._metrics.queue.set(len(self._waiting))
            self._changed.notify()
        return done

    def _forget(self, done: "concurrent.futures.Future[list[Answer]]") -> None:
        if not done.cancelled():
            return
        with self._changed:
            self._waiting = [item for item in self._waiting if item.request.done is not done]
            self._metrics.queue.set(len(self._waiting))

    def close(self, seconds: float) -> None:
        """Takes no more texts, and waits at most `seconds` until what waits is answered."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        while batch := self._next():
            self._metrics.batch_size.observe(len(batch))
            self._answer(batch)

    def _next(self) -> list[_Waiting]:
        """The next batch, when there is one; empty when the batcher is closed and nothing waits."""
        with self._changed:
            while True:
                if self._waiting:
                    oldest = self._waiting[0]
                    left = oldest.since + self._max_wait - time.monotonic()
                    if left <= 0 or len(self._waiting) >= oldest.request.served.max_batch or self._closed:
                        return self._take()
                    self._changed.wait(left)
                elif self._closed:
                    return []
                else:
                    self._changed.wait()

    def _take(self) -> list[_Waiting]:
        """The text that waits longest, and those for the same version that are nearest to it in length: little is padding."""
        oldest = self._waiting[0]
        batch = heapq.nsmallest(
            oldest.request.served.max_batch,
            (item for item in self._waiting if item.request.served is oldest.request.served),
            key=lambda item: abs(len(item.text) - len(oldest.text)),
        )
        taken = set(map(id, batch))
        self._waiting = [item for item in self._waiting if id(item) not in taken]
        self._metrics.queue.set(len(self._waiting))
        if self._waiting:
            self._changed.notify()
        return batch

    def _answer(self, batch: list[_Waiting]) -> None:
        """Labels a batch and completes the requests of which it held the last text."""
        from fineline.bundles.bundle import predict

        failure: Exception | None = None
        answers: list[Answer] = [{}] * len(batch)
        try:
            answers = predict(batch[0].request.served.bundle, [item.text for item in batch], batch_size=len(batch))
        except Exception as error:  # noqa: BLE001  it goes to the requests, which answer 500 and log it; the thread lives on
            failure = error
        with self._changed:
            for item, answer in zip(batch, answers, strict=True):
                request = item.request
                request.answers[item.place] = answer
                request.missing -= 1
                if request.done.done() or not (failure or request.missing == 0):
                    continue
                if not request.done.set_running_or_notify_cancel():
                    continue  # cancelled meanwhile
                if failure:
                    request.done.set_exception(failure)
                else:
                    request.done.set_result(request.answers)
