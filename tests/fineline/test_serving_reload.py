"""The alias moves and the server follows, under load, without a failed request; what is unfit or out of reach changes nothing."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from fineline.artifacts import folders
from fineline.bundles.bundle import open_bundle, predict
from fineline.tracking import connection
from tests import mlflow_server
from tests.serving import Server, register, serving, until, variant

TEXT = "my card was declined"
ALIAS = "champion"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mlflow_server.Server]:
    with mlflow_server.running(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture
def client(registry: mlflow_server.Server, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return connection.client()


class Load:
    """Clients that ask without pause. `answers` are (status, version, score), `errors` whatever else came."""

    def __init__(self, server: Server, clients: int = 3):
        self.answers: list[tuple[int, str, float]] = []
        self.errors: list[Exception] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(server.url,)) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _ask(self, url: str) -> None:
        with requests.Session() as session:
            while not self._stop.is_set():
                try:
                    answer = session.post(f"{url}/predict", json={"texts": [TEXT]}, timeout=60)
                    content = answer.json()
                    self.answers.append((answer.status_code, content["version"], content["predictions"][0]["score"]))
                except (requests.RequestException, KeyError) as error:
                    self.errors.append(error)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.slow
def test_reload_under_load_refusals_and_a_registry_that_goes_and_comes(
    bundle: Path, tmp_path: Path, client, registry
) -> None:
    bundles = {"1": bundle, "2": variant(bundle, tmp_path / "hot", temperature=0.5)}
    assert register(bundle, "tiny") == "1"
    assert register(bundles["2"], "tiny") == "2"
    assert register(variant(bundle, tmp_path / "bad", temperature=5.0, passes=False), "tiny") == "3"
    assert register(variant(bundle, tmp_path / "other", temperature=6.0), "tiny", bundle_sha256="0" * 64) == "4"
    client.set_registered_model_alias("tiny", ALIAS, "1")
    scores = {key: predict(open_bundle(folder), [TEXT])[0]["score"] for key, folder in bundles.items()}
    assert abs(scores["1"] - scores["2"]) > 0.1

    with serving(f"models:/tiny@{ALIAS}", "--poll-seconds", 0.2) as server:
        load = Load(server)
        until(lambda: len(load.answers) > 20)
        for version in ("2", "1", "2"):
            client.set_registered_model_alias("tiny", ALIAS, version)
            until(lambda wanted=version: load.answers[-1][1] == wanted)
        for number, (bad, words) in enumerate(
            (("3", "does not pass its self-test"), ("4", "its tag says 000000000000")), 1
        ):
            client.set_registered_model_alias("tiny", ALIAS, bad)
            until(lambda count=number: server.metric('fineline_reloads_total{result="refused",role="model"}') >= count)
            line = server.events("reload refused")[-1]
            assert (line["refused"], line["serving"], line["level"]) == (bad, "2", "error")
            assert words in line["why"]
        assert len(server.events("reload refused")) == 2

        registry.kill()
        until(lambda: server.metric('fineline_reloads_total{result="failed",role="model"}') >= 2)
        assert "does not answer" in server.events("reload failed")[0]["why"]
        assert len(server.events("reload failed")) == 1  # said once, not at every look
        assert server.get("/v2/health/ready").status_code == 200
        asked = len(load.answers)
        until(lambda: len(load.answers) > asked + 20)
        registry.start()
        client.set_registered_model_alias("tiny", ALIAS, "1")
        until(lambda: load.answers[-1][1] == "1")
        load.stop()

        assert load.errors == []
        assert {status for status, _, _ in load.answers} == {200}
        assert {version for _, version, _ in load.answers} == {"1", "2"}
        for _, version, score in load.answers:
            assert score == pytest.approx(scores[version], abs=0.02), "an answer of another version than it says"
        assert server.get("/v2/models/tiny").json()["versions"] == ["1"]
        digest = folders.read_manifest(bundle).digest.removeprefix("sha256:")
        assert (
            server.metric(f'fineline_model_info{{bundle_sha256="{digest}",name="tiny",role="model",version="1"}}') == 1
        )
        assert server.metric('fineline_reloads_total{result="loaded",role="model"}') == 4

        client.delete_registered_model("tiny")  # and made anew: another bundle is its version 1
        assert register(bundles["2"], "tiny") == "1"
        client.set_registered_model_alias("tiny", ALIAS, "1")
        until(lambda: server.predict(TEXT)["predictions"][0]["score"] == pytest.approx(scores["2"], abs=0.02))
        assert server.stop() == 0
