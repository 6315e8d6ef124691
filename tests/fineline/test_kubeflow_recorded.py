"""The executor inputs that a real driver gave, through every step: read, and answered with what the step leaves."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from components.monitor.watch import watch
from fineline.artifacts import folders
from fineline.kubeflow import executor
from fineline.steps.params import load_params
from tests.conftest import write_dataset

RECORDED = {path.stem: path for path in (Path(__file__).parents[1] / "recorded" / "executor-input").glob("*.json")}
STEPS = sorted(set(RECORDED) - {"finish"})
KUBEFLOWS_OWN = {"executor-logs"}
IN_THE_POD = "mlpipeline/v2/artifacts"
LENIENT = {"min_metric": 0, "min_gain_over_baseline": -1, "max_drop_shipped": 1, "min_label_f1": 0, "bootstrap": 100}

Left = Callable[[str], dict[str, Path]]


def recorded(step: str, folder: Path) -> dict[str, Any]:
    """The input of `step`, read as it was sent but for its places, which are put into `folder`."""
    text = RECORDED[step].read_text(encoding="utf-8")
    text = text.replace(f"minio://{IN_THE_POD}", str(folder)).replace(f"/minio/{IN_THE_POD}", str(folder))
    return executor.parse(text.replace("/tmp/kfp", str(folder)))


@pytest.fixture
def left(request: pytest.FixtureRequest, run_step: Callable[..., Any], rows: pd.DataFrame, tmp_path: Path) -> Left:
    """left("train") -> the artifacts that the step leaves, by flag: of the steps themselves, where that costs little."""

    def registered(name: str, kind: str, **figures: Any) -> dict[str, Path]:
        with folders.output(tmp_path / name) as folder:
            (folder / folders.REPORT).write_text("<html></html>", encoding="utf-8")
            folders.write_manifest(folder, step=kind, kind=name, params={}, inputs={}, figures=figures)
        return {name: tmp_path / name}

    def evaluated() -> dict[str, Path]:
        inputs = {name: request.getfixturevalue(name) for name in ("model", "bundle", "splits")}
        code, _, error = run_step("evaluate", LENIENT, **inputs, report=tmp_path / "report")
        assert code == 0, error
        return {"report": tmp_path / "report"}

    def watched() -> dict[str, Path]:
        assert watch(["--name", "tiny", "--source", "", "--drift", str(tmp_path / "drift"), "--params", "{}"]) == 0
        return {"drift": tmp_path / "drift"}

    def divided() -> dict[str, Path]:
        dataset = write_dataset(tmp_path / "clean", rows)
        assert run_step("split", {}, dataset=dataset, splits=tmp_path / "splits")[0] == 0
        return {"splits": tmp_path / "splits"}

    def grown() -> dict[str, Path]:
        assert run_step("augment", {}, **divided(), augmented=tmp_path / "augmented")[0] == 0
        return {"augmented": tmp_path / "augmented"}

    made: dict[str, Callable[[], dict[str, Path]]] = {
        "ingest": lambda: {"dataset": write_dataset(tmp_path / "dataset", rows, "ingest")},
        "data_quality": lambda: (
            {"clean": write_dataset(tmp_path / "clean", rows)} | registered("quality", "data_quality", warnings=0)
        ),
        "split": divided,
        "augment": grown,
        "train": lambda: {"model": request.getfixturevalue("model")},
        "export_onnx": lambda: {"onnx": request.getfixturevalue("fp32")},
        "quantize": lambda: {"bundle": request.getfixturevalue("bundle")},
        "evaluate": evaluated,
        "register": lambda: registered("registration", "register", registered=True),
        "promote": lambda: registered("promotion", "promote", verdict="promote", moved=True, waits=False),
        "monitor": watched,
        "decide": lambda: registered("decision", "decide", retrain=False, reason="no reason: nothing is new"),
    }
    return lambda step: made[step]()


@pytest.mark.parametrize("step", STEPS)
def test_every_step_answers_what_a_real_driver_asked(step: str, left: Left, tmp_path: Path) -> None:
    asked = recorded(step, tmp_path / "pod")
    assert set(asked["outputs"]["artifacts"]) > KUBEFLOWS_OWN
    outputs = left(step)
    spec = __import__(f"components.{step}.__main__", fromlist=["STEP"]).STEP
    assert set(outputs) == set(spec.outputs)
    executor.write_output(asked, outputs)
    answer = json.loads(Path(asked["outputs"]["outputFile"]).read_text(encoding="utf-8"))
    assert set(answer["artifacts"]) == set(asked["outputs"]["artifacts"]) - KUBEFLOWS_OWN
    for name, entry in answer["artifacts"].items():
        (artifact,), (given,) = entry["artifacts"], asked["outputs"]["artifacts"][name]["artifacts"]
        assert (artifact["name"], artifact["uri"]) == (given["name"], given["uri"])
    for name in set(outputs):
        digest = folders.read_manifest(outputs[name]).digest
        assert answer["artifacts"][name]["artifacts"][0]["metadata"]["digest"] == digest
    parameters = asked["outputs"].get("parameters", {})
    assert set(answer["parameterValues"]) == set(parameters)
    for name, given in parameters.items():
        written = Path(given["outputFile"]).read_text(encoding="utf-8")
        value = answer["parameterValues"][name]
        assert written == (value if isinstance(value, str) else json.dumps(value))
    if "html" in answer["artifacts"]:
        assert (Path(answer["artifacts"]["html"]["artifacts"][0]["uri"])).is_file()


@pytest.mark.parametrize("step", STEPS)
def test_every_step_takes_the_parameters_that_a_real_driver_passed(step: str, tmp_path: Path) -> None:
    given = recorded(step, tmp_path)["inputs"]["parameterValues"]["params"]
    model = __import__(f"components.{step}.params", fromlist=["Params"]).Params
    given = {
        name: value for name, value in given.items() if name not in model.moved
    }  # they were here when it was recorded
    taken = load_params(model, step, json.dumps(given), from_kubeflow=True).model_dump(mode="json")
    assert {name: taken[name] for name in given} == given


def test_finish_is_asked_for_nothing(tmp_path: Path) -> None:
    asked = recorded("finish", tmp_path / "pod")
    assert set(asked["outputs"]["artifacts"]) == KUBEFLOWS_OWN
    executor.write_output(asked, {})
    answer = json.loads(Path(asked["outputs"]["outputFile"]).read_text(encoding="utf-8"))
    assert answer == {"artifacts": {}, "parameterValues": {}}
