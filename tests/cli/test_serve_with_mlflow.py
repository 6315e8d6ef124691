"""The same registered bundle behind `mlflow models serve`, which a team may have already."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from fineline.bundles.bundle import open_bundle, predict
from fineline.tracking import connection
from tests.mlflow_server import free_port
from tests.serving import register, serving, until

TEXTS = ["my card was declined", "wire transfer pending"]


def test_mlflow_and_fineline_answer_the_same(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(
        "PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    )  # mlflow calls uvicorn by its name
    register(bundle, "tiny")
    connection.client().set_registered_model_alias("tiny", "champion", "1")
    wanted = predict(open_bundle(bundle), TEXTS)
    port = free_port()
    command = f"{sys.executable} -m mlflow models serve -m models:/tiny@champion --env-manager local --workers 1 --port {port}"
    process = subprocess.Popen(
        command.split(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        until(lambda: _pings(f"http://127.0.0.1:{port}/ping"))
        answer = requests.post(f"http://127.0.0.1:{port}/invocations", json={"inputs": TEXTS}, timeout=60)
        assert answer.status_code == 200, answer.text
        theirs = answer.json()["predictions"]
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    with serving("models:/tiny@champion") as server:
        content = server.predict(*TEXTS)
    assert (content["model"], content["version"]) == ("tiny", "1")
    for answers in (theirs, content["predictions"]):
        assert [answer["label"] for answer in answers] == [answer["label"] for answer in wanted]
        for found, expected in zip(answers, wanted, strict=True):
            assert found["probabilities"] == pytest.approx(expected["probabilities"], abs=0.01)


def _pings(url: str) -> bool:
    try:
        return requests.get(url, timeout=60).status_code == 200
    except requests.ConnectionError:
        return False
