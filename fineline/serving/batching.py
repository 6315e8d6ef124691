"""Dynamic batching: texts of many requests in one run of the model, in threads beside the event loop, from a bounded queue."""

import concurrent.futures
import dataclasses
import heapq
import os
import sys
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from fineline.serving.metrics import Metrics
    from fineline.serving.models import Served

Answer = dict[str, Any]

_LOWEST = 19  # of what nice takes


class QueueFull(Exception):
    """More texts would wait than may."""


class Scored(NamedTuple):
    """The answers to some texts, and the seconds of each text's share in its run of the model."""

    answers: list[Answer]
    seconds: list[float]


@dataclasses.dataclass(eq=False)
class _Request:
    """The texts of one request: all of them are answered by the same version."""

    served: "Served"
    scored: Scored
    missing: int
    done: "concurrent.futures.Future[Scored]"
    over: bool = False


class _Waiting(NamedTuple):
    request: _Request
    place: int
    text: str
    since: float


class Batcher:
    """`threads` threads, each of which takes as many waiting texts as may share a run of the model, and labels them.

    A thread that is free takes what waits after at most `max_wait_ms`; while all are busy, batches form by themselves. What is
    submitted aside is run by a thread of its own, text by text, when nothing else waits and with what the cores have left.
    """

    def __init__(self, threads: int, max_wait_ms: float, max_queue: int, metrics: "Metrics"):
        self._max_wait, self._max_queue = max_wait_ms / 1000, max_queue
        self._metrics = metrics
        self._waiting: list[_Waiting] = []
        self._aside: list[_Waiting] = []
        lock = threading.RLock()
        self._changed = threading.Condition(lock)
        self._idle = threading.Condition(lock)
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"batch-{number}", daemon=True) for number in range(threads)
        ]
        self._threads.append(threading.Thread(target=self._work_aside, name="aside", daemon=True))
        for thread in self._threads:
            thread.start()

    def submit(
        self, served: "Served", texts: Sequence[str], aside: bool = False
    ) -> "concurrent.futures.Future[Scored]":
        """The answers to `texts` (one or more) of that version, in their order, when they are there. Raises QueueFull.

        What of them waits is forgotten when the answers are cancelled, and what waits aside is cancelled by `close`.
        """
        done: concurrent.futures.Future[Scored] = concurrent.futures.Future()
        done.add_done_callback(self._forget)
        count, now = len(texts), time.monotonic()
        request = _Request(served, Scored([{}] * count, [0.0] * count), count, done)
        with self._changed:
            queue = self._aside if aside else self._waiting
            if self._closed or len(queue) + count > self._max_queue:
                raise QueueFull
            queue += [_Waiting(request, place, text, now) for place, text in enumerate(texts)]
            self._metrics.queue.set(len(self._waiting))
            (self._idle if aside else self._changed).notify()
        return done

    def _forget(self, done: "concurrent.futures.Future[Scored]") -> None:
        if not done.cancelled():
            return
        with self._changed:
            self._waiting = [item for item in self._waiting if item.request.done is not done]
            self._aside = [item for item in self._aside if item.request.done is not done]
            self._metrics.queue.set(len(self._waiting))
            self._idle.notify()

    def close(self, seconds: float) -> None:
        """Takes no more texts, and waits at most `seconds` until what waits is answered, but for what waits aside."""
        with self._changed:
            self._closed = True
            aside = [item.request.done for item in self._aside]
            self._changed.notify_all()
            self._idle.notify_all()
        for done in aside:
            done.cancel()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        while batch := self._next():
            self._metrics.batch_size.observe(len(batch))
            self._answer(batch)

    def _work_aside(self) -> None:
        if sys.platform == "linux":  # where a thread has a priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)
        while True:
            with self._changed:
                self._idle.wait_for(lambda: self._closed or (self._aside and not self._waiting))
                if self._closed:
                    return
                item = self._aside.pop(0)
            self._answer([item])

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
        (self._changed if self._waiting else self._idle).notify()
        return batch

    def _answer(self, batch: list[_Waiting]) -> None:
        """Labels a batch and completes the requests of which it held the last text."""
        from fineline.bundles.bundle import predict

        failure: Exception | None = None
        answers: list[Answer] = [{}] * len(batch)
        served, started = batch[0].request.served, time.perf_counter()
        try:
            answers = predict(served.bundle, [item.text for item in batch], batch_size=len(batch))
        except Exception as error:  # noqa: BLE001  it goes to the requests, which answer 500 and log it; the thread lives on
            failure = error
        seconds = (time.perf_counter() - started) / len(batch)
        if not failure:
            self._metrics.ran(served, [answer["score"] for answer in answers], seconds)
        whole = []
        with self._changed:
            for item, answer in zip(batch, answers, strict=True):
                request = item.request
                request.scored.answers[item.place], request.scored.seconds[item.place] = answer, seconds
                request.missing -= 1
                if not request.over and (failure or request.missing == 0):
                    request.over = True
                    whole.append(request)
        for request in whole:
            if not request.done.set_running_or_notify_cancel():
                continue  # cancelled meanwhile
            if failure:
                request.done.set_exception(failure)
            else:
                request.done.set_result(request.scored)
