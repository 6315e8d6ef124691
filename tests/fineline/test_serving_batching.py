"""Dynamic batching: right answers for everyone, little padding, a bounded queue, and no request that takes others with it."""

import dataclasses
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from fineline.bundles.bundle import open_bundle, predict
from fineline.serving.batching import Batcher, QueueFull
from fineline.serving.metrics import Metrics
from fineline.serving.models import Served
from tests.conftest import make_rows
from tests.serving import serving, until

TOLERANCE = 1e-5


class Recorder:
    """An ONNX Runtime session that notes the input of each run, and fails on batches with an id of `broken`."""

    def __init__(self, session: Any):
        self.session = session
        self.batches: list[np.ndarray] = []
        self.broken: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)

    def run(self, outputs: list[str], inputs: dict[str, np.ndarray]) -> Any:
        self.batches.append(inputs["input_ids"])
        if self.broken in inputs["input_ids"]:
            raise RuntimeError("no such token")
        return self.session.run(outputs, inputs)


@pytest.fixture
def serve(fp32: Path) -> Callable[[int], Served]:
    """serve(max_batch): a version with a Recorder."""
    opened = open_bundle(fp32, threads=1)
    return lambda batch: Served("tiny", "1", "0", dataclasses.replace(opened, session=Recorder(opened.session)), batch)


@pytest.fixture
def make() -> Iterator[Callable[..., Batcher]]:
    made = []

    def make(threads: int = 1, max_wait_ms: float = 0, max_queue: int = 1000) -> Batcher:
        made.append(Batcher(threads, max_wait_ms, max_queue, Metrics()))
        return made[-1]

    yield make
    for batcher in made:
        batcher.close(seconds=60)


def test_every_request_gets_its_own_answers_in_its_order(serve, make) -> None:
    texts = make_rows(120)["text"].tolist()
    parts = [texts[start : start + 1 + start % 7] for start in range(0, 120, 3)]
    served, batcher = serve(4), make(threads=2)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda part: batcher.submit(served, part).result(60).answers, parts))
    for part, answers in zip(parts, found, strict=True):
        for answer, wanted in zip(answers, predict(served.bundle, part, batch_size=1), strict=True):
            assert answer["probabilities"] == pytest.approx(wanted["probabilities"], abs=TOLERANCE)
    assert max(map(len, served.bundle.session.batches)) <= 4


def test_a_batch_is_filled_with_texts_of_its_length(serve, make) -> None:
    served, batcher = serve(2), make(max_wait_ms=200)
    batcher.submit(served, ["card pin", "transfer " * 20, "card app", "payment " * 20, "card"]).result(60)
    assert [batch.shape for batch in served.bundle.session.batches] == [(2, 4), (2, 22), (1, 3)]


def test_texts_wait_for_others_but_not_for_long(serve, make) -> None:
    served, batcher = serve(3), make(max_wait_ms=60_000)
    first = batcher.submit(served, ["card"])
    second = batcher.submit(served, ["pin"])
    assert not first.done()
    third = batcher.submit(served, ["app"])  # which fills the batch
    for future in (first, second, third):
        future.result(30)
    assert [len(batch) for batch in served.bundle.session.batches] == [3]
    assert len(make(max_wait_ms=50).submit(served, ["alone"]).result(30).answers) == 1


def test_a_batch_is_of_one_version(serve, make) -> None:
    served, other, batcher = serve(8), serve(8), make(max_wait_ms=200)
    waiting = [batcher.submit(served if number % 2 else other, ["card"]) for number in range(6)]
    for future in waiting:
        future.result(60)
    assert [len(batch) for batch in served.bundle.session.batches] == [3]
    assert [len(batch) for batch in other.bundle.session.batches] == [3]


def test_a_full_queue_refuses_and_what_waits_is_answered_at_the_end(serve, make) -> None:
    served, batcher = serve(64), make(max_wait_ms=60_000, max_queue=3)
    waiting = batcher.submit(served, ["a", "b"])
    with pytest.raises(QueueFull):
        batcher.submit(served, ["c", "d"])
    last = batcher.submit(served, ["c"])
    batcher.close(seconds=60)
    assert (len(waiting.result(0).answers), len(last.result(0).answers)) == (2, 1)
    with pytest.raises(QueueFull):
        batcher.submit(served, ["too late"])


