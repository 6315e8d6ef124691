"""The executor inputs that a real driver gave, through every step: each program runs with its own, and answers what was asked."""

import importlib
import json
import runpy
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from google.protobuf.json_format import MessageToDict

from fineline.artifacts import folders
from fineline.kubeflow import executor
from fineline.steps.params import load_params
from fineline.tracking.tags import PIPELINE_RUN
from tests.pipelines.cluster_model import filled, launched

RECORDED = {path.stem: path for path in (Path(__file__).parents[1] / "recorded" / "executor-input").glob("*.json")}
ORDER = [
    *("ingest", "data_quality", "split", "augment", "train", "export_onnx", "quantize", "evaluate"),
    *("register", "promote", "monitor", "decide", "finish"),
]
STEPS = ORDER[:-1]
KUBEFLOWS_OWN, KUBEFLOWS_METADATA = {"executor-logs"}, {"display_name", "store_session_info"}
IN_THE_POD = "mlpipeline/v2/artifacts"
FOR_TINY_ROWS: dict[str, dict[str, Any]] = {
    "train": {"max_length": 32, "batch_size": 8, "learning_rate": 3e-3, "precision": "fp32"},
    "quantize": {"select": "smallest", "speed_rounds": 1},
    "evaluate": {"min_metric": 0, "min_gain_over_baseline": -1, "max_drop_shipped": 1, "min_label_f1": 0},
    "promote": {"speed_rounds": 1},
}
"""What 150 rows and a model of 2 layers need; every other parameter is the recorded one."""


def recorded(step: str, folder: Path) -> dict[str, Any]:
    """The input of `step`, read as it was sent but for its places, which are put into `folder`."""
    text = RECORDED[step].read_text(encoding="utf-8")
    text = text.replace(f"minio://{IN_THE_POD}", str(folder)).replace(f"/minio/{IN_THE_POD}", str(folder))
    return executor.parse(text.replace("/tmp/kfp", str(folder)).replace('"/checkpoints"', f'"{folder}/checkpoints"'))


def model_of(step: str) -> Any:
    """The parameters of `step`, as it checks them."""
    return importlib.import_module(f"components.{step}.params").Params


def outputs_of(asked: dict[str, Any]) -> dict[str, Path]:
    """The artifact folders that were asked for, by name, where the step has left them."""
    places = {name: Path(entry["artifacts"][0]["uri"]) for name, entry in asked["outputs"]["artifacts"].items()}
    return {name: place for name, place in places.items() if (place / folders.MANIFEST).is_file()}


def names_in(metadata: dict[str, Any]) -> set[str]:
    """What is told, but for the names of labels: the recorded data has others."""
    return {"labels." if name.startswith("labels.") else name for name in metadata}


def program(*argv: str) -> None:
    """python -m ARGV, in this process; it must end well."""
    module, *words = argv
    with pytest.MonkeyPatch.context() as patched:
        for name in (module, f"{module}.__main__"):
            if not hasattr(sys.modules.get(name), "__path__"):  # a package stays what its parts belong to
                patched.delitem(sys.modules, name, raising=False)
        patched.setattr(sys, "argv", [module, *words])
        with pytest.raises(SystemExit) as end:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    assert end.value.code == 0, argv


def run_recorded(step: str, asked: dict[str, Any], made: dict[str, Path]) -> None:
    """Starts `step` as the driver and the launcher do for `asked`, whose inputs are those of `made` with their names."""
    home = "pipelines.training" if step == "finish" else f"components.{step}.component"
    compiled = MessageToDict(getattr(importlib.import_module(home), step).pipeline_spec)
    (executor,) = compiled["deploymentSpec"]["executors"].values()
    for entry in asked["inputs"].get("artifacts", {}).values():
        place = Path(entry["artifacts"][0]["uri"])
        if not place.exists():  # of another recorded run than the one that made it here
            shutil.copytree(made[place.name], place)
    python, flag, *argv = filled(executor["container"]["command"], asked["inputs"]["parameterValues"])
    assert (python, flag) == ("python", "-m")
    program(*(launched(part, asked) for part in argv))
    made.update(outputs_of(asked))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, rows: pd.DataFrame, pretrained: Path) -> Iterator[dict[str, Any]]:
    """The executor input of every step, each of which has run with it, on what the steps before it left of tiny rows."""
    folder = tmp_path_factory.mktemp("pod")
    source = folder / "messages.csv"
    day = pd.Timestamp("2026-01-01")
    times = [(day + pd.Timedelta(hours=number)).isoformat() for number in range(len(rows))]
    rows.assign(annotator_a=rows["label"], annotator_b=rows["label"], created_at=times).to_csv(source, index=False)
    every = {step: recorded(step, folder) for step in ORDER}
    for step in STEPS:
        values = every[step]["inputs"]["parameterValues"]
        kept = {name: value for name, value in values["params"].items() if name not in model_of(step).moved}
        values["params"] = kept | FOR_TINY_ROWS.get(step, {})
    every["train"]["inputs"]["parameterValues"]["params"]["model"] = str(pretrained)
    made = {"source_version": folder / "source_version"}
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patched.setenv(PIPELINE_RUN, "recorded")
        patched.chdir(folder)
        source_params = json.dumps({"source": str(source)})
        program("components.pin", "--source_version", str(made["source_version"]), "--params", source_params)
        # pin is younger than the recording: its version as text is what it made a parameter of ingest.
        version = folders.read_run(made["source_version"])["version"]
        every["ingest"]["inputs"]["parameterValues"]["source_version"] = version
        for step in ORDER:
            run_recorded(step, every[step], made)
        yield every


