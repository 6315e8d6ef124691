"""fineline run: the compiled pipeline as real processes, when all goes well, when the gate says no, when a step fails."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli import run as run_command
from cli.__main__ import main
from fineline.artifacts.folders import read_manifest
from fineline.tracking import connection
from tests.conftest import make_rows
from tests.project import TINY, make_project, run

ROWS = {
    "pin": {"source": "data/tiny.csv"},
    "ingest": {"keep_columns": ["channel"], "columns": {"id": "id"}},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "project"
    (folder / "data").mkdir(parents=True)
    make_rows(150).to_csv(folder / "data" / "tiny.csv", index=False)
    return make_project(folder, {**TINY, **ROWS, "train": {**TINY["train"], "epochs": 1}})


def results(project: Path) -> Path:
    """What the newest run left, by name."""
    return max((project / ".fineline" / "runs").iterdir()) / "results"


def runs(project: Path) -> dict[str, dict[str, str]]:
    """State and tags of the MLflow runs in the project, by name."""
    from mlflow import MlflowClient

    server = MlflowClient(f"sqlite:///{project}/mlflow.db")
    experiment = server.get_experiment_by_name(connection.DEFAULT_EXPERIMENT)
    found = server.search_runs([experiment.experiment_id])
    return {run.info.run_name: {"state": run.info.status, **run.data.tags} for run in found}


@pytest.mark.slow
def test_a_gate_that_says_no_skips_registration_visibly(project: Path) -> None:
    output = run(project, "fineline", "run", "--runner", "subprocess", "--set", "evaluate.min_metric=1")
    assert read_manifest(results(project) / "report").figures["passed"] is False
    assert not (results(project) / "registration").exists()
    assert "gate     FAILED" in output
    assert "register" in output.partition("not run yet")[0]
    (training,) = (tags for name, tags in runs(project).items() if name.startswith("train-"))
    assert training["state"] == "FINISHED"
    assert training["fineline.pipeline_state"] == "succeeded"
    assert training["fineline.pipeline_run"] == results(project).parent.name


def test_a_failed_step_is_a_failed_run_with_its_exit_code_and_its_words(project: Path) -> None:
    hostile = (
        "data/no$$such$(HOME)-{{workflow.name}}-{{$.x}}.csv"  # a cluster would change it, and so would this runner
    )
    shutil.copyfile(project / "data" / "tiny.csv", project / hostile)
    changed = ["--set", "data_quality.min_rows=5000", "--set", f"pin.source={hostile}"]
    output = run(project, "fineline", "run", "--runner", "subprocess", *changed, code=3)
    assert "150 rows, 3 labels from 1 file" in output
    assert "data_quality failed with exit code 3" in output
    assert "rejected by 1 check" in output
    assert "Traceback" not in output
    assert "data_quality failed" in output
    assert "split        running" not in output
    log = max((project / ".fineline" / "runs").iterdir()) / "logs" / "data_quality.log"
    assert "data_quality: error:" in log.read_text()
    (ended,) = (tags for name, tags in runs(project).items() if name.startswith("pipeline-"))
    assert ended["state"] == "FAILED"
    assert "failed" in ended["fineline.pipeline_why"]


def test_ctrl_c_ends_the_step_too(project: Path) -> None:
    command = [str(Path(sys.prefix) / "bin" / "fineline"), "run", "--runner", "subprocess"]
    started = subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert started.stdout
    for line in started.stdout:
        if line.startswith("data_quality running"):
            break
    started.send_signal(2)
    assert started.wait(60) == 143
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert not [line for line in listed.splitlines() if "components.data_quality" in line and str(project) in line]


def test_wrong_parameters_are_said_before_anything_runs(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    before = set((project / ".fineline").rglob("*"))
    assert main(["run", "--runner", "subprocess", "--set", "train.epochs=0"]) == 2
    assert "train.epochs = 0" in capsys.readouterr().err
    assert set((project / ".fineline").rglob("*")) == before


def test_without_docker_it_says_so(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    monkeypatch.setenv("PATH", os.environ["PATH"])
    assert main(["run", "--runner", "docker"]) == 4
    error = capsys.readouterr().err
    assert "docker is not installed" in error or "the Docker engine does not answer" in error
    assert "--runner subprocess" in error


def test_containers_see_the_files_that_their_parameters_name(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    data = "type=bind,source={0}/data/tiny.csv,target=/app/data/tiny.csv,readonly"
    assert run_command._mounts({"source": "data/tiny.csv", "test_source": ""}) == [data.format(project)]
    folder = f"type=bind,source={project}/data,target={project}/data,readonly"
    assert run_command._mounts({"source": f"{project}/data/*.csv"}) == [folder]
    model = f"type=bind,source={project}/tiny,target=/app/tiny,readonly"
    assert run_command._mounts({"model": "tiny", "epochs": 3}) == [model]
    assert run_command._mounts({"model": "bundled:all-MiniLM-L6-v2"}) == []
    assert run_command._mounts({"source": "dvc://repo@main:data.csv"}) == []
