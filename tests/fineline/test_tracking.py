"""The journal: nothing is lost, nothing is sent twice, and nobody waits for a server that does not answer."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from fineline.process.errors import UsageError
from fineline.tracking import connection
from fineline.tracking.journal import _SECONDS_TO_SEND, _SECONDS_TO_SEND_AGAIN, Journal, _describe_run

DATASETS = [{"name": "splits", "digest": "sha256:" + "a1" * 32, "context": "training"}]


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty tracking database: making one takes seconds, copying it none."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(autouse=True)
def store(isolated_tracking: None, empty_store: Path, tmp_path: Path) -> str:
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def hanging_server() -> Iterator[str]:
    """The address of a server that accepts and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def refusing_server(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a port that nobody listens on."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def filled(path: Path, steps: int = 3) -> Journal:
    journal = Journal(path)
    journal.run("name", {"train.epochs": 3, "train.metric": ""}, {"tag": "value"}, DATASETS)
    for step in range(1, steps + 1):
        journal.metrics({"loss": 1.0 / step, "rate": 0.1}, step)
    return journal


def runs(store: str) -> list[Run]:
    client = MlflowClient(store)
    return client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])


def test_everything_arrives_as_it_was(tmp_path: Path, store: str) -> None:
    journal = filled(tmp_path / "events.jsonl")
    journal.tags({"late": "tag"})
    run_id = journal.close("FINISHED")
    assert [run.info.run_id for run in runs(store)] == [run_id]
    run = MlflowClient(store).get_run(run_id)
    assert (run.info.run_name, run.info.status) == ("name", "FINISHED")
    assert run.data.params == {"train.epochs": "3", "train.metric": ""}
    assert {"tag": "value", "late": "tag"}.items() <= run.data.tags.items()
    history = MlflowClient(store).get_metric_history(run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    dataset = run.inputs.dataset_inputs[0]
    assert (dataset.dataset.name, dataset.dataset.digest) == ("splits", ("a1" * 32)[:36])
    assert [(tag.key, tag.value) for tag in dataset.tags] == [("mlflow.data.context", "training")]
    assert MlflowClient(store).get_experiment(run.info.experiment_id).name == "fineline"


def test_more_than_mlflow_takes_in_one_request(tmp_path: Path, store: str) -> None:
    journal = Journal(tmp_path / "events.jsonl")
    journal.run("name", {f"p{i}": i for i in range(250)}, {f"t{i}": "x" * 10_000 for i in range(150)}, DATASETS)
    for step in range(1200):
        journal.metrics({"loss": step}, step)
    run = MlflowClient(store).get_run(journal.close("FINISHED"))
    assert len(run.data.params) == 250
    assert len([tag for tag in run.data.tags if tag.startswith("t")]) == 150
    assert len(MlflowClient(store).get_metric_history(run.info.run_id, "loss")) == 1200


def test_a_reopened_journal_goes_on_with_the_same_run(tmp_path: Path, store: str) -> None:
    path = tmp_path / "events.jsonl"
    run_id = filled(path).close()
    again = Journal(path)
    assert again.started
    again.metrics({"loss": 99.0}, 3)
    again.metrics({"loss": 0.25}, 4)
    assert again.close("FINISHED") == run_id
    assert len(runs(store)) == 1
    history = MlflowClient(store).get_metric_history(run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 1.0), (2, 0.5), (3, 1 / 3), (4, 0.25)]


def test_a_line_cut_off_by_a_kill_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    filled(path)
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole + '{"kind": "metr', encoding="utf-8")
    assert len(Journal(path).events) == 4
    assert path.read_text(encoding="utf-8") == whole


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_kill_between_two_requests_makes_no_second_run(cut: int, tmp_path: Path, store: str) -> None:
    """The journal as it is on disk when the process died after its n-th 'sent' mark, or right before it."""
    path = tmp_path / "events.jsonl"
    journal = filled(path)
    journal.close("FINISHED")
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    marks = [i for i, line in enumerate(lines) if '"kind": "sent"' in line]
    assert len(marks) == 2  # the run exists; everything is there
    ends = {1: marks[0] + 1, 2: marks[1], 3: marks[1] + 1}[cut]
    path.write_text("".join(lines[:ends]), encoding="utf-8")
    assert Journal(path).send()
    assert [run.info.run_id for run in runs(store)] == [journal.run_id]
    assert len(MlflowClient(store).get_metric_history(journal.run_id, "loss")) == 3


