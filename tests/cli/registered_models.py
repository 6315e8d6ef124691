"""Fixtures of the tests of promote, rollback and repair: a real MLflow server, a model with three versions, the command line."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.__main__ import main
from components.promote import test_set
from fineline.registry import ledger, model_versions
from fineline.tasks import get_task
from fineline.tracking import connection
from tests.conftest import PROJECT
from tests.mlflow_server import Server, running
from tests.registering import register_bundle
from tests.word_bundle import answers_of, some, word_rows, write_word_bundle, write_word_splits

ROWS = word_rows(240)
TEST, TRAIN = ROWS[:200], ROWS[200:]
WRONG = {"weak": 80, "equal": 80, "better": 20, "best": 4}
QUICK = "promote: {bootstrap: 200, speed_texts: 2, speed_rounds: 3, max_latency_ratio: 0}\n"

Fineline = Callable[..., tuple[int, str, str]]

_KILLED = """
import os, signal, sys
from fineline.registry import ledger
from cli.__main__ import main
setattr(ledger, sys.argv[1], lambda *arguments, **named: os.kill(os.getpid(), signal.SIGKILL))
main(sys.argv[2:])
"""


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], Path]:
    """Bundles by their quality, and the splits that they were trained on."""
    folder = tmp_path_factory.mktemp("bundles")
    splits = write_word_splits(folder / "splits", TRAIN, TEST)
    made = {
        quality: write_word_bundle(
            folder / quality, answers_of(TEST, some(wrong, 200, len(quality))), splits=splits, note=quality
        )
        for quality, wrong in WRONG.items()
    }
    return made, splits


@pytest.fixture
def name(mlflow_server: Server, bundles, request, monkeypatch, tmp_path: Path) -> str:
    """A registered model of this test alone: weak (1, champion), better (2), best (3), and a frozen test set."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    name = f"{request.node.originalname} {uuid.uuid4().hex[:8]}"
    made, splits = bundles
    for quality in ("weak", "better", "best"):
        register_bundle(name, made[quality], splits)
    server = connection.client()
    test_set.join(server, name, get_task("single_label"), TEST, "the test")
    ledger.move(server, name, model_versions.CHAMPION, 1, verdict="promote", reason="first")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(f"register: {{name: '{name}'}}\n{QUICK}")
    return name


@pytest.fixture
def fineline(name: str, capfd: pytest.CaptureFixture[str]) -> Fineline:
    """fineline("rollback", "--reason", "because") -> (exit code, stdout, stderr)."""

    def run(*words: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main([str(word) for word in words])
        output = capfd.readouterr()
        return code, output.out, output.err

    return run


def champion(name: str) -> int | None:
    return ledger.aliases(connection.client(), name).get(model_versions.CHAMPION)


def lines(name: str) -> list[tuple[int | None, int, str]]:
    found = ledger.read(connection.client(), name)
    return [(line["from"], line["to"], line["verdict"]) for line in found if line["alias"] == model_versions.CHAMPION]


def killed_in(function: str, *words: object) -> None:
    """Runs the command in a process of its own that is killed (-9) at the moment at which it calls ledger.`function`."""
    command = [sys.executable, "-c", _KILLED, function, *map(str, words)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(PROJECT)}, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
