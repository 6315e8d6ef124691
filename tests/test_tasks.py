"""The table of tasks: whatever is in it goes through every step, one of a test file too, and no step knows which task it is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

from fineline import tasks
from fineline.artifacts import folders
from fineline.bundles.bundle import open_bundle, predict, self_test
from tests import toy_task
from tests.conftest import make_rows

RunStep = Callable[..., tuple[int, str, str]]

ORDER = {"card": 1.0, "login": 3.0, "transfer": 5.0}
TINY = {"max_length": 32, "batch_size": 8, "learning_rate": 3e-3, "dropout": 0.0, "precision": "fp32"}
PARAMS: dict[str, dict[str, Any]] = {
    "data_quality": {"max_length": 32, "on_near_duplicates": "ignore"},
    "augment": {"enabled": True, "methods": ["swap"]},
    "quantize": {"select": "smallest", "speed_rounds": 1, "max_changed_share": 1.0, "max_metric_drop": 1.0},
    "evaluate": {
        "bootstrap": 100,
        "min_metric": 0,
        "min_gain_over_baseline": -1,
        "max_drop_shipped": 1,
        "min_label_f1": 0,
    },
    "register": {"name": "tiny"},
    "promote": {"bootstrap": 200, "min_rows": 10, "speed_rounds": 1},
    "monitor": {"min_rows": 50},
}
"""What keeps the steps fast on tiny rows, and the gate open."""


def through_every_step(
    run_step: RunStep,
    folder: Path,
    rows: pd.DataFrame,
    pretrained: Path,
    ingest: dict[str, Any],
    epochs: tuple[int, int],
) -> Path:
    """Takes `rows` through every step, with two trainings of which the second meets the first; gives the folder of artifacts."""
    at = folder / "artifacts"
    rows.to_csv(folder / "rows.csv", index=False)

    def run(step: str, params: dict[str, Any] | None = None, **paths: str) -> None:
        given = {**PARAMS.get(step, {}), **(params or {})}
        if step in ("data_quality", "train"):
            given["model"] = str(pretrained)
        code, _, said = run_step(step, given, **{flag: at / name for flag, name in paths.items()})
        assert code == 0, f"{step}: {said}"

    run("pin", {"source": str(folder / "rows.csv")}, source_version="source_version")
    run("ingest", ingest, source_version="source_version", dataset="dataset")
    run("data_quality", dataset="dataset", clean="clean", quality="quality")
    run("split", dataset="clean", splits="splits")
    run("augment", splits="splits", augmented="augmented")
    for number, rounds in enumerate(epochs):
        of = {name: f"{name}{number}" for name in ("model", "onnx", "bundle", "report", "registration", "promotion")}
        run("train", {**TINY, "epochs": rounds}, splits="augmented", model=of["model"])
        run("export_onnx", model=of["model"], splits="augmented", onnx=of["onnx"])
        run("quantize", onnx=of["onnx"], splits="augmented", bundle=of["bundle"])
        paths = {"bundle": of["bundle"], "splits": "augmented"}
        run("evaluate", model=of["model"], report=of["report"], **paths)
        run("register", report=of["report"], registration=of["registration"], **paths)
        run("promote", registration=of["registration"], promotion=of["promotion"], **paths)
    run("monitor", {"source": str(folder / "rows.csv")}, bundle="bundle1", drift="drift")
    return at


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tasks.TASKS, toy_task.NAME, "tests.toy_task")


def test_an_unknown_task_is_refused_with_those_that_are(run_step: RunStep, toy: None, tmp_path: Path) -> None:
    code, _, said = run_step("ingest", {"task": "poetry"}, source_version=tmp_path, dataset=tmp_path / "out")
    assert code == 2
    assert "unknown task 'poetry'; tasks: single_label, multi_label, stars" in said


@pytest.mark.slow
def test_a_task_of_a_test_file_goes_through_every_step(
    run_step: RunStep, toy: None, pretrained: Path, tmp_path: Path
) -> None:
    rows = make_rows(200)
    stars = rows["label"].map(ORDER) + pd.Series([0.0, 0.25, -0.25, 0.1] * 50)
    rows = rows.drop(columns="label").assign(stars=stars)
    ingest = {"task": "stars", "columns": {"id": "id"}, "keep_columns": ["channel"]}
    at = through_every_step(run_step, tmp_path, rows, pretrained, ingest, (2, 10))
    made = [path for path in at.iterdir() if not path.name.startswith((".", "source_version"))]
    assert {folders.verify(path).task for path in made} == {"stars"}
    found = read(at / "report1" / "metrics.json")["shipped"]
    assert set(found) == {"to_the_star", "pearson", "mae"}
    assert found["pearson"] > 0.5
    assert "Stars given" in (at / "report1" / "report.html").read_text()
    promotion = read(at / "promotion1" / "promotion.json")
    assert set(promotion["comparison"]["figures"]) == {"to_the_star", "pearson"}
    assert {part["what"] for part in promotion["comparison"]["parts"]} == {"channel"}
    bundle = open_bundle(at / "bundle1")
    self_test(bundle)
    low, high = (
        predict(bundle, [text])[0]["stars"] for text in ("card pin chip plastic", "transfer iban wire payment")
    )
    assert low < high


def sets_of_labels(count: int) -> pd.DataFrame:
    """Rows about one or two things, or about none, with the labels as JSON lists or with a mark between them."""
    rows = make_rows(count)
    other = make_rows(count, seed=7)
    labels = []
    for number in range(count):
        names = {rows["label"][number]} | ({other["label"][(number + 1) % count]} if number % 3 == 0 else set())
        labels.append(json.dumps(sorted(names)) if number % 2 else "|".join(sorted(names)))
    text = rows["text"].where(
        rows.index % 3 != 0, rows["text"] + " " + other["text"].shift(-1, fill_value=other["text"][0])
    )
    rows = rows.assign(text=text, labels=labels).drop(columns="label")
    rows.loc[rows.index % 20 == 5, ["text", "labels"]] = ["nothing of the kind at all", "[]"]
    rows["text"] += rows["id"].where(rows["labels"] == "[]", "").radd(" ")
    return rows


@pytest.mark.slow
def test_multi_label_goes_through_every_step(run_step: RunStep, pretrained: Path, tmp_path: Path) -> None:
    ingest = {"task": "multi_label", "columns": {"id": "id"}, "keep_columns": ["channel"]}
    at = through_every_step(run_step, tmp_path, sets_of_labels(300), pretrained, ingest, (1, 6))
    config = read(at / "bundle1" / "bundle.json")
    assert len(config["thresholds"]) == 3
    assert config["thresholds"] != [0.5] * 3
    found = read(at / "report1" / "metrics.json")
    assert set(found["shipped"]) == {"subset_accuracy", "macro_f1", "micro_f1", "lrap", "log_loss", "ece"}
    assert found["shipped"]["macro_f1"] > 0.6
    assert set(found["interval"]["shipped"]) == {"subset_accuracy", "macro_f1", "micro_f1", "lrap"}
    assert "Thresholds" in (at / "report1" / "report.html").read_text()
    promotion = read(at / "promotion1" / "promotion.json")
    assert set(promotion["comparison"]["figures"]) == {"subset_accuracy", "macro_f1"}
    assert [part["name"] for part in promotion["comparison"]["parts"]][:3] == ["card", "login", "transfer"]
    bundle = open_bundle(at / "bundle1")
    self_test(bundle)
    answer = predict(bundle, ["card pin plastic chip and transfer iban payment wire"])[0]
    assert set(answer) == {"labels", "score", "probabilities"}
    assert set(answer["labels"]) <= {"card", "login", "transfer"}
    loaded = mlflow.pyfunc.load_model("models:/tiny/2")
    (typed,) = loaded.predict(["card pin plastic chip and transfer iban payment wire"])
    assert (typed.labels, typed.score) == (answer["labels"], pytest.approx(answer["score"], abs=1e-5))
    assert "labels: Array(string)" in str(loaded.metadata.signature.outputs)