def test_a_failure_in_the_middle_is_made_good(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = filled(tmp_path / "events.jsonl")
    describe = _describe_run

    def fails_once(*arguments: object) -> None:
        monkeypatch.setattr("fineline.tracking.journal._describe_run", describe)
        raise ConnectionResetError("reset by peer")

    monkeypatch.setattr("fineline.tracking.journal._describe_run", fails_once)
    assert not journal.send()
    assert "reset by peer" in capsys.readouterr().err
    run_id = journal.close("FINISHED")
    assert [run.info.run_id for run in runs(store)] == [run_id]
    run = MlflowClient(store).get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["train.epochs"] == "3"
    assert len(run.inputs.dataset_inputs) == 1


def test_the_background_sends_while_the_work_goes_on(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fineline.tracking.journal._SECONDS_BETWEEN_SENDS", 0.05)
    journal = filled(tmp_path / "events.jsonl")
    journal.send_in_background()
    deadline = time.monotonic() + 60
    while not (found := runs(store)) or "loss" not in found[0].data.metrics:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert found[0].info.status == "RUNNING"
    assert journal.close("FINISHED") == found[0].info.run_id


def test_a_refusing_server_costs_one_line_and_gets_everything_later(
    refusing_server: str,
    tmp_path: Path,
    store: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", refusing_server)
    journal = filled(tmp_path / "events.jsonl")
    assert not journal.send()
    assert not journal.flush()
    assert journal.close("FINISHED") == ""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert refusing_server in lines[0]
    assert "events.jsonl" in lines[0]

    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    later = Journal(tmp_path / "events.jsonl")
    assert later.send()
    assert runs(store)[0].info.status == "FINISHED"
    assert runs(store)[0].data.metrics["loss"] == 1 / 3


def test_a_server_that_never_answers_is_not_waited_for(
    hanging_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _SECONDS_TO_SEND + _SECONDS_TO_SEND_AGAIN < 30
    monkeypatch.setattr("fineline.tracking.journal._SECONDS_TO_SEND", 1.0)
    monkeypatch.setattr("fineline.tracking.journal._SECONDS_TO_SEND_AGAIN", 0.2)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", hanging_server)
    journal = filled(tmp_path / "events.jsonl")
    journal.send_in_background()
    begun = time.monotonic()
    assert not journal.flush()
    assert journal.close("FINISHED") == ""
    assert time.monotonic() - begun < 10
    assert len(capsys.readouterr().err.splitlines()) == 1
    written = (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["kind"] for line in written] == ["run", "metrics", "metrics", "metrics", "end"]


def test_a_closed_journal_does_not_come_back(tmp_path: Path) -> None:
    journal = filled(tmp_path / "work" / "events.jsonl")
    journal.close()
    shutil.rmtree(tmp_path / "work")
    journal.metrics({"loss": 0.0}, 9)
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("uri", ["postgresql+nothing://host/db", "sqlite:////proc/none/mlflow.db"])
def test_a_store_that_cannot_be_opened_is_a_server_that_does_not_answer(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert filled(tmp_path / "events.jsonl").close("FINISHED") == ""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tracking: ")]
    assert len(lines) == 1


@pytest.mark.parametrize("uri", ["http://me:secret@host", "file:///tmp/runs", "mlruns"])
def test_uris_that_are_refused(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UsageError) as caught:
        connection.tracking_uri()
    assert "secret" not in str(caught.value)


@pytest.mark.slow
def test_a_real_server_that_comes_back(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    journal = filled(tmp_path / "events.jsonl", steps=700)
    assert not journal.send()

    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store, "--port", str(port)]
    command += ["--workers", "1", "--default-artifact-root", str(tmp_path / "files")]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": store}
    log = (tmp_path / "server.log").open("w")
    server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not journal.send():
            assert server.poll() is None, (tmp_path / "server.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.5)
        journal.close("FINISHED")
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=60)
    assert capsys.readouterr().err.count("tracking: ") == 1
    run = MlflowClient(store).get_run(journal.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"train.epochs": "3", "train.metric": ""}
    assert len(MlflowClient(store).get_metric_history(run.info.run_id, "loss")) == 700