def test_every_recorded_step_is_run() -> None:
    assert set(ORDER) == set(RECORDED)


@pytest.mark.parametrize("step", STEPS)
def test_every_step_answers_what_a_real_driver_asked(step: str, runs: dict[str, Any]) -> None:
    asked = runs[step]
    assert set(asked["outputs"]["artifacts"]) > KUBEFLOWS_OWN
    outputs = outputs_of(asked)
    spec = importlib.import_module(f"components.{step}.__main__").STEP
    assert set(outputs) == set(spec.outputs)
    answer = json.loads(Path(asked["outputs"]["outputFile"]).read_text(encoding="utf-8"))
    assert set(answer["artifacts"]) == set(asked["outputs"]["artifacts"]) - KUBEFLOWS_OWN
    for name, entry in answer["artifacts"].items():
        (artifact,), (given,) = entry["artifacts"], asked["outputs"]["artifacts"][name]["artifacts"]
        assert (artifact["name"], artifact["uri"]) == (given["name"], given["uri"])
    for name, folder in outputs.items():
        metadata = answer["artifacts"][name]["artifacts"][0]["metadata"]
        assert metadata["digest"] == folders.verify(folder).digest
    parameters = asked["outputs"].get("parameters", {})
    assert set(answer["parameterValues"]) == set(parameters)
    for name, given in parameters.items():
        written = Path(given["outputFile"]).read_text(encoding="utf-8")
        value = answer["parameterValues"][name]
        assert written == (value if isinstance(value, str) else json.dumps(value))
    if "html" in answer["artifacts"]:
        assert (Path(answer["artifacts"]["html"]["artifacts"][0]["uri"])).is_file()


@pytest.mark.parametrize("step", STEPS)
def test_what_is_told_of_an_artifact_is_what_the_next_step_was_given(step: str, runs: dict[str, Any]) -> None:
    answer = json.loads(Path(runs[step]["outputs"]["outputFile"]).read_text(encoding="utf-8"))
    told = {entry["artifacts"][0]["uri"]: entry["artifacts"][0]["metadata"] for entry in answer["artifacts"].values()}
    for asked in runs.values():
        for entry in asked["inputs"].get("artifacts", {}).values():
            uri, given = entry["artifacts"][0]["uri"], entry["artifacts"][0]["metadata"]
            if uri in told:
                assert names_in(told[uri]) == names_in(given) - KUBEFLOWS_METADATA


@pytest.mark.parametrize("step", STEPS)
def test_every_step_takes_the_parameters_that_a_real_driver_passed(step: str, tmp_path: Path) -> None:
    given = recorded(step, tmp_path)["inputs"]["parameterValues"]["params"]
    model = model_of(step)
    given = {
        name: value for name, value in given.items() if name not in model.moved
    }  # they were here when it was recorded
    taken = load_params(model, step, json.dumps(given), from_kubeflow=True).model_dump(mode="json")
    assert {name: taken[name] for name in given} == given


def test_finish_is_asked_for_nothing(runs: dict[str, Any]) -> None:
    asked = runs["finish"]
    assert set(asked["outputs"]["artifacts"]) == KUBEFLOWS_OWN
    executor.write_output(asked, {})
    answer = json.loads(Path(asked["outputs"]["outputFile"]).read_text(encoding="utf-8"))
    assert answer == {"artifacts": {}, "parameterValues": {}}
