"""The retraining pipeline: what it compiles to, and that it trains when there is a reason and says why when there is none."""

import argparse
import functools
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli import follow, submit
from cli.__main__ import main
from components.decide.params import Params
from fineline.artifacts import folders
from fineline.registry import ledger
from fineline.runs import finish
from fineline.tracking import connection
from fineline.tracking.tags import DATA_TAG, PIPELINE_RUN, PIPELINE_RUN_TAG
from pipelines import blocks, client, local
from pipelines.compiler import PIPELINES, package, retraining_package
from tests.conftest import PROJECT, make_rows
from tests.pipelines.kubeflow_server import KubeflowServer
from tests.project import TINY, make_project

GOLDEN = Path(__file__).with_name("retraining.golden.yaml")
ROWS = {
    "pin": {"source": "data/tiny.csv"},
    "ingest": {"keep_columns": ["channel"], "columns": {"id": "id"}},
}
ONLY_RETRAINING = {"monitor_params", "decide_params", "monitor_image", "decide_image", "name", "recent"}


@pytest.fixture
def followed_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "_SECONDS_BETWEEN_LOOKS", (0.01, 0.05))


@functools.cache
def compiled(*overrides: str) -> str:
    return retraining_package(*blocks.read(overrides, PROJECT / "params.yaml"))


def pipeline(*overrides: str) -> dict[str, Any]:
    return next(yaml.safe_load_all(compiled(*overrides)))


def components() -> dict[str, dict[str, Any]]:
    """The pipelines in the pipeline by name, without the prefix; `root` is the outermost."""
    found = pipeline()
    dags = {name.removeprefix("comp-"): entry for name, entry in found["components"].items() if "dag" in entry}
    return {"root": found["root"], **dags}


def test_golden_file() -> None:
    """To take a change over: UPDATE_GOLDEN=1 pytest tests/pipelines/test_retraining.py, then read the difference."""
    text = compiled()
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_same_parameters_give_the_same_bytes() -> None:
    assert retraining_package(*blocks.read((), PROJECT / "params.yaml")) == compiled()
    assert PIPELINES["retraining"] is retraining_package


