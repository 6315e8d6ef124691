"""The exit handler: how a pipeline's run ended, written into the MLflow run that its training opened, or a new one."""

import json
from pathlib import Path

import pytest

from fineline import finish, tracking
from fineline.tracking import Journal

SUCCEEDED = json.dumps({"state": "SUCCEEDED", "pipelineJobResourceName": "p", "error": {}})
FAILED = json.dumps({"state": "FAILED", "error": {"code": 1, "message": "Task train failed."}})


@pytest.fixture(autouse=True)
def pipeline_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tracking.PIPELINE_RUN, "run-7")


@pytest.fixture
def training_run(tmp_path: Path) -> str:
    """The id of the run that a training in this pipeline's run left, finished."""
    journal = Journal(tmp_path / "events.jsonl")
    journal.run("train-1", {}, {}, [])
    journal.close("FINISHED")
    return journal.run_id


@pytest.mark.parametrize(("status", "state"), [(SUCCEEDED, "FINISHED"), (FAILED, "FAILED")])
def test_marks_the_run_that_training_opened(training_run: str, status: str, state: str) -> None:
    assert finish.main(["--status", status]) == 0
    run = tracking.client().get_run(training_run)
    assert run.info.status == state
    assert run.data.tags["fineline.pipeline_run"] == "run-7"
    assert run.data.tags["fineline.pipeline_state"] == json.loads(status)["state"]
    assert run.data.tags.get("fineline.pipeline_error", "") == json.loads(status)["error"].get("message", "")


def test_a_pipeline_that_failed_before_training_gets_a_run_of_its_own(
    training_run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(tracking.PIPELINE_RUN, "run-8")
    assert finish.main(["--status", FAILED]) == 0
    server = tracking.client()
    experiment = server.get_experiment_by_name("fineline").experiment_id
    runs = {run.info.run_name: run for run in server.search_runs([experiment])}
    assert set(runs) == {"train-1", "pipeline-run-8"}
    assert runs["pipeline-run-8"].info.status == "FAILED"
    assert runs["train-1"].info.status == "FINISHED"


@pytest.mark.parametrize("status", ["", "{", "[]", "{}"])
def test_what_is_no_status_is_refused(status: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert finish.main(["--status", status]) == 2
    assert "finish: error: --status is not the JSON that Kubeflow gives" in capsys.readouterr().err


def test_without_the_pipelines_run_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(tracking.PIPELINE_RUN)
    assert finish.main(["--status", SUCCEEDED]) == 2
    assert f"{tracking.PIPELINE_RUN} is not set" in capsys.readouterr().err


def test_a_server_that_does_not_answer_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert finish.main(["--status", SUCCEEDED]) == 4
    assert "does not answer" in capsys.readouterr().err