def test_a_batch_that_fails_fails_alone(serve, make) -> None:
    served, batcher = serve(1), make()
    recorder = served.bundle.session
    recorder.broken = served.bundle.tokenizer.token_to_id("pin")
    failing, fine = batcher.submit(served, ["card", "pin", "app"]), batcher.submit(served, ["card"])
    with pytest.raises(RuntimeError, match="no such token"):
        failing.result(60)
    assert fine.result(60).answers[0]["label"]
    assert batcher.submit(served, ["login"]).result(60).answers


def test_what_is_aside_runs_when_nothing_waits_and_is_dropped_at_the_end(serve, make) -> None:
    served, other, batcher = serve(4), serve(4), make(max_wait_ms=60_000, max_queue=3)
    batcher.submit(served, ["card"])
    aside = batcher.submit(other, ["a", "b"], aside=True)
    with pytest.raises(QueueFull):  # its queue is its own
        batcher.submit(other, ["c", "d"], aside=True)
    batcher.submit(served, ["pin", "app"])
    assert other.bundle.session.batches == []
    batcher.close(seconds=60)
    assert aside.cancelled()

    served, other, batcher = serve(2), serve(2), make()
    assert len(batcher.submit(other, ["card", "pin"], aside=True).result(60).answers) == 2
    assert [len(batch) for batch in other.bundle.session.batches] == [1, 1]


def test_answers_of_an_int8_bundle_do_not_depend_on_who_else_asks(bundle: Path) -> None:
    texts = make_rows(40)["text"].tolist()
    wanted = [predict(open_bundle(bundle), [text])[0] for text in texts]
    with serving(bundle, "--max-batch", 8, "--max-wait-ms", 50) as server:
        for answer, alone in zip(server.predict(*texts)["predictions"], wanted, strict=True):
            assert answer["label"] == alone["label"]
            assert answer["probabilities"] == pytest.approx(alone["probabilities"], abs=1e-5)
        assert server.metric("fineline_batch_size_count") == 5


def test_a_full_queue_is_503_with_retry_after(fp32: Path) -> None:
    arguments = ("--max-queue", 2, "--max-texts", 2, "--max-batch", 64, "--max-wait-ms", 1000, "--name", "tiny")
    with serving(fp32, *arguments) as server, ThreadPoolExecutor(1) as pool:
        first = pool.submit(server.predict, "a", "b")
        until(lambda: server.metric("fineline_queue_texts") == 2)
        refused = server.post("/predict", {"texts": ["c"]})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json() == {"error": "too much is waiting: try again later"}
        assert len(first.result(60)["predictions"]) == 2
        assert server.metric('fineline_requests_total{route="/predict",status="503"}') == 1
        assert len(server.predict("c")["predictions"]) == 1


def test_load_makes_batches_and_metrics_count_it(fp32: Path) -> None:
    texts = make_rows(60)["text"].tolist()
    wanted = predict(open_bundle(fp32), texts, batch_size=1)
    with serving(fp32, "--threads", 1) as server:
        local = threading.local()

        def ask(text: str) -> tuple[int, dict[str, float]]:
            if not hasattr(local, "session"):
                local.session = requests.Session()
            answer = local.session.post(f"{server.url}/predict", json={"texts": [text]}, timeout=60)
            return answer.status_code, answer.json()["predictions"][0]["probabilities"]

        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(ask, texts * 5))
        assert {status for status, _ in answers} == {200}
        for (_, found), right in zip(answers, wanted * 5, strict=True):
            assert found == pytest.approx(right["probabilities"], abs=TOLERANCE)
        version = f'{{name="onnx",version="{server.predict("a")["version"]}"}}'
        assert server.metric(f"fineline_texts_total{version}") == 301
        assert server.metric(f"fineline_text_seconds_count{version}") == 301
        assert server.metric(f"fineline_score_count{version}") == 301
        assert server.metric('fineline_requests_total{route="/predict",status="200"}') == 301
        assert server.metric("fineline_batch_size_sum") == 301
        assert server.metric("fineline_batch_size_count") < 250
        assert server.metric('fineline_request_seconds_count{route="/predict"}') == 301
        assert server.metric("fineline_queue_texts") == 0
