"""evaluate: the figures are those of the predictions, the gate's verdict follows, the tracking run gets both."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss

from components.evaluate.params import Params
from components.evaluate.scoring import token_counts, trained_logits
from fineline.artifacts import folders
from fineline.rows import dataset
from fineline.tasks import get_task
from fineline.tracking import connection
from fineline.tracking.journal import Journal
from tests.conftest import files_of, make_bundle

TASK = get_task("single_label")
LABELS = ["card", "login", "transfer"]
MODELS = ["shipped", "trained", "majority", "tfidf_logreg"]
OUTPUTS = {
    "MODEL_CARD.md",
    "gate.json",
    "manifest.json",
    "metrics.json",
    "plots/calibration.csv",
    "plots/confusion.csv",
    "plots/per_label.csv",
    "plots/roc.csv",
    "plots/slices.csv",
    "predictions.parquet",
    "report.html",
    "run.json",
}
PARAMS = {"bootstrap": 200, "slice_columns": ["channel"], "min_slice_rows": 5, "min_support": 5}
LENIENT = {"min_metric": 0, "min_gain_over_baseline": -1, "max_drop_shipped": 1, "min_label_f1": 0}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, model: Path, splits: Path) -> Path:
    """The tiny model made to listen to its words (as it is drawn it answers every text alike), its head fitted to them."""
    import torch
    from sklearn.linear_model import LogisticRegression
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = shutil.copytree(model, tmp_path_factory.mktemp("lively") / "model")
    network = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    train = dataset.read_rows(splits / "train.parquet")
    encoded = AutoTokenizer.from_pretrained(folder)(train["text"].tolist(), padding=True, return_tensors="pt")
    with torch.no_grad():
        for weights in network.bert.parameters():
            if weights.ndim > 1:
                weights.mul_(5)
        pooled = network.bert(encoded["input_ids"], encoded["attention_mask"]).pooler_output.numpy()
        head = LogisticRegression(C=10, max_iter=2000).fit(pooled, train["label"])
        network.classifier.weight.copy_(torch.tensor(head.coef_))
        network.classifier.bias.copy_(torch.tensor(head.intercept_))
    network.save_pretrained(folder)
    folders.write_manifest(
        folder, step="train", kind="model", params={"model": "tiny"}, inputs={"splits": splits}, figures={}
    )
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, model: Path, splits: Path) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle"), model, splits)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, model: Path, bundle: Path, splits: Path) -> Path:
    from components.evaluate.step import run

    folder = tmp_path_factory.mktemp("evaluate") / "report"
    patch = pytest.MonkeyPatch()
    patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder.parent}/mlflow.db")
    run(params=Params(**PARAMS), model=model, bundle=bundle, splits=splits, report=folder)
    patch.undo()
    return folder


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def test_outputs_and_manifest(report: Path, model: Path, bundle: Path, splits: Path) -> None:
    manifest = folders.verify(report)
    metrics = read(report / "metrics.json")
    assert files_of(report) == OUTPUTS
    assert (manifest.step, manifest.kind, manifest.task) == ("evaluate", "report", "single_label")
    assert manifest.inputs == {
        name: folders.read_manifest(path).digest
        for name, path in (("model", model), ("bundle", bundle), ("splits", splits))
    }
    assert manifest.figures["shipped.macro_f1"] == metrics["shipped"]["macro_f1"]
    assert manifest.figures["passed"] is read(report / "gate.json")["passed"]
    assert manifest.params["bootstrap"] == 200


def test_metrics_are_those_of_the_predictions(report: Path, splits: Path) -> None:
    metrics = read(report / "metrics.json")
    predictions = dataset.read_rows(report / "predictions.parquet")
    test = dataset.read_rows(splits / "test.parquet")
    assert list(predictions) == [
        "id",
        "target",
        "predicted",
        "score",
        "probabilities",
        "trained",
        "majority",
        "tfidf_logreg",
    ]
    assert predictions["id"].tolist() == test["id"].tolist()
    assert predictions["target"].tolist() == test["label"].tolist()
    probabilities = np.stack(predictions["probabilities"].to_list())
    assert [LABELS[i] for i in probabilities.argmax(axis=1)] == predictions["predicted"].tolist()
    assert metrics["shipped"]["log_loss"] == pytest.approx(
        log_loss(test["label"], probabilities, labels=LABELS), abs=1e-4
    )
    found = {"shipped": metrics["shipped"], "trained": metrics["trained"], **metrics["baseline"]}
    assert list(found) == MODELS
    for name, figures in found.items():
        predicted = predictions["predicted" if name == "shipped" else name]
        assert figures["accuracy"] == pytest.approx(accuracy_score(test["label"], predicted), abs=1e-6)
        assert figures["macro_f1"] == pytest.approx(f1_score(test["label"], predicted, average="macro"), abs=1e-6)
        assert set(figures) == {"accuracy", "macro_f1", "weighted_f1", "mcc", "log_loss", "ece"}
        ends = metrics["interval"][name]["macro_f1"]
        assert 0 <= ends["low"] <= ends["high"] <= 1
    strongest = max(metrics["baseline"].values(), key=lambda figures: figures["macro_f1"])["macro_f1"]
    assert metrics["gain"]["macro_f1"] == pytest.approx(metrics["shipped"]["macro_f1"] - strongest, abs=1e-6)
    assert metrics["drop"]["accuracy"] == pytest.approx(
        metrics["trained"]["accuracy"] - metrics["shipped"]["accuracy"], abs=1e-6
    )
    assert metrics["rows"] == {"test": 23, "train": 105}
    assert metrics["gate_passed"] == int(read(report / "gate.json")["passed"])


def test_each_model_is_scored_by_itself(report: Path, model: Path, bundle: Path, splits: Path) -> None:
    """The trained column is PyTorch's, one text at a time; the shipped one the bundle's, through ONNX Runtime."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from fineline.bundles.bundle import open_bundle, predict

    texts = dataset.read_rows(splits / "test.parquet")["text"].tolist()
    texts[3] = " ".join(texts)  # longer than the model reads
    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForSequenceClassification.from_pretrained(model).eval()
    with torch.no_grad():
        alone = [
            network(**tokenizer(text, truncation=True, max_length=32, return_tensors="pt")).logits[0].numpy()
            for text in texts
        ]
    found = trained_logits(model, TASK, LABELS, 32, texts, batch_size=5)
    assert found == pytest.approx(np.stack(alone), abs=1e-4)
    assert np.ptp(found, axis=0).min() > 0.1  # texts differ, so an order that is lost would show
    predictions = dataset.read_rows(report / "predictions.parquet")
    expected = found.argmax(axis=1)
    assert [LABELS.index(label) for label in predictions["trained"]][4:] == expected[4:].tolist()
    test = dataset.read_rows(splits / "test.parquet")["text"].tolist()
    assert predictions["predicted"].tolist() == [answer["label"] for answer in predict(open_bundle(bundle), test)]


