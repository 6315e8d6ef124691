"""fineline retrain: real `dvc repro` in a project of its own; two triggers at once, a kill in the middle, and what it says."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cli.__main__ import main
from tests.conftest import make_rows
from tests.project import TINY, make_project, run

BUSY = "another retrain is under way here; nothing to do"
FINELINE = str(Path(sys.prefix) / "bin" / "fineline")
ROWS = {
    "pin": {"source": "data/tiny.csv"},
    "ingest": {"keep_columns": ["channel"], "columns": {"id": "id"}},
}
DECIDE = {"min_new_rows": 30, "cooldown_hours": 0, "max_age_days": 0, "recent": "data/recent.csv"}
MONITOR = {"columns": {}, "min_rows": 50, "source": "data/recent.csv"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("retrain") / "project"
    (folder / "data").mkdir(parents=True)
    make_rows(150).to_csv(folder / "data" / "tiny.csv", index=False)
    make_rows(60, seed=9).to_csv(folder / "data" / "recent.csv", index=False)
    train = {**TINY["train"], "epochs": 1}
    return make_project(folder, {**TINY, **ROWS, "train": train, "decide": DECIDE, "monitor": MONITOR})


def begin(project: Path, *words: str) -> "subprocess.Popen[str]":
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true"}
    return subprocess.Popen(
        [FINELINE, "retrain", *words],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
    )


def runs(project: Path, prefix: str) -> list[Any]:
    """The MLflow runs of that kind, oldest first."""
    from mlflow import MlflowClient

    server = MlflowClient(f"sqlite:///{project}/mlflow.db")
    experiment = server.get_experiment_by_name("fineline")
    found = server.search_runs([experiment.experiment_id], f"attributes.run_name LIKE '{prefix}%'")
    return sorted(found, key=lambda run: run.info.start_time)


def decided(output: str) -> str:
    return re.search(r"^decide: (.*)$", output, re.M)[1]


@pytest.mark.slow
def test_it_trains_goes_on_after_a_kill_skips_and_trains_again(project: Path) -> None:
    output = run(project, "fineline", "retrain", "--dry-run")
    assert "retrain: would be retrain: no champion yet, 150 rows" in output
    assert not (project / "artifacts" / "model").exists()
    assert not (project / "artifacts" / "decision").exists()

    first = begin(project)
    assert first.stdout
    for line in first.stdout:  # a second trigger meets the first, and a kill meets the training
        if "Running stage 'split'" in line:
            assert BUSY in run(project, "fineline", "retrain")
            break
    for line in first.stdout:
        if "Running stage 'export_onnx'" in line:
            break
    first.kill()
    first.wait()
    (waiting,) = runs(project, "decision-")
    assert waiting.info.status == "RUNNING"
    assert (project / ".fineline" / "retrain.json").is_file()

    deadline = time.monotonic() + 600
    while BUSY in (output := run(project, "fineline", "retrain")):  # the dvc that outlived the kill holds the lock
        assert time.monotonic() < deadline
        time.sleep(2)
    assert "no champion yet" in output or "0 new rows" in output  # the second where that dvc came to its end
    assert not (project / ".fineline" / "retrain.json").exists()
    training = runs(project, "train-")
    assert len(training) == 1  # what was trained before the kill was not trained again
    assert training[0].data.tags["fineline.pipeline_state"] == "succeeded"
    assert {decision.info.status for decision in runs(project, "decision-")} == {"FINISHED"}
    assert "champion    version 1" in run(project, "fineline", "status")

    output = run(project, "fineline", "retrain")
    assert decided(output).startswith("skipped: the same data was trained on already (train-")
    assert "0 new rows, 30 needed; drift" in decided(output)
    assert len(runs(project, "train-")) == 1

    make_rows(200).to_csv(project / "data" / "tiny.csv", index=False)
    output = run(project, "fineline", "retrain")
    assert decided(output).startswith("retrain: 50 new rows (30 needed)")
    assert len(runs(project, "train-")) == 2
    assert runs(project, "decision-")[-1].data.tags["fineline.reason"] == decided(output)
    assert "models:/tiny/2" in output


def finished(process: "subprocess.Popen[str]") -> str:
    output, _ = process.communicate(timeout=600)
    return output


@pytest.mark.slow
def test_sigterm_ends_the_step_too(project: Path) -> None:
    started = begin(project)
    assert started.stdout
    for line in started.stdout:
        if "Running stage 'pin'" in line:
            break
    started.send_signal(signal.SIGTERM)
    finished(started)
    assert started.returncode == 143
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    theirs = [line for line in listed.splitlines() if "components." in line and inside(line.split()[0], project)]
    assert theirs == []


def inside(pid: str, folder: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == folder
    except OSError:
        return False


@pytest.mark.slow
def test_a_step_that_fails_is_said_with_its_exit_code(project: Path) -> None:
    source = project / "data" / "tiny.csv"
    before = source.read_text()
    source.write_text("text\nno label\n")
    try:
        output = run(project, "fineline", "retrain", code=2)
    finally:
        source.write_text(before)
    assert "ingest: error:" in output
    assert "fineline retrain: error: -m dvc repro data_quality failed" in output
    assert "Traceback" not in output


def test_outside_a_project_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["retrain"]) == 2
    assert "params.yaml does not exist" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_wrong_parameters_are_said_before_anything_runs(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    params = Path("params.yaml")
    before = params.read_text()
    params.write_text(before.replace("min_new_rows: 30", "min_new_rows: -30"))
    try:
        assert main(["retrain"]) == 2
    finally:
        params.write_text(before)
    assert "decide.min_new_rows = -30" in capsys.readouterr().err


def test_state_of_a_stopped_retrain_is_json(project: Path) -> None:
    from cli.retrain import FOLDER, _pipeline_run

    (project / FOLDER).mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        patch.setenv("FINELINE_PIPELINE_RUN", "")
        with pytest.raises(KeyboardInterrupt), _pipeline_run(keep=True):
            raise KeyboardInterrupt
        stopped = json.loads((FOLDER / "retrain.json").read_text())["run"]
        with _pipeline_run(keep=True):
            assert os.environ["FINELINE_PIPELINE_RUN"] == stopped
        with _pipeline_run(keep=False):
            assert os.environ["FINELINE_PIPELINE_RUN"] != stopped
        assert not (FOLDER / "retrain.json").exists()
