"""train: what it leaves, that it learns, that every parameter acts, the same bytes twice, and bad input."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.train import precision
from components.train.params import Params
from fineline.artifacts import folders
from fineline.process.errors import UsageError
from fineline.rows import dataset
from fineline.tasks import get_task
from tests.components.conftest import FAST, FILES, STEPS_PER_EPOCH, RunStep
from tests.conftest import PROJECT, files_of, make_rows, write_model, write_splits

pytestmark = pytest.mark.usefixtures("one_thread", "ready_store")


def weights(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")


def logits_of(folder: Path, texts: list[str]) -> np.ndarray:
    """What the saved model answers when it is loaded as anyone would load it."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    if json.loads((folder / "config.json").read_text())["pooling"] == "mean":
        model = get_task("single_label").load_model(folder, ["card", "login", "transfer"]).eval()
    else:
        model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokens = AutoTokenizer.from_pretrained(folder)(
        texts, truncation=True, max_length=32, padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        return model(**tokens).logits.numpy()


def test_leaves_a_plain_model_that_learned(train: Callable, splits: Path, tmp_path: Path) -> None:
    manifest = train(epochs=4)
    folder = tmp_path / "model"
    assert files_of(folder) == FILES
    assert set(manifest.files) == FILES - folders.BESIDE
    assert json.loads((folder / "model.json").read_text()) == {
        "task": "single_label",
        "labels": ["card", "login", "transfer"],
        "max_length": 32,
        "precision": "fp32",
    }
    assert manifest.figures["validation_macro_f1"] > 0.9
    assert manifest.figures["steps"] == 4 * STEPS_PER_EPOCH
    assert manifest.params["model"] == "tiny"
    assert {str(array.dtype) for array in weights(folder).values()} == {"float32"}
    assert (folder / "model.safetensors").stat().st_mode == (folder / "config.json").stat().st_mode
    for name in manifest.files:
        assert str(tmp_path.parent).encode() not in (folder / name).read_bytes(), f"{name} names a place"
    assert "local" not in (folder / "tokenizer_config.json").read_text()
    assert not list(tmp_path.glob(".model*/")), "temporary folders are left"


@pytest.mark.parametrize(
    ("method", "pooling"), [("full", "model"), ("lora", "model"), ("full", "mean"), ("lora", "mean")]
)
def test_ships_the_best_checkpoint_not_the_last(
    method: str, pooling: str, train: Callable, splits: Path, tmp_path: Path
) -> None:
    manifest = train(
        method=method,
        pooling=pooling,
        metric="loss",
        epochs=40,
        early_stopping_patience=1,
        learning_rate=1e-2,
        warmup_share=0,
        lora_r=4,
    )
    assert manifest.figures["epochs"] == manifest.figures["best_epoch"] + 1 < 40, "early stopping did not act"
    task, rows = get_task("single_label"), dataset.read_splits(splits)["validation"]
    labels = ["card", "login", "transfer"]
    probability = task.answers(logits_of(tmp_path / "model", rows["text"].tolist()), {"temperature": 1.0})
    figures = task.metrics(task.targets(rows, labels), probability, labels)
    shipped = {
        name.removeprefix("validation_"): value for name, value in manifest.figures.items() if "validation_" in name
    }
    for name, value in figures.items():
        assert value == pytest.approx(shipped[name], abs=1e-5), name


@pytest.mark.parametrize("arithmetic", ["fp32", "bf16"])
def test_the_same_inputs_give_the_same_bytes(
    arithmetic: str, run_step: RunStep, train: Callable, splits: Path, pretrained: Path, tmp_path: Path
) -> None:
    first = train("here", precision=arithmetic)
    elsewhere = tmp_path / "other" / "place"
    shutil.copytree(pretrained, elsewhere / pretrained.name)
    shutil.copytree(splits, elsewhere / "data")
    params = {"model": str(elsewhere / pretrained.name), **FAST, "precision": arithmetic}
    code, _, error = run_step(
        "train", params, splits=elsewhere / "data", model=elsewhere / "m", checkpoints=elsewhere / "kept"
    )
    assert code == 0, error
    second = folders.verify(elsewhere / "m")
    assert second == first


def test_bf16_computes_otherwise_and_saves_fp32(train: Callable, tmp_path: Path) -> None:
    assert train("a", precision="bf16").figures["precision"] == "bf16"
    train("b", precision="fp32")
    assert weights(tmp_path / "a")["classifier.weight"].dtype == np.float32
    assert not np.array_equal(
        weights(tmp_path / "a")["classifier.weight"], weights(tmp_path / "b")["classifier.weight"]
    )


@pytest.mark.slow
def test_every_training_parameter_acts(run_step: RunStep, pretrained: Path, tmp_path: Path) -> None:
    rows = make_rows()
    splits = write_splits(tmp_path / "splits", rows[(rows["label"] != "card") | (rows.index % 2 == 0)])  # unbalanced

    def trained(**params: Any) -> str:
        code, _, error = run_step(
            "train", {"model": str(pretrained), **FAST, **params}, splits=splits, model=tmp_path / "model"
        )
        assert code == 0, error
        return folders.read_manifest(tmp_path / "model").files["model.safetensors"]["sha256"]

    base = trained()
    changes: list[dict[str, Any]] = [
        {"seed": 14},
        {"learning_rate": 1e-3},
        {"batch_size": 4},
        {"gradient_accumulation": 2},
        {"schedule": "cosine"},
        {"schedule": "polynomial"},
        {"warmup_share": 0.5},
        {"weight_decay": 0.5},
        {"label_smoothing": 0.0},
        {"class_weights": "balanced"},
        {"dropout": 0.3},
        {"max_grad_norm": 0.01},
        {"max_length": 6},
        {"length_grouping": False},
        {"freeze_embeddings": True},
        {"freeze_layers": 1},
        {"pooling": "mean"},
        {"method": "lora"},
        {"method": "lora", "lora_r": 2},
        {"method": "lora", "lora_alpha": 64},
        {"method": "lora", "lora_dropout": 0.5},
        {"method": "lora", "lora_target_modules": ["query", "value"]},
    ]
    found = [trained(**change) for change in changes]
    assert len({base, *found}) == len(changes) + 1, "two of the settings gave the same weights"
    assert trained(eval_batch_size=5) == base
    assert trained(gradient_checkpointing=True) == base
    assert trained(method="lora", gradient_checkpointing=True) == found[-5]


def test_freezing_leaves_weights_and_trains_fewer(train: Callable, pretrained: Path, tmp_path: Path) -> None:
    before = weights(pretrained)
    manifest = train(freeze_embeddings=True, freeze_layers=1)
    after = {name.removeprefix("bert."): array for name, array in weights(tmp_path / "model").items()}
    frozen = {name for name in before if name.startswith(("embeddings.", "encoder.layer.0."))}
    assert frozen
    assert all(np.array_equal(before[name], after[name]) for name in frozen)
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved == set(before) - frozen
    expected = sum(array.size for name, array in after.items() if name not in frozen)
    assert manifest.figures["parameters_trained"] == expected < manifest.figures["parameters"]


def test_lora_trains_few_and_ships_no_adapter(train: Callable, pretrained: Path, tmp_path: Path) -> None:
    manifest = train(method="lora", lora_r=2, freeze_layers=1)
    assert files_of(tmp_path / "model") == FILES
    assert manifest.figures["parameters_trained"] < manifest.figures["parameters"] / 10
    before = weights(pretrained)
    after = {name.removeprefix("bert."): array for name, array in weights(tmp_path / "model").items()}
    assert set(after) == {*before, "classifier.weight", "classifier.bias"}
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    linear = ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"]
    linear += ["intermediate.dense", "output.dense"]
    assert moved == {"pooler.dense.weight", *(f"encoder.layer.1.{name}.weight" for name in linear)}


def test_pooling_is_the_pretrained_models_own(
    run_step: RunStep, splits: Path, pretrained: Path, tmp_path: Path
) -> None:
    sentence = tmp_path / "sentence" / pretrained.name
    shutil.copytree(pretrained, sentence)
    (sentence / "1_Pooling").mkdir()
    (sentence / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    found = {}
    for folder, pooling in [(sentence, "auto"), (sentence, "model"), (pretrained, "mean"), (pretrained, "auto")]:
        code, _, error = run_step(
            "train", {"model": str(folder), "pooling": pooling, **FAST}, splits=splits, model=tmp_path / "model"
        )
        assert code == 0, error
        assert files_of(tmp_path / "model") == FILES
        found[folder, pooling] = folders.verify(tmp_path / "model").files["model.safetensors"]["sha256"]
    assert found[sentence, "auto"] == found[pretrained, "mean"]
    assert found[sentence, "model"] == found[pretrained, "auto"]
    assert found[sentence, "auto"] != found[sentence, "model"]


def test_curves(train: Callable, tmp_path: Path) -> None:
    manifest = train(epochs=3, gradient_accumulation=2, warmup_share=0.2, logging_steps=5, schedule="linear")
    rows = list(csv.DictReader((tmp_path / "model" / "curves.csv").open()))
    metrics = ["accuracy", "ece", "log_loss", "macro_f1", "mcc", "weighted_f1"]
    columns = ["epoch", "step", "train_loss", "learning_rate", "grad_norm", "validation_loss"]
    assert list(rows[0]) == [*columns, *(f"validation_{name}" for name in metrics)]
    assert [int(row["step"]) for row in rows] == [5, 7, 10, 14, 15, 20, 21]
    assert [row["step"] for row in rows if row["validation_macro_f1"] != "NaN"] == ["7", "14", "21"]
    assert all(float(row["train_loss"]) > 0 and float(row["grad_norm"]) > 0 for row in rows)
    rates = [float(row["learning_rate"]) for row in rows]
    assert max(rates) <= FAST["learning_rate"]
    assert rates[1:] == sorted(rates[1:], reverse=True), "after 4 steps of warm-up it only falls"
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    assert float(rows[-1]["validation_macro_f1"]) == pytest.approx(manifest.figures["validation_macro_f1"], abs=1e-6)


def test_progress_in_lines(
    train: Callable, run_step: RunStep, splits: Path, pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("components.train.callbacks._SECONDS_BETWEEN_LINES", 0.0)
    params = {"model": str(pretrained), **FAST, "epochs": 2}
    code, out, error = run_step("train", params, splits=splits, model=tmp_path / "model")
    assert code == 0
    lines = error.splitlines()
    rated = re.compile(r"train: epoch \d\.\d\d of 2, loss \S+, [\d,]+ samples/s, \d\d:\d\d left at most")
    assert sum(bool(rated.fullmatch(line)) for line in lines) == 2 * STEPS_PER_EPOCH
    judged = re.compile(r"train: epoch \d of 2, validation loss \d\.\d{4}, macro_f1 \d\.\d{4}")
    assert sum(bool(judged.fullmatch(line)) for line in lines) == 2
    assert "nan" not in error
    assert len(lines) == 2 * STEPS_PER_EPOCH + 2, f"libraries are not silent: {error}"
    assert re.fullmatch(r"train: validation macro_f1 \d\.\d{4} after epoch \d of 2, 23,971 of 23,971 .* in fp32\n", out)


def test_precision_on_a_cpu() -> None:
    assert precision.resolve("auto") == ("bf16" if precision.native_bf16() else "fp32")
    assert [precision.resolve(name) for name in ("fp32", "bf16")] == ["fp32", "bf16"]
    with pytest.raises(UsageError, match="needs a GPU"):
        precision.resolve("fp16")


def relabelled(folder: Path, part: str, label: str) -> Path:
    rows = make_rows()
    ends = {"train": (0, 105), "validation": (105, 127), "test": (127, 150)}[part]
    rows.loc[rows.index[slice(*ends)], "label"] = label
    return write_splits(folder, rows)


def pickled(folder: Path) -> Path:
    write_model(folder, head="none")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    return folder


def broken(folder: Path) -> Path:
    from safetensors.numpy import load_file, save_file

    write_model(folder, head="none")
    arrays = load_file(folder / "model.safetensors")
    arrays["embeddings.LayerNorm.weight"][:] = np.nan
    save_file(arrays, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


BAD: list[tuple[str, Callable[[Path], dict[str, Any]], int, list[str]]] = [
    ("unknown parameter", lambda _: {"params": {"epoch": 3}}, 2, ["train.epoch", "did you mean epochs?"]),
    (
        "several wrong parameters",
        lambda _: {"params": {"epochs": 0, "learning_rate": "fast", "schedule": "step"}},
        2,
        ["3 parameters are wrong", "train.epochs", "train.learning_rate", "train.schedule"],
    ),
    (
        "revision of a folder",
        lambda tmp: {"params": {"model": str(write_model(tmp / "m", head="none")), "revision": "main"}},
        2,
        ["hub"],
    ),
    ("no such folder", lambda tmp: {"params": {"model": str(tmp / "none")}}, 2, ["does not exist"]),
    ("pickled weights", lambda tmp: {"params": {"model": str(pickled(tmp / "m"))}}, 2, ["pickle", "safetensors"]),
    ("hub without network", lambda _: {"params": {"model": "nobody/nothing"}}, 4, ["nobody/nothing", "network"]),
    ("too long", lambda _: {"params": {"max_length": 65}}, 2, ["max_length = 65", "64 tokens at most"]),
    ("too many layers", lambda _: {"params": {"freeze_layers": 3}}, 2, ["freeze_layers = 3", "2 layers"]),
    (
        "no such linear layer",
        lambda _: {"params": {"method": "lora", "lora_target_modules": ["query", "q_proj"]}},
        2,
        ["q_proj", "dense, key, query, value"],
    ),
    ("no such metric", lambda _: {"params": {"metric": "f1"}}, 2, ["'f1'", "macro_f1", "loss"]),
    ("fp16 on a CPU", lambda _: {"params": {"precision": "fp16"}}, 2, ["needs a GPU"]),
    ("divergence", lambda tmp: {"params": {"model": str(broken(tmp / "m"))}}, 2, ["diverged", "learning_rate"]),
    ("one label", lambda tmp: {"splits": write_splits(tmp / "s", make_rows().assign(label="a"))}, 3, ["the label a"]),
    ("label in validation only", lambda tmp: {"splits": relabelled(tmp / "s", "validation", "new")}, 2, ["new"]),
    ("label in test only", lambda tmp: {"splits": relabelled(tmp / "s", "test", "new")}, 2, ["new"]),
    ("no splits", lambda tmp: {"splits": tmp / "none"}, 2, ["does not exist"]),
]


@pytest.mark.parametrize(("arrange", "code", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_input(
    arrange: Callable[[Path], dict[str, Any]],
    code: int,
    words: list[str],
    run_step: RunStep,
    splits: Path,
    pretrained: Path,
    tmp_path: Path,
) -> None:
    given = arrange(tmp_path)
    params = {"model": str(pretrained), **FAST, **given.get("params", {})}
    found, _, error = run_step("train", params, splits=given.get("splits", splits), model=tmp_path / "out" / "model")
    assert found == code, error
    assert "Traceback" not in error
    assert "train: to mend it: " in error
    for word in words:
        assert word in error
    assert files_of(tmp_path / "out") <= {".model.lock"}


def test_credentials_in_the_tracking_uri_are_refused_before_any_work(
    run_step: RunStep, splits: Path, pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:1")
    code, _, error = run_step("train", {"model": str(pretrained), **FAST}, splits=splits, model=tmp_path / "model")
    assert code == 2
    assert "MLFLOW_TRACKING_PASSWORD" in error
    assert "secret" not in error
    assert not (tmp_path / "model").exists()


def test_whole_numbers_may_come_as_floats() -> None:
    assert Params.model_validate({"epochs": 3.0, "max_length": 64.0}).recorded() == {
        **Params().recorded(),
        "epochs": 3,
        "max_length": 64,
    }


def test_what_a_shell_left_behind_does_not_decide(
    train: Callable, splits: Path, pretrained: Path, tmp_path: Path
) -> None:
    expected = train("clean")
    left = {"ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4", "OMP_NUM_THREADS": "1"}
    flags = ["--splits", str(splits), "--model", str(tmp_path / "model")]
    params = json.dumps({"model": str(pretrained), **FAST})
    done = subprocess.run(
        [sys.executable, "-m", "components.train", *flags, "--params", params],
        cwd=PROJECT,
        env={**os.environ, **left, "OMP_DISPLAY_ENV": "VERBOSE"},  # OpenMP then prints its settings
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    names = "ACCELERATE_GRADIENT_ACCUMULATION_STEPS, ACCELERATE_MIXED_PRECISION"
    assert f"train: ignores {names}: only recorded parameters decide" in done.stderr
    assert folders.verify(tmp_path / "model") == expected
    assert "GOMP_SPINCOUNT = '1000'" in done.stderr, "threads that wait leave the processor to others"


@pytest.mark.parametrize(
    ("left", "wanted"),
    [
        ({"WORLD_SIZE": "2", "RANK": "0"}, "2"),
        ({"WORLD_SIZE": "2", "RANK": "1"}, "2"),
        ({"OMPI_COMM_WORLD_SIZE": "4"}, "4"),
    ],
)
def test_a_launcher_that_is_gone_is_not_waited_for(
    left: dict[str, str],
    wanted: str,
    run_step: RunStep,
    splits: Path,
    pretrained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in left.items():
        monkeypatch.setenv(name, value)
    code, _, error = run_step("train", {"model": str(pretrained), **FAST}, splits=splits, model=tmp_path / "model")
    assert code == 2
    assert f"it would wait for the others of {wanted}" in error
    assert f"unset {' '.join(left)}" in error
    assert len(error.splitlines()) == 2