def test_tokens_are_counted_before_truncation(bundle: Path) -> None:
    assert token_counts(bundle / "tokenizer.json", ["card", "card " * 100]).tolist() == [3, 102]


def test_report_is_whole_and_offline(report: Path, bundle: Path, splits: Path) -> None:
    html = (report / "report.html").read_text(encoding="utf-8")
    for title in ("Gate", "Models on the same test rows", "Labels", "Confusion", "Slices", "Calibration", "Lineage"):
        assert f"<h2>{title}</h2>" in html
    assert not re.search(r'(?:src|href)="(?!#|data:)|url\((?!#)|<script|@import', html)
    assert folders.read_manifest(splits).digest in html
    assert f"<b>{read(bundle / 'measurements.json')['p50_ms']:.1f} ms</b>" in html
    assert f"<b>{(bundle / 'model.onnx').stat().st_size / 1e6:.1f} MB</b>" in html
    wrong = dataset.read_rows(report / "predictions.parquet").query("target != predicted")
    surest = wrong.sort_values("score", ascending=False)["id"].head(20)
    listed = re.findall(r">(r\d+)<", html[html.index("Most confident mistakes") :])
    assert set(listed) == set(surest)
    assert listed[0] == surest.iloc[0]


def test_report_shows_curves_where_they_are_and_no_latency_where_it_is_not(
    run_step: Callable, tmp_path: Path, model: Path, bundle: Path, splits: Path
) -> None:
    unmeasured, trained = shutil.copytree(bundle, tmp_path / "bundle"), shutil.copytree(model, tmp_path / "model")
    (unmeasured / folders.MEASUREMENTS).unlink()
    curves = "epoch,step,train_loss,learning_rate,grad_norm,validation_loss,validation_accuracy,validation_macro_f1\n"
    (trained / "curves.csv").write_text(curves + "0.5,5,1.2,0.1,1,,,\n1,10,0.9,0.1,1,1.0,0.5,0.4\n", encoding="utf-8")
    folder = tmp_path / "report"
    code, _, error = run_step("evaluate", PARAMS, model=trained, bundle=unmeasured, splits=splits, report=folder)
    assert code == 0, error
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert "for one text, median" not in html
    assert "<h2>Training</h2>" in html
    assert "validation loss" in html


