"""A second model beside the one that answers: it changes no answer, is counted, and may come, go and fail as it likes."""

import dataclasses
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import requests

from fineline.bundles.bundle import open_bundle, predict
from fineline.serving.batching import Batcher
from fineline.serving.metrics import Metrics
from fineline.serving.models import Served
from fineline.serving.shadow import Pair, Shadow
from fineline.tracking import connection
from tests.conftest import make_rows
from tests.serving import Server, register, serving, until, variant

CHAMPION, CHALLENGER = "models:/tiny@champion", "models:/tiny@challenger"
TEXTS = make_rows(60)["text"].tolist()


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[dict[str, Path]]:
    """A registry with three versions of `tiny`: 1 and 2 answer the same labels with other scores, 3 fails its self-test."""
    folder = tmp_path_factory.mktemp("project")
    hot, bad = variant(bundle, folder / "hot", 0.5), variant(bundle, folder / "bad", 2.0, passes=False)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patched.chdir(folder)
        yield {str(register(each, "tiny")): each for each in (bundle, hot, bad)}


@pytest.fixture
def client(versions: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The registry, where 1 is champion and nothing is challenger."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{versions['2'].parent}/mlflow.db")
    server = connection.client()
    server.set_registered_model_alias("tiny", "champion", "1")
    server.delete_registered_model_alias("tiny", "challenger")
    return server


def compared(server: Server, result: str, version: str = "1", shadow: str = "2") -> float:
    line = f'fineline_shadow_texts_total{{result="{result}",shadow_version="{shadow}",version="{version}"}}'
    return server.metric(line) if line in server.get("/metrics").text else 0


def role(server: Server, name: str) -> str:
    """The version of the model, or of its shadow; '' for none."""
    lines = server.get("/metrics").text.splitlines()
    found = [line for line in lines if line.startswith("fineline_model_info{") and f'role="{name}"' in line]
    return found[0].partition('version="')[2].partition('"')[0] if found else ""


def test_the_shadow_labels_what_is_answered_and_changes_no_answer(
    client: Any, versions: dict[str, Path], tmp_path: Path
) -> None:
    client.set_registered_model_alias("tiny", "challenger", "2")
    wanted, other = (predict(open_bundle(versions[number]), TEXTS) for number in ("1", "2"))
    with serving(
        *(CHAMPION, "--shadow", CHALLENGER, "--log-sample", "100%", "--log-folder", tmp_path / "log")
    ) as server:
        answer = server.predict(*TEXTS)
        assert (answer["version"], answer["predictions"]) == ("1", wanted)
        until(lambda: compared(server, "agree") == len(TEXTS))
        assert server.metric('fineline_texts_total{name="tiny",version="1"}') == len(TEXTS)
        assert 'fineline_texts_total{name="tiny",version="2"}' not in server.get("/metrics").text
        for series in ("fineline_score_count", "fineline_text_seconds_count"):
            assert server.metric(f'{series}{{name="tiny",version="2"}}') == len(TEXTS)
        assert server.stop() == 0
    rows = {row["text"]: row for file in (tmp_path / "log").iterdir() for row in pq.read_table(file).to_pylist()}
    for text, one, two in zip(TEXTS, wanted, other, strict=True):
        row = rows[text]
        assert (row["version"], row["label"], row["score"]) == ("1", one["label"], one["score"])
        assert (row["other_version"], row["other_label"], row["other_score"]) == ("2", two["label"], two["score"])
        assert 0 < row["other_seconds"] < 10
        assert not row["canary"]


def test_a_share_of_the_requests_is_answered_by_the_shadow(client: Any, tmp_path: Path) -> None:
    client.set_registered_model_alias("tiny", "challenger", "2")
    arguments = (CHAMPION, "--shadow", CHALLENGER, "--canary", "30%", "--log-sample", 1, "--log-folder", tmp_path / "l")
    with serving(*arguments) as server:

        def ask(number: int, path: str = "/predict", content: Any = None) -> dict[str, Any]:
            headers = {"X-Request-ID": f"id-{number}"}
            content = content or {"texts": [TEXTS[number % len(TEXTS)]]}
            return requests.post(server.url + path, json=content, headers=headers, timeout=60).json()

        first = [ask(number)["version"] for number in range(100)]
        assert 15 <= first.count("2") <= 45
        assert [ask(number)["version"] for number in range(100)] == first
        inputs = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["card"]}]}
        number = first.index("2")
        assert ask(number, "/v2/models/tiny/infer", inputs)["model_version"] == "2"
        assert ask(number, "/v2/models/tiny/versions/1/infer", inputs)["model_version"] == "1"
        until(lambda: compared(server, "agree") == 201)
        assert server.metric('fineline_texts_total{name="tiny",version="2"}') == 2 * first.count("2") + 1
        assert server.stop() == 0
    rows = [row for file in (tmp_path / "l").iterdir() for row in pq.read_table(file).to_pylist()]
    assert {(row["canary"], row["version"], row["other_version"]) for row in rows} == {
        (False, "1", "2"),
        (True, "2", "1"),
        (False, "1", None),  # which was asked for by its number
    }


