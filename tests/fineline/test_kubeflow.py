"""executor_output.json as Kubeflow reads it, from real steps with an executor input of kfp's form."""

import json
from pathlib import Path

import pandas as pd
import pytest

from components.evaluate.__main__ import STEP as EVALUATE
from components.split.__main__ import STEP as SPLIT
from fineline.artifacts import folders
from fineline.kubeflow import executor
from fineline.steps import command_line
from tests.conftest import write_dataset

LENIENT = {"min_metric": 0, "min_gain_over_baseline": -1, "max_drop_shipped": 1, "min_label_f1": 0, "bootstrap": 100}


def executor_input(folder: Path, outputs: list[str], parameters: tuple[str, ...] = ()) -> str:
    """What kfp puts in place of {{$}}: places of the outputs, and where executor_output.json goes."""
    return json.dumps(
        {
            "inputs": {},
            "outputs": {
                "artifacts": {
                    name: {"artifacts": [{"name": name, "type": {}, "uri": f"minio://bucket/{name}", "metadata": {}}]}
                    for name in outputs
                },
                "parameters": {name: {"outputFile": str(folder / "parameters" / name)} for name in parameters},
                "outputFile": str(folder / "deep" / "executor_output.json"),
            },
        }
    )


def test_split_tells_its_figures_and_a_parameter(tmp_path: Path, rows: pd.DataFrame) -> None:
    dataset, splits = write_dataset(tmp_path / "clean", rows), tmp_path / "splits"
    given = executor_input(tmp_path, ["splits", "metrics"], ("digest", "rows.train"))
    flags = ["--dataset", str(dataset), "--splits", str(splits), "--params", "{}", "--executor-input", given]
    assert command_line.main(SPLIT, flags) == 0
    manifest = folders.read_manifest(splits)
    output = json.loads((tmp_path / "deep" / "executor_output.json").read_text())
    train_rows = manifest.figures["rows"]["train"]
    assert output["parameterValues"] == {"digest": manifest.digest, "rows.train": train_rows}
    assert (tmp_path / "parameters" / "digest").read_text() == manifest.digest
    assert (tmp_path / "parameters" / "rows.train").read_text() == str(train_rows)
    (artifact,) = output["artifacts"]["splits"]["artifacts"]
    assert (artifact["name"], artifact["uri"]) == ("splits", "minio://bucket/splits")
    assert artifact["metadata"]["digest"] == manifest.digest
    (metrics,) = output["artifacts"]["metrics"]["artifacts"]
    assert metrics["metadata"]["rows.train"] == train_rows
    assert all(isinstance(value, int | float) for value in metrics["metadata"].values())


def test_evaluate_gives_the_confusion_matrix_and_the_roc(
    tmp_path: Path, model: Path, bundle: Path, splits: Path
) -> None:
    report = tmp_path / "report"
    paths = {"model": model, "bundle": bundle, "splits": splits, "report": report}
    flags = [part for name, path in paths.items() for part in (f"--{name}", str(path))]
    asked = json.loads(executor_input(tmp_path, ["report", "metrics", "classification", "html"], ("passed",)))
    asked["outputs"]["artifacts"]["html"]["artifacts"][0]["uri"] = str(tmp_path / "kubeflow" / "html")
    given = json.dumps(asked)
    assert command_line.main(EVALUATE, [*flags, "--params", json.dumps(LENIENT), "--executor-input", given]) == 0
    output = json.loads((tmp_path / "deep" / "executor_output.json").read_text())
    assert (tmp_path / "kubeflow" / "html").read_bytes() == (report / "report.html").read_bytes()
    assert (tmp_path / "parameters" / "passed").read_text() == "true"
    drawn = output["artifacts"]["classification"]["artifacts"][0]["metadata"]
    matrix = [row["row"] for row in drawn["confusionMatrix"]["rows"]]
    names = [label["displayName"] for label in drawn["confusionMatrix"]["annotationSpecs"]]
    predictions = pd.read_csv(report / "plots" / "confusion.csv")
    expected = pd.crosstab(predictions["actual"], predictions["predicted"])
    expected = expected.reindex(index=names, columns=names, fill_value=0)
    assert matrix == expected.to_numpy().tolist()
    assert sum(map(sum, matrix)) == len(pd.read_parquet(splits / "test.parquet"))
    assert all(
        set(point) == {"confidenceThreshold", "falsePositiveRate", "recall"} for point in drawn["confidenceMetrics"]
    )
    assert all(0 <= value <= 1 for point in drawn["confidenceMetrics"] for value in point.values())


@pytest.mark.parametrize("given", ["{", "[]", "{}", '{"outputs": {}}'])
def test_what_is_no_executor_input_is_refused_before_any_work(
    given: str, tmp_path: Path, rows: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, splits = write_dataset(tmp_path / "clean", rows), tmp_path / "splits"
    flags = ["--dataset", str(dataset), "--splits", str(splits), "--params", "{}", "--executor-input", given]
    assert command_line.main(SPLIT, flags) == 2
    assert "--executor-input is not the JSON" in capsys.readouterr().err
    assert not splits.exists()


def test_an_output_that_the_step_does_not_know_is_left_alone(tmp_path: Path, rows: pd.DataFrame) -> None:
    dataset, splits = write_dataset(tmp_path / "clean", rows), tmp_path / "splits"
    given = executor_input(tmp_path, ["splits", "executor-logs", "tomorrow"])
    flags = ["--dataset", str(dataset), "--splits", str(splits), "--params", "{}", "--executor-input", given]
    assert command_line.main(SPLIT, flags) == 0
    assert set(json.loads((tmp_path / "deep" / "executor_output.json").read_text())["artifacts"]) == {"splits"}


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("minio://mlpipeline/v2/artifacts/x", "/minio/mlpipeline/v2/artifacts/x"),
        ("s3://bucket/key", "/s3/bucket/key"),
        ("gs://bucket/key", "/gcs/bucket/key"),
        ("/data/x", "/data/x"),
    ],
)
def test_local_path_is_where_the_launcher_keeps_an_artifact(uri: str, path: str) -> None:
    assert executor.local_path(uri) == Path(path)