def test_plots_say_what_the_metrics_say(report: Path) -> None:
    metrics = read(report / "metrics.json")["shipped"]
    confusion = pd.read_csv(report / "plots/confusion.csv")
    predictions = dataset.read_rows(report / "predictions.parquet")
    assert list(confusion) == ["actual", "predicted"]  # what the confusion template of dvc plots reads
    assert confusion["actual"].tolist() == predictions["target"].tolist()
    assert confusion["predicted"].tolist() == predictions["predicted"].tolist()
    bins = pd.read_csv(report / "plots/calibration.csv")
    gap = ((bins["confidence"] - bins["accuracy"]).abs() * bins["rows"]).sum() / bins["rows"].sum()
    assert gap == pytest.approx(metrics["ece"], abs=1e-5)
    per_label = pd.read_csv(report / "plots/per_label.csv")
    assert per_label["label"].tolist() == LABELS
    assert per_label["support"].sum() == len(predictions)
    assert per_label["f1"].mean() == pytest.approx(metrics["macro_f1"], abs=1e-5)
    roc = pd.read_csv(report / "plots/roc.csv")
    assert roc[["fpr", "tpr"]].iloc[[0, -1]].to_numpy().tolist() == [[0, 0], [1, 1]]
    assert np.isfinite(roc.to_numpy()).all()
    slices = pd.read_csv(report / "plots/slices.csv")
    assert set(slices["slice"]) == {"channel", "tokens", "truncated"}
    assert slices.groupby("slice")["rows"].sum().tolist() == [23, 23, 23]


def test_model_card_is_one_that_the_hub_reads(report: Path, splits: Path) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard.load(report / "MODEL_CARD.md")
    metrics = read(report / "metrics.json")["shipped"]
    assert card.data.pipeline_tag == "text-classification"
    assert "license" not in card.data.to_dict()
    assert {result.metric_type: result.metric_value for result in card.data.eval_results} == metrics
    assert folders.read_manifest(splits).digest in card.text
    for title in (
        "Intended use",
        "How to use",
        "Data",
        "Training",
        "Results",
        "Results per label",
        "Limits",
        "Licence",
    ):
        assert f"\n## {title}\n" in card.text
    assert not any(text in card.text for text in dataset.read_rows(splits / "test.parquet")["text"])