def test_the_aliases_may_move_go_and_come(client: Any) -> None:
    with serving(CHAMPION, "--shadow", CHALLENGER, "--poll-seconds", 0.2, "--canary", 1) as server:
        assert role(server, "shadow") == ""
        assert server.predict("a")["version"] == "1"
        assert "challenger is not in the registry" in server.events("no shadow")[0]["why"]
        client.set_registered_model_alias("tiny", "challenger", "3")
        until(lambda: server.events("reload refused"))
        assert server.events("reload refused")[0]["role"] == "shadow"
        assert server.predict("a")["version"] == "1"
        client.set_registered_model_alias("tiny", "challenger", "2")
        until(lambda: role(server, "shadow") == "2")
        assert server.predict("a")["version"] == "2"
        client.set_registered_model_alias("tiny", "champion", "2")  # promoted: there is nothing to compare it with
        until(lambda: role(server, "model") == "2")
        until(lambda: compared(server, "agree") == 1)
        assert server.predict("a")["version"] == "2"
        client.delete_registered_model_alias("tiny", "challenger")
        until(lambda: role(server, "shadow") == "")
        client.delete_registered_model_alias("tiny", "champion")
        until(lambda: server.metric('fineline_reloads_total{result="failed",role="model"}'))
        assert server.predict("a")["version"] == "2"
        client.set_registered_model_alias("tiny", "challenger", "1")
        until(lambda: role(server, "shadow") == "1")
        assert server.predict("a")["version"] == "1"
        assert len(server.events("no shadow")) == 2
        assert server.stop() == 0


class Slow:
    """A session that waits for a word, and one that fails."""

    def __init__(self, session: Any, go: threading.Event | None):
        self._session, self._go = session, go

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, *arguments: Any) -> Any:
        if self._go is None:
            raise RuntimeError("no such token")
        assert self._go.wait(60)
        return self._session.run(*arguments)


@pytest.mark.parametrize("fails", [False, True])
def test_a_shadow_that_is_slow_or_fails_costs_no_answer(fails: bool, bundle: Path) -> None:
    opened, go = open_bundle(bundle, threads=1), threading.Event()
    model = Served("tiny", "1", "a", opened, 1)
    slow = dataclasses.replace(opened, session=Slow(opened.session, None if fails else go))
    metrics = Metrics()
    batcher = Batcher(1, 0, 3, metrics)

    class Found:
        found = Served("tiny", "2", "b", slow, 1)

    shadow = Shadow(Found(), 0.0, batcher, metrics, None)  # type: ignore[arg-type]
    for _ in range(5):
        pair = shadow.pair(model, "id")
        assert pair == Pair(model, Found.found)
        texts = ["card", "pin"]
        scored = batcher.submit(pair.answers, texts).result(60)
        assert len(scored.answers) == 2
        shadow.compare(pair, texts, scored)

    def count(result: str) -> float:
        labels = {"version": "1", "shadow_version": "2", "result": result}
        return metrics.registry.get_sample_value("fineline_shadow_texts_total", labels) or 0

    if fails:
        until(lambda: count("failed") + count("dropped") == 10)
        assert count("failed")
    else:
        assert count("dropped") >= 6  # one runs, three may wait
        go.set()
        until(lambda: count("dropped") + count("agree") == 10)
    batcher.close(seconds=60)


def test_who_answers_an_id_is_chosen_evenly() -> None:
    random.seed(3)

    class Found:
        found = Served("tiny", "2", "b", None, 1)  # type: ignore[arg-type]

    model = Served("tiny", "1", "a", None, 1)  # type: ignore[arg-type]
    shadow = Shadow(Found(), 0.05, None, None, None)  # type: ignore[arg-type]
    chosen = [shadow.pair(model, f"{random.getrandbits(128):032x}").canary for _ in range(20_000)]
    assert 900 < sum(chosen) < 1100  # 1,000 ± 31
    promoted = Served("tiny", "1", "b", None, 1)  # type: ignore[arg-type]
    assert shadow.pair(promoted, "any") == Pair(promoted)
