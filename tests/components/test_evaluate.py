"""evaluate: the figures are those of the predictions, the intervals those of the bootstrap, the gate's verdict follows."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss

from components.evaluate import bootstrap, gate, plots
from components.evaluate.evaluation import Evaluation, confused_pairs, evaluation, mistakes
from components.evaluate.params import Params
from components.evaluate.scoring import token_counts, trained_logits
from components.evaluate.slices import BELOW, WORST, named_slices, score_slices
from fineline import artifacts, dataset, tracking
from fineline.errors import UsageError
from fineline.tasks import get_task
from tests.conftest import files_of, make_bundle, make_rows, write_splits

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

    folder = copy(model, tmp_path_factory.mktemp("lively") / "model")
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
    artifacts.write_manifest(
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
    manifest = artifacts.verify(report)
    metrics = read(report / "metrics.json")
    assert files_of(report) == OUTPUTS
    assert (manifest.step, manifest.kind, manifest.task) == ("evaluate", "report", "single_label")
    assert manifest.inputs == {
        name: artifacts.read_manifest(path).digest
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

    from fineline.bundle import open_bundle, predict

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
    assert artifacts.read_manifest(splits).digest in html
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
    unmeasured, trained = copy(bundle, tmp_path / "bundle"), copy(model, tmp_path / "model")
    (unmeasured / artifacts.MEASUREMENTS).unlink()
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
    assert artifacts.read_manifest(splits).digest in card.text
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
    assert artifacts.read_manifest(again).files == artifacts.read_manifest(report).files


def test_whole_numbers_may_come_as_floats() -> None:
    assert Params(bootstrap=300.0, seed=1.0).bootstrap == 300


def test_resampled_figures_are_those_of_the_task() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 7, 60)
    probabilities = rng.dirichlet(np.ones(9), 60)  # label 7 has no test row
    probabilities[:, 8] = 0  # label 8 is in neither column and must not count
    draws = rng.integers(0, 60, (25, 60))
    found = TASK.resampled(targets, TASK.choices(probabilities), 9, draws)
    for number, sample in enumerate(draws):
        expected = TASK.metrics(targets[sample], probabilities[sample], [str(i) for i in range(9)])
        assert found["accuracy"][number] == pytest.approx(expected["accuracy"])
        assert found["macro_f1"][number] == pytest.approx(expected["macro_f1"])


def test_intervals_are_as_wide_as_theory_says_and_pairs_are_narrower(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 5, 800)
    first = np.where(rng.random(800) < 0.8, targets, (targets + 1) % 5)
    second = np.where(rng.random(800) < 0.02, (targets + 1) % 5, first)
    choices = {"shipped": first, "trained": second, "same": first}
    found = bootstrap.resample(TASK, targets, choices, 5, 1000, seed=3)
    share = (first == targets).mean()
    low, high = bootstrap.interval(found["shipped"]["accuracy"])
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(share * (1 - share) / 800), rel=0.12)
    assert (low + high) / 2 == pytest.approx(share, abs=0.005)
    assert bootstrap.differences(found, "shipped", "same") == {"accuracy": (0, 0), "macro_f1": (0, 0)}
    narrow = bootstrap.differences(found, "shipped", "trained")["accuracy"]
    assert narrow[1] - narrow[0] < (high - low) / 2
    monkeypatch.setattr(bootstrap, "_DRAWS_AT_ONCE", 7 * 800)
    parts = bootstrap.resample(TASK, targets, choices, 5, 1000, seed=3)
    assert np.array_equal(parts["trained"]["macro_f1"], found["trained"]["macro_f1"])


def made_up(rows: int = 300, wrong: tuple[int, int, int] = (60, 30, 120)) -> Evaluation:
    """Shipped, trained and a baseline that are wrong on the first so many rows, always with the next label."""
    targets = np.arange(rows) % 3
    probabilities = {}
    for name, count in zip(("shipped", "trained", "linear"), wrong, strict=True):
        chosen = np.where(np.arange(rows) < count, (targets + 1) % 3, targets)
        probabilities[name] = np.full((rows, 3), 0.1)
        probabilities[name][np.arange(rows), chosen] = np.linspace(0.8, 0.6, rows)  # surest first
    test = pd.DataFrame({"id": [f"r{i}" for i in range(rows)], "text": "a text", "label": np.array(LABELS)[targets]})
    return evaluation(Params(bootstrap=200), TASK, LABELS, test, 1000, probabilities, [])


def test_differences_have_the_right_sign() -> None:
    found = made_up()
    assert found.baseline == "linear"
    assert found.difference("shipped", "linear")["accuracy"] == pytest.approx(0.2)
    assert found.difference("trained", "shipped")["accuracy"] == pytest.approx(0.1)
    for name, expected in (("gain", 0.2), ("drop", 0.1)):
        low, high = found.intervals[name]["accuracy"]
        assert 0 < low < expected < high
    assert {rule["rule"]: rule["figure"] for rule in found.gate["rules"]} == pytest.approx(
        {"min_metric": 0.8, "min_gain_over_baseline": 0.2, "max_drop_shipped": 0.1, "min_label_f1": 0.8}
    )


def test_mistakes_and_confused_pairs() -> None:
    found = made_up()
    listed = mistakes(found)
    assert [entry["id"] for entry in listed] == [f"r{i}" for i in range(20)]
    assert {key: listed[1][key] for key in ("target", "predicted", "text")} == {
        "target": "login",
        "predicted": "transfer",
        "text": "a text",
    }
    assert confused_pairs(found, 2) == [("card", "login", 20, 0.2), ("login", "transfer", 20, 0.2)]
    perfect = made_up(wrong=(0, 0, 10))
    assert mistakes(perfect) == confused_pairs(perfect, 5) == []


def test_slices_are_the_rows_they_name() -> None:
    rows = pd.DataFrame({"channel": ["app", "app", "mail", None, "chat", "app", "mail", ""], "text": list("abcdefgh")})
    tokens = np.array([3, 3, 4, 5, 6, 7, 8, 90])
    found = {(what, value): member for what, value, member in named_slices(rows, ["channel"], 3, tokens, 8)}
    assert {key: int(member.sum()) for key, member in found.items()} == {
        ("channel", "app"): 3,
        ("channel", "(none)"): 2,
        ("channel", "mail"): 2,
        ("channel", "(1 other values)"): 1,
        ("tokens", "3"): 2,
        ("tokens", "4 to 5"): 2,
        ("tokens", "6 to 7"): 2,
        ("tokens", "8 to 90"): 2,
        ("truncated", "yes"): 1,
        ("truncated", "no"): 7,
    }
    assert found["truncated", "yes"].tolist() == [False] * 7 + [True]


def test_slices_of_equal_lengths_and_list_columns() -> None:
    rows = pd.DataFrame({"annotators": [np.array(["a", "b"]), np.array([]), None, np.array(["a", "b"])]})
    found = named_slices(rows, ["annotators"], 12, np.array([5, 5, 5, 5]), 8)
    assert [(what, value, member.sum()) for what, value, member in found] == [
        ("annotators", "(none)", 2),
        ("annotators", "a, b", 2),
        ("tokens", "5", 4),
        ("truncated", "no", 4),
    ]


def test_the_worst_slice_is_marked_and_small_ones_are_not() -> None:
    targets = np.zeros(240, dtype=np.int64)
    chosen = np.zeros(240, dtype=np.int64)
    chosen[:40] = 1  # every row of a, 30 of 100 rows of b are wrong
    parts = np.repeat(["tiny", "b", "c"], [10, 100, 130])
    slices = [("part", name, parts == name) for name in ("tiny", "b", "c")] + [
        ("all", "rows", np.ones(240, dtype=bool))
    ]
    found = score_slices(TASK, targets, chosen, ["x", "y"], slices, samples=200, seed=1, min_rows=20)
    assert [entry["mark"] for entry in found] == ["", f"{WORST}, {BELOW}", "", ""]
    assert [entry["figures"]["accuracy"] for entry in found] == pytest.approx([0, 0.7, 1, 200 / 240], abs=1e-6)
    assert found[1]["intervals"]["accuracy"][0] < 0.7 < found[1]["intervals"]["accuracy"][1]


PER_LABEL = {"a": {"f1": 0.9, "support": 40}, "b": {"f1": 0.4, "support": 10}, "c": {"f1": 0.0, "support": 9}}


def judge(**params: float) -> dict:
    return gate.judge(
        Params(**params),
        metric="macro_f1",
        shipped=0.80,
        trained=0.81,
        baseline=("tfidf_logreg", 0.75),
        intervals={"shipped": (0.7, 0.9), "gain": (0.0, 0.1), "drop": (-0.01, 0.03)},
        per_label=PER_LABEL,
    )


@pytest.mark.parametrize(
    ("params", "failed"),
    [
        ({}, []),
        ({"min_metric": 0.80}, []),
        ({"min_metric": 0.81}, ["min_metric"]),
        ({"min_gain_over_baseline": 0.05}, []),
        ({"min_gain_over_baseline": 0.051}, ["min_gain_over_baseline"]),
        ({"max_drop_shipped": 0.01}, []),  # 0.81 - 0.80 is a hair over 0.01 in floating point
        ({"max_drop_shipped": 0.009}, ["max_drop_shipped"]),
        ({"min_label_f1": 0.41}, ["min_label_f1"]),
        ({"min_label_f1": 0.41, "min_support": 11}, []),
        ({"min_support": 9}, ["min_label_f1"]),
        ({"min_metric": 0.9, "min_label_f1": 0.5}, ["min_metric", "min_label_f1"]),
    ],
)
def test_gate(params: dict, failed: list[str]) -> None:
    found = judge(**params)
    assert [rule["rule"] for rule in found["rules"] if not rule["passed"]] == failed
    assert found["passed"] is not bool(failed)
    assert all(name in found["summary"] for name in failed)
    assert [rule["rule"] for rule in found["rules"]] == [
        "min_metric",
        "min_gain_over_baseline",
        "max_drop_shipped",
        "min_label_f1",
    ]


def test_gate_without_a_label_to_judge() -> None:
    found = judge(min_support=100)
    assert len(found["rules"]) == 3
    assert found["not_judged"] == [{"rule": "min_label_f1", "reason": "no label has 100 test rows"}]
    assert found["passed"] is True


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


def copy(folder: Path, target: Path) -> Path:
    shutil.copytree(folder, target)
    return target


def other_splits(folder: Path, *_: Path) -> dict[str, Path]:
    return {"splits": write_splits(folder / "other", make_rows(150, seed=9))}


def other_model(folder: Path, model: Path, _bundle: Path, splits: Path) -> dict[str, Path]:
    changed = copy(model, folder / "other")
    (changed / "model.json").write_text(json.dumps({**read(model / "model.json"), "max_length": 31}), encoding="utf-8")
    artifacts.write_manifest(changed, step="train", kind="model", params={}, inputs={"splits": splits}, figures={})
    return {"model": changed}


def label_in_test_only(folder: Path, model: Path, _bundle: Path, splits: Path) -> dict[str, Path]:
    """Splits whose last test row has a new label, and a model and a bundle that name them as theirs."""
    rows = dataset.read_rows(splits / "test.parquet")
    rows.loc[0, "label"] = "mortgage"
    found = copy(splits, folder / "splits")
    dataset.write_rows(rows, found / "test.parquet")
    artifacts.write_manifest(found, step="split", kind="splits", params={}, inputs={}, figures={}, task="single_label")
    trained, shipped = copy(model, folder / "model"), copy(_bundle, folder / "bundle")
    artifacts.write_manifest(trained, step="train", kind="model", params={}, inputs={"splits": found}, figures={})
    artifacts.write_manifest(shipped, step="quantize", kind="bundle", params={}, inputs={"onnx": trained}, figures={})
    return {"model": trained, "bundle": shipped, "splits": found}


def missing(folder: Path, *_: Path) -> dict[str, Path]:
    return {"bundle": folder / "nowhere"}


def no_artifact(folder: Path, *_: Path) -> dict[str, Path]:
    (folder / "empty").mkdir()
    return {"splits": folder / "empty"}


def changed_file(folder: Path, _model: Path, bundle: Path, _splits: Path) -> dict[str, Path]:
    changed = copy(bundle, folder / "changed")
    content = bytearray((changed / "model.onnx").read_bytes())
    content[-1] ^= 1
    (changed / "model.onnx").write_bytes(content)
    return {"bundle": changed}


def swapped(_folder: Path, model: Path, bundle: Path, _splits: Path) -> dict[str, Path]:
    return {"model": bundle, "bundle": model}


@pytest.mark.parametrize(
    ("params", "change", "code", "words"),
    [
        ({"slice_columns": ["region"]}, None, 2, ["no column region", "channel"]),
        ({}, other_splits, 2, ["not trained on these splits"]),
        ({}, other_model, 2, ["not made from this model"]),
        ({}, label_in_test_only, 2, ["labels not known to the model: mortgage"]),
        ({}, missing, 2, ["nowhere does not exist"]),
        ({}, no_artifact, 2, ["has no manifest.json"]),
        ({}, changed_file, 2, ["model.onnx was changed"]),
        ({}, swapped, 2, ["--model was given a bundle (made by quantize)"]),
        (
            {"bootstrap": 3, "min_f1": 1, "min_metric": "high"},
            None,
            2,
            ["3 parameters are wrong", "min_f1", "min_metric"],
        ),
        ({"max_drop_shipped": float("nan")}, None, 2, ["max_drop_shipped"]),
    ],
)
def test_bad_input(
    run_step: Callable,
    tmp_path: Path,
    model: Path,
    bundle: Path,
    splits: Path,
    params: dict,
    change: Callable | None,
    code: int,
    words: list[str],
) -> None:
    paths = {"model": model, "bundle": bundle, "splits": splits}
    paths |= change(tmp_path, model, bundle, splits) if change else {}
    found, _, error = run_step("evaluate", params, **paths, report=tmp_path / "report")
    assert found == code, error
    assert all(word in error for word in words), error
    assert "Traceback" not in error
    assert not (tmp_path / "report").exists()


def bundle_with_run(bundle: Path, folder: Path) -> Path:
    """The bundle with the journal of a run that train opened and the server has not seen."""
    tracked = copy(bundle, folder)
    tracking.Journal(tracked / artifacts.EVENTS).run("tiny", {"train.epochs": 1}, {}, [])
    return tracked


def test_figures_and_files_go_to_the_run_that_train_began(
    run_step: Callable, tmp_path: Path, model: Path, bundle: Path, splits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # MLflow keeps the files of a sqlite store in mlruns/ here
    tracked, folder = bundle_with_run(bundle, tmp_path / "bundle"), tmp_path / "report"
    code, _, error = run_step("evaluate", PARAMS, model=model, bundle=tracked, splits=splits, report=folder)
    assert code == 0, error
    assert files_of(folder) == OUTPUTS | {"events.jsonl"}
    run_id = artifacts.read_run_id(folder)
    client = tracking.client()
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
    kept = tracking.Journal(folder / artifacts.EVENTS).events
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


def test_calibration_puts_full_confidence_into_the_last_bin() -> None:
    probabilities = np.array([[1.0, 0.0], [0.5, 0.5], [0.51, 0.49]])
    bins = plots.calibration(np.array([0, 0, 1]), np.array([0, 0, 0]), probabilities)
    assert [(round(c, 3), a, n) for c, a, n in bins] == [(0.505, 0.5, 2), (1.0, 1.0, 1)]


def test_unknown_slice_column_names_what_there_is() -> None:
    with pytest.raises(UsageError) as caught:
        named_slices(pd.DataFrame({"id": ["1"], "channel": ["app"]}), ["chanel"], 5, np.array([1]), 8)
    assert "id, channel" in caught.value.hint