def test_two_runs_give_the_same_bytes(
    run_step: Callable, tmp_path: Path, report: Path, model: Path, bundle: Path, splits: Path
) -> None:
    again = tmp_path / "again"
    code, line, error = run_step("evaluate", PARAMS, model=model, bundle=bundle, splits=splits, report=again)
    assert code == 0, error
    assert line.startswith("evaluate: gate ")
    assert folders.read_manifest(again).files == folders.read_manifest(report).files


def test_whole_numbers_may_come_as_floats() -> None:
    assert Params(bootstrap=300.0, seed=1.0).bootstrap == 300


@pytest.mark.parametrize(("params", "passed"), [({}, False), (LENIENT, True)])
def test_a_gate_that_says_no_is_written_and_is_no_error(
    run_step: Callable, tmp_path: Path, model: Path, bundle: Path, splits: Path, params: dict, passed: bool
) -> None:
    folder = tmp_path / "report"
    code, line, error = run_step(
        "evaluate", {**PARAMS, **params}, model=model, bundle=bundle, splits=splits, report=folder
    )
    assert code == 0, error
    found = read(folder / "gate.json")
    assert found["passed"] is passed
    assert {"rule", "figure", "bound", "passed"} <= set(found["rules"][0])
    assert found["summary"] in line
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert ("Ready to ship: all 4 rules passed" in html) is passed
    assert ("Not ready to ship" in html) is not passed


def bundle_with_run(bundle: Path, folder: Path) -> Path:
    """The bundle with the journal of a run that train opened and the server has not seen."""
    tracked = shutil.copytree(bundle, folder)
    Journal(tracked / folders.EVENTS).run("tiny", {"train.epochs": 1}, {}, [])
    return tracked


def test_figures_and_files_go_to_the_run_that_train_began(
    run_step: Callable, tmp_path: Path, model: Path, bundle: Path, splits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # MLflow keeps the files of a sqlite store in mlruns/ here
    tracked, folder = bundle_with_run(bundle, tmp_path / "bundle"), tmp_path / "report"
    code, _, error = run_step("evaluate", PARAMS, model=model, bundle=tracked, splits=splits, report=folder)
    assert code == 0, error
    assert files_of(folder) == OUTPUTS | {"events.jsonl"}
    run_id = folders.read_run_id(folder)
    client = connection.client()
    run = client.get_run(run_id)
    metrics = read(folder / "metrics.json")
    assert run.data.metrics["test.shipped.macro_f1"] == metrics["shipped"]["macro_f1"]
    assert run.data.metrics["test.tfidf_logreg.accuracy"] == metrics["baseline"]["tfidf_logreg"]["accuracy"]
    assert run.data.metrics["test.gain.macro_f1"] == metrics["gain"]["macro_f1"]
    assert run.data.tags["fineline.gate"] == ("passed" if read(folder / "gate.json")["passed"] else "failed")
    kept = {entry.path for entry in client.list_artifacts(run_id, "evaluate")}
    assert {"evaluate/report", "evaluate/metrics", "evaluate/confusion"} <= kept


def test_a_dead_server_costs_nothing(
    run_step: Callable, tmp_path: Path, model: Path, bundle: Path, splits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tracked, folder = bundle_with_run(bundle, tmp_path / "bundle"), tmp_path / "report"
    code, _, error = run_step("evaluate", PARAMS, model=model, bundle=tracked, splits=splits, report=folder)
    assert code == 0, error
    assert error.count("does not answer") == 1
    kept = Journal(folder / folders.EVENTS).events
    assert any("test.shipped.macro_f1" in event.get("values", {}) for event in kept)
    assert files_of(folder) == OUTPUTS | {"events.jsonl"}


def test_a_refused_tracking_address_is_said_before_the_work(
    run_step: Callable, tmp_path: Path, model: Path, bundle: Path, splits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    code, _, error = run_step("evaluate", PARAMS, model=model, bundle=bundle, splits=splits, report=tmp_path / "report")
    assert code == 2
    assert "MLFLOW_TRACKING_PASSWORD" in error
    assert "secret" not in error
