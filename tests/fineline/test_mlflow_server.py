"""Each way in which MLflow fails is said as what it is, with one line on what to do: real servers, databases and files."""

import contextlib
import http.server
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.__main__ import main
from fineline.process.errors import FinelineError, ResourceError, Unavailable, UsageError
from fineline.registry import ledger, model_versions
from fineline.tracking import connection, mlflow_server
from fineline.tracking.journal import Journal
from tests.conftest import PROJECT, make_rows, write_splits
from tests.mlflow_server import Server, running
from tests.registering import register_bundle

SECRET = "t0psecret"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("mlflow")) as started:
        yield started


@contextlib.contextmanager
def answering(status: int, body: str = "<html>Sign in</html>") -> Iterator[str]:
    """The address of a web server that gives every request the same answer, as a proxy or a sign-in page does."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET

        def log_message(self, *_args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as page:
        threading.Thread(target=page.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{page.server_port}"
        page.shutdown()


def raised(work: Callable[[], Any]) -> FinelineError:
    """What `work` raises, as every step and command sees it."""
    with pytest.raises(FinelineError) as caught, model_versions.server_errors():
        work()
    return caught.value


def ask() -> None:
    connection.client().search_experiments()


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (200, ResourceError, "is not MLflow"),
        (401, ResourceError, "does not know the user ann, or not with this password (401)"),
        (403, ResourceError, "refuses the user ann: experiments/search is not permitted (403)"),
        (404, ResourceError, "is not MLflow"),
        (503, Unavailable, "does not answer (it answers 503)"),
    ],
)
def test_what_a_web_server_answers(status: int, kind: type, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRET)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with answering(status) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        error = raised(ask)
    assert (type(error), words in error.what, address in error.what) == (kind, True, True), error.what
    assert error.hint
    assert SECRET not in error.what + error.hint


ADDRESSES = [
    (f"http://127.0.0.1:9/?token={SECRET}", UsageError, "holds a query"),
    (f"http://ann:{SECRET}@127.0.0.1:9", UsageError, "holds a user name or password"),
    ("http://", UsageError, "names no host"),
    ("http://[::1", UsageError, "is no address"),
    ("http://127.0.0.1:99999999", UsageError, "is no address"),
    ("localhost:5000", UsageError, "no such kind of address"),
    (f"ftp://ann:{SECRET}@host/x?y={SECRET}", UsageError, "no such kind of address"),
    ("http://127.0.0.1:9", Unavailable, "does not answer (Connection refused)"),
    ("http://nowhere.invalid", Unavailable, "does not answer ("),
    (
        f"postgresql://ann:{SECRET}@127.0.0.1:9/db?password={SECRET}",
        Unavailable,
        "does not answer (Connection refused)",
    ),
    (f"postgresql+nothing:///db?password={SECRET}", UsageError, "no such kind of address"),
    (f"mssql+pyodbc:///db?password={SECRET}", ResourceError, "needs a driver that is not installed"),
    ("sqlite:////proc/none/mlflow.db", ResourceError, "lies in a folder that cannot be made"),
]


@pytest.mark.parametrize(("uri", "kind", "words"), ADDRESSES)
def test_addresses(uri: str, kind: type, words: str, monkeypatch: pytest.MonkeyPatch, capfd, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)
    begun = time.monotonic()
    code = main(["predict", "--model", "models:/tiny@champion", "a"])
    assert time.monotonic() - begun < 20
    error = capfd.readouterr().err
    assert (code, error.count("\n")) == (kind.code, 2), error
    assert SECRET not in error
    if "/proc" not in uri:  # there predict sees before MLflow that there is no file
        assert words in error
    failure = raised(ask)
    assert (type(failure), words in failure.what) == (kind, True), failure.what


def test_a_host_that_takes_connections_and_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert mlflow_server._SECONDS_TO_ANSWER <= 10
    monkeypatch.setattr(mlflow_server, "_SECONDS_TO_ANSWER", 0.5)
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "2")  # fineline.steps.command_line sets 10
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for address in ("http://127.0.0.1:{}", "postgresql+psycopg2://ann@127.0.0.1:{}/db"):
            monkeypatch.setenv("MLFLOW_TRACKING_URI", address.format(silent.getsockname()[1]))
            begun = time.monotonic()
            error = raised(ask)
            assert (type(error), "no answer in time" in error.what) == (Unavailable, True), error.what
            assert time.monotonic() - begun < 20


def test_a_file_that_is_locked_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    ask()
    monkeypatch.setattr(mlflow_server, "_SECONDS_TO_ANSWER", 0.2)
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        error = raised(ask)
        journal = Journal(tmp_path / "events.jsonl")
        journal.run("train", {}, {}, [])
        capfd.readouterr()
        assert not journal.send()
    assert (type(error), error.what) == (
        ResourceError,
        f"the MLflow database sqlite:///{tmp_path}/mlflow.db is locked by another program",
    )
    assert capfd.readouterr().err == f"tracking: {error.what}; figures are kept in events.jsonl and sent later\n"
    assert journal.send()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database" * 100)
    assert "is no SQLite database" in raised(ask).what


def test_what_was_deleted_is_named_with_the_command_that_brings_it_back(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    client = connection.client()
    journal = Journal(tmp_path / "events.jsonl")
    journal.run("train", {}, {}, [])
    run_id = journal.close()
    experiment = client.get_run(run_id).info.experiment_id

    client.delete_run(run_id)
    later = Journal(tmp_path / "events.jsonl")
    later.metrics({"loss": 1.0})
    capfd.readouterr()
    assert not later.send()
    assert f"the run {run_id} of the MLflow tracking server {server.uri} was deleted" in capfd.readouterr().err
    assert f"'mlflow runs restore --run-id {run_id}'" in raised(lambda: client.log_param(run_id, "a", "b")).hint
    words = [sys.executable, "-m", "mlflow", "runs", "restore", "--run-id", run_id]
    subprocess.run(words, env={**os.environ, "MLFLOW_TRACKING_URI": server.uri}, check=True, capture_output=True)
    assert later.send()

    client.delete_experiment(experiment)
    error = raised(lambda: client.create_run(connection.experiment_id(client, "fineline")))
    assert error.what == f"the experiment {experiment} of the MLflow tracking server {server.uri} was deleted"
    assert f"'mlflow experiments restore --experiment-id {experiment}'" in error.hint
    client.restore_experiment(experiment)
    assert client.create_run(connection.experiment_id(client, "fineline"))

    for work in (lambda: client.get_run("f" * 32), lambda: client.create_run("999999")):
        error = raised(work)
        assert "does not have what was asked" in error.what
        assert "mlflow gc" in error.hint
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{server.uri}/elsewhere")
    assert f"what answers at {server.uri}/elsewhere is not MLflow" in raised(ask).what


PERCENT = """
import sys
from pathlib import Path
import mlflow
from fineline.steps.command_line import quiet_libraries
from fineline.tracking.connection import client
from fineline.tracking.journal import Journal
quiet_libraries()
assert "%" in mlflow.__file__
journal = Journal(Path("events.jsonl"))
journal.run("train", {}, {}, [])
journal.send_in_background()
print(repr(journal.close("FINISHED")))
client()
"""


def test_an_installation_whose_path_mlflow_cannot_bear(tmp_path: Path) -> None:
    """Jenkins calls a workspace feature%2Fx, and alembic takes the % in MLflow's own path for a variable."""
    import mlflow

    site = tmp_path / "feature%2Fx"
    site.mkdir()
    (site / "mlflow").symlink_to(Path(mlflow.__file__).parent)
    environment = {**os.environ, "PYTHONPATH": f"{site}:{PROJECT}"}
    done = subprocess.run(
        [sys.executable, "-c", PERCENT], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    said = done.stderr.splitlines()
    assert done.stdout == "''\n"
    assert said[0].startswith("tracking: MLflow makes no database while the path of its installation holds a %")
    assert said[-1].startswith("fineline.process.errors.ResourceError: MLflow makes no database")
    assert (tmp_path / "events.jsonl").read_text().count("\n") == 2


def test_a_registry_that_lies_elsewhere(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    elsewhere = f"sqlite:///{tmp_path}/registry.db"
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", elsewhere)
    monkeypatch.chdir(tmp_path)
    ask()
    assert main(["status", "--name", "tiny"]) == 2
    assert f"no model tiny is registered in {elsewhere}" in capfd.readouterr().err
    splits = write_splits(tmp_path / "splits", make_rows(60))
    version = register_bundle("tiny", bundle, splits)
    ledger.move(connection.client(), "tiny", model_versions.CHAMPION, version, verdict="promote", reason="first")
    assert main(["status", "--name", "tiny"]) == 0
    assert main(["predict", "--model", "models:/tiny@champion", "my card"]) == 0
    assert "champion    version 1" in capfd.readouterr().out
    monkeypatch.delenv("MLFLOW_REGISTRY_URI")
    assert main(["status", "--name", "tiny"]) == 2  # the runs are here, the registry is not
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"http://127.0.0.1:9?token={SECRET}")
    assert main(["status", "--name", "tiny"]) == 2
    assert SECRET not in capfd.readouterr().err
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://127.0.0.1:9")
    assert "the MLflow registry http://127.0.0.1:9 does not answer (Connection refused)" in raised(ask).what


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        (model_versions.WAITS, "soon"),
        (model_versions.WAITS, "[1]"),
        (model_versions.VERDICT, '{"reason": 3}'),
        (ledger.RUN_TAG, "none"),
    ],
)
def test_a_tag_that_was_edited_by_hand(
    tag: str, text: str, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    monkeypatch.chdir(tmp_path)
    version = register_bundle("tiny", bundle)
    client = connection.client()
    if tag == ledger.RUN_TAG:
        client.set_registered_model_tag("tiny", tag, text)
    else:
        client.set_model_version_tag("tiny", str(version), tag, text)
    for words in (["status"], ["approve", "1", "--reason", "why"], ["promote", "--version", "1"]):
        capfd.readouterr()
        code = main([*words, "--name", "tiny"])
        error = capfd.readouterr().err
        assert code in (2, 4), error
        assert error.count("\n") == 2
        assert "Traceback" not in error
    capfd.readouterr()
    main(["status", "--name", "tiny"])
    assert (tag if tag != ledger.RUN_TAG else "Run with id=none not found") in capfd.readouterr().err
