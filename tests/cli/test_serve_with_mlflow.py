"""The same registered bundle behind `mlflow models serve`, which a team may have already: every payload that MLflow documents.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/ (accepted input formats); `inputs` as a dict of columns is the
one that MLflow keeps for models whose columns have names, which a list of texts has not.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from fineline.bundles.bundle import open_bundle, predict
from fineline.tracking import connection
from tests.mlflow_server import free_port
from tests.serving import register, serving, until

TEXTS = ["my card was declined", "wire transfer pending"]
JSON, CSV = "application/json", "text/csv"
PAYLOADS = {
    "inputs": (JSON, {"inputs": TEXTS}),
    "instances": (JSON, {"instances": TEXTS}),
    "instances of records": (JSON, {"instances": [{"text": text} for text in TEXTS]}),
    "dataframe_split": (JSON, {"dataframe_split": {"columns": ["text"], "data": [[text] for text in TEXTS]}}),
    "dataframe_records": (JSON, {"dataframe_records": [{"text": text} for text in TEXTS]}),
    "csv": (CSV, "text\n" + "\n".join(TEXTS)),
}
REFUSED = {
    "no text": (JSON, {"dataframe_records": [{"text": "card"}, {"text": None}]}, "text 2 is no text"),
    "another column": (CSV, "id,text\na1,card", "the first column must be text, not id"),
    "no key": (JSON, {"texts": TEXTS}, ""),
}


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[str]:
    """The registry of a project whose champion is the bundle."""
    folder = tmp_path_factory.mktemp("project")
    uri = f"sqlite:///{folder}/mlflow.db"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MLFLOW_TRACKING_URI", uri)
        patched.chdir(folder)
        register(bundle, "tiny")
        connection.client().set_registered_model_alias("tiny", "champion", "1")
        yield uri


@pytest.fixture(scope="module")
def mlflow_serves(registered: str) -> Iterator[str]:
    """The address at which MLflow serves the champion."""
    port = free_port()
    command = f"{sys.executable} -m mlflow models serve -m models:/tiny@champion --env-manager local --workers 1 --port {port}"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # mlflow calls uvicorn by its name
    environment = {**os.environ, "PATH": path, "MLFLOW_TRACKING_URI": registered, "MLFLOW_DISABLE_TELEMETRY": "true"}
    process = subprocess.Popen(
        command.split(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, env=environment
    )
    try:
        until(lambda: _pings(f"http://127.0.0.1:{port}/ping"))
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def wanted(bundle: Path) -> list[dict[str, Any]]:
    return predict(open_bundle(bundle), TEXTS)


def ask(url: str, kind: str, content: Any) -> requests.Response:
    data = content if isinstance(content, str) else json.dumps(content)
    return requests.post(url, data=data, headers={"Content-Type": kind}, timeout=60)


def are(answers: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    assert [answer["label"] for answer in answers] == [answer["label"] for answer in wanted]
    for found, expected in zip(answers, wanted, strict=True):
        assert found["probabilities"] == pytest.approx(expected["probabilities"], abs=0.01)


@pytest.mark.parametrize("name", PAYLOADS)
def test_mlflow_takes_every_payload(name: str, mlflow_serves: str, wanted: list[dict[str, Any]]) -> None:
    answer = ask(mlflow_serves, *PAYLOADS[name])
    assert answer.status_code == 200, answer.text
    are(answer.json()["predictions"], wanted)


@pytest.mark.parametrize("name", REFUSED)
def test_what_holds_no_texts_is_refused(name: str, mlflow_serves: str) -> None:
    kind, content, words = REFUSED[name]
    answer = ask(mlflow_serves, kind, content)
    assert answer.status_code == 400, answer.text
    assert words in answer.text


def test_fineline_answers_the_same(registered: str, wanted: list[dict[str, Any]], monkeypatch: Any) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registered)
    with serving("models:/tiny@champion") as server:
        content = server.predict(*TEXTS)
    assert (content["model"], content["version"]) == ("tiny", "1")
    are(content["predictions"], wanted)


def _pings(url: str) -> bool:
    try:
        return requests.get(url, timeout=60).status_code == 200
    except requests.ConnectionError:
        return False