def test_every_task_of_training_is_in_it_with_the_same_command_and_settings() -> None:
    training, training_pods = yaml.safe_load_all(package(*blocks.read((), PROJECT / "params.yaml")))
    retraining, pods = yaml.safe_load_all(compiled())
    executors = training["deploymentSpec"]["executors"]
    assert executors.items() <= retraining["deploymentSpec"]["executors"].items()
    assert retraining["deploymentSpec"]["executors"].keys() - executors.keys() == {"exec-monitor", "exec-decide"}
    settings = training_pods["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert settings.items() <= pods["platforms"]["kubernetes"]["deploymentSpec"]["executors"].items()
    inputs = (found["root"]["inputDefinitions"]["parameters"] for found in (training, retraining))
    ours, theirs = inputs
    assert ours.items() <= theirs.items()
    assert theirs.keys() - ours.keys() == ONLY_RETRAINING


@pytest.mark.parametrize("name", ["monitor", "decide"])
def test_task_gives_the_program_flags_that_it_takes(name: str) -> None:
    container = pipeline()["deploymentSpec"]["executors"][f"exec-{name}"]["container"]
    flags = dict(zip(container["command"][3::2], container["command"][4::2], strict=True))
    assert container["image"] == f"{{{{$.inputs.parameters['pipelinechannel--{name}_image']}}}}"
    if name == "decide":
        step = __import__("components.decide.__main__", fromlist=["STEP"]).STEP
        known = {f"--{flag}" for flag in [*step.inputs, *step.outputs, *step.optional, *step.overrides]}
        assert container["command"][:3] == ["python", "-m", "components.decide"]
        assert set(flags) == known | {"--params", "--executor-input"}
    else:
        from components.monitor.watch import configured

        assert container["command"][:3] == ["python", "-m", "components.monitor.watch"]
        configured().parse_args(container["command"][3:])


def test_training_waits_for_the_decision_and_the_rest_for_nobody() -> None:
    dags = components()
    outer = dags["exit-handler-1"]["dag"]["tasks"]
    assert set(outer) == {"pin", "ingest", "data-quality", "monitor", "decide", "training"}
    assert outer["decide"]["inputs"]["artifacts"]["drift"]["taskOutputArtifact"]["producerTask"] == "monitor"
    for task in ("decide", "training"):
        artifact = "dataset" if task == "decide" else "clean"
        source = outer[task]["inputs"]["artifacts"][artifact]["taskOutputArtifact"]
        assert source == {"outputArtifactKey": "clean", "producerTask": "data-quality"}
    given = outer["training"]["inputs"]["parameters"]["retrain"]["taskOutputParameter"]
    assert given == {"outputParameterKey": "retrain", "producerTask": "decide"}
    (condition,) = dags["training"]["dag"]["tasks"].values()
    assert condition["triggerPolicy"]["condition"] == "inputs.parameter_values['pipelinechannel--retrain'] == true"
    for task in ("monitor", "decide"):
        assert outer[task]["cachingOptions"] == {}


def test_every_input_that_a_task_names_reaches_it() -> None:
    """kfp 2.17 forgets those that only resources name; the task then fails when it starts."""
    for dag in components().values():
        known = set(dag.get("inputDefinitions", {}).get("parameters", {}))
        for task in dag["dag"]["tasks"].values():
            for name, given in task.get("inputs", {}).get("parameters", {}).items():
                if "componentInputParameter" in given:
                    assert given["componentInputParameter"] in known, name
                if "constant" in given.get("runtimeValue", {}):
                    named = str(given["runtimeValue"]["constant"]).partition("pipelinechannel--")[2].partition("'")[0]
                    assert not named or f"pipelinechannel--{named}" in task["inputs"]["parameters"]


def test_the_decision_reads_what_params_yaml_says() -> None:
    changed = pipeline("decide.min_new_rows=7", "decide.recent=s3://b/recent", "register.name=other")
    inputs = changed["root"]["inputDefinitions"]["parameters"]
    assert inputs["decide_params"]["defaultValue"]["min_new_rows"] == 7
    assert inputs["recent"]["defaultValue"] == "s3://b/recent"
    assert inputs["name"]["defaultValue"] == "other"


@pytest.mark.parametrize(
    ("words", "pipeline"),
    [
        (["retraining"], "fineline-retraining"),
        (["nightly", "--pipeline", "retraining"], "fineline-retraining"),
        (["nightly"], "fineline-training"),
    ],
)
def test_a_schedule_of_that_name_runs_it(
    server: KubeflowServer, capsys: pytest.CaptureFixture[str], words: list[str], pipeline: str
) -> None:
    assert main(["schedule", "apply", *words, "--cron", "0 3 * * *", "--host", server.url]) == 0
    (job,) = server.recurring.values()
    assert f": {pipeline} " in job["description"]
    assert f"  {pipeline} 0" in capsys.readouterr().out


def test_who_waits_sees_monitor_and_decide_and_that_there_was_no_reason(
    server: KubeflowServer, capsys: pytest.CaptureFixture[str], followed_closely: None
) -> None:
    done: dict[str, str] = {}
    server.frames = []
    for step in ("pin", "ingest", "data-quality", "monitor", "decide"):
        server.frames.append(("RUNNING", {**done, step: "RUNNING"}))
        done[step] = "SUCCEEDED"
    server.frames.append(("SUCCEEDED", done))
    assert main(["submit", "--host", server.url, "--pipeline", "retraining", "--wait"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if " done " in line] == [
        "pin",
        "ingest",
        "data_quality",
        "monitor",
        "decide",
    ]
    assert "train        skipped 0.0 s  no reason to train" in lines


def test_compile_writes_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes((PROJECT / "params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert main(["compile", "--pipeline", "retraining"]) == 0
    assert (tmp_path / "build" / "retraining.yaml").read_text(encoding="utf-8") == compiled()


def test_the_cron_job_starts_it_with_flags_that_submit_takes() -> None:
    spec = yaml.safe_load((PROJECT / "k8s" / "retraining" / "cron-job.yaml").read_text())["spec"]
    job = spec["jobTemplate"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    assert container["command"] == ["python", "-m", "cli", "submit"]
    parser = argparse.ArgumentParser()
    submit.configure(parser)
    flags = parser.parse_args(container["args"])
    assert (flags.pipeline, flags.wait) == ("retraining", True)
    assert {variable["name"] for variable in container["env"]} == {client.HOST, client.TOKEN_FILE}
    assert (spec["concurrencyPolicy"], job["backoffLimit"]) == ("Forbid", 0)
    assert job["activeDeadlineSeconds"] == Params().longest_hours * 3600


@pytest.mark.slow
def test_trains_skips_and_trains_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "project"
    (project / "data").mkdir(parents=True)
    make_rows(180).to_csv(project / "data" / "tiny.csv", index=False)
    decide = {"min_new_rows": 30, "cooldown_hours": 0, "max_age_days": 0, "recent": "data/recent.csv"}
    monitor = {"columns": {}, "min_rows": 50, "source": "data/recent.csv"}
    make_project(
        project,
        {**TINY, **ROWS, "train": {**TINY["train"], "epochs": 1}, "decide": decide, "monitor": monitor},
    )
    make_rows(60, seed=9).to_csv(project / "data" / "recent.csv", index=False)
    monkeypatch.chdir(project)
    text = retraining_package(*blocks.read())
    (project / "retraining.yaml").write_text(text, encoding="utf-8")

    def trigger(number: int) -> tuple[set[str], str, str]:
        """The tasks that ran, and what monitor and decide said."""
        environment = {PIPELINE_RUN: f"run-{number}"}
        runner = local.Runner(False, environment, {})
        arguments = {"checkpoints": str(project / ".fineline" / "checkpoints")}
        folder = project / ".fineline" / "runs" / str(number)
        tasks = local.execute(project / "retraining.yaml", arguments, folder, runner, lambda task: None)
        read = {name: folders.read_manifest(next(iter(tasks[name].outputs.values()))) for name in ("watch", "decide")}
        return set(tasks), read["watch"].figures["reason"], read["decide"].figures["reason"]

    training = {"split", "augment", "train", "export_onnx", "quantize", "evaluate", "register", "promote"}
    always = {"pin", "ingest", "data_quality", "watch", "decide", "finish"}
    ran, watched, reason = trigger(1)
    assert ran == always | training, (project / ".fineline" / "runs" / "1" / "kfp.log").read_text()[-3000:]
    assert watched == "tiny has no champion yet"
    assert reason == "retrain: no champion yet, 180 rows"
    ran, _, reason = trigger(2)
    assert ran == always
    assert reason.startswith("skipped: the same data was trained on already (train-")
    assert "; 0 new rows, 30 needed; drift" in reason
    assert "not judged" not in reason  # monitor had the first champion's reference
    make_rows(230).to_csv(project / "data" / "tiny.csv", index=False)
    ran, _, reason = trigger(3)
    assert ran == always | training
    assert reason.startswith("retrain: 50 new rows (30 needed)")
    server = connection.client()
    assert ledger.aliases(server, "tiny")["challenger"] == 2
    found = server.search_runs([server.get_experiment_by_name("fineline").experiment_id])
    decisions = {run.data.tags[PIPELINE_RUN_TAG]: run for run in found if run.info.run_name.startswith("dec")}
    assert [decisions[f"run-{n}"].data.tags["fineline.decision"] for n in (1, 2, 3)] == [
        "retrain",
        "skipped",
        "retrain",
    ]
    assert {run.info.status for run in found} == {"FINISHED"}
    trainings = [run for run in found if DATA_TAG in run.data.tags]
    assert [run.data.tags[finish.STATE_TAG] for run in trainings] == ["succeeded"] * 2
