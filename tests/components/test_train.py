"""train: what it leaves, that it learns, repeats itself bit by bit, survives kills, and never fails for its tracking."""

import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.train import checkpoints, lineage, precision
from components.train.params import Params
from components.train.resources import exhaustion_explained
from fineline import artifacts, dataset
from fineline.errors import ResourceError, UsageError
from fineline.tasks import get_task
from tests.conftest import PROJECT, files_of, make_rows, write_model, write_splits

RunStep = Callable[..., tuple[int, str, str]]

FILES = {
    *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
    *("model.json", "curves.csv", "manifest.json", "run.json", "events.jsonl"),
}
FAST = {"max_length": 32, "epochs": 1, "batch_size": 8, "learning_rate": 3e-3, "dropout": 0.0, "precision": "fp32"}
STEPS_PER_EPOCH = 14  # 105 training rows in batches of 8


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads cost more than they bring on a model this small; and sums then do not depend on the machine's cores."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty tracking database: making one takes seconds, copying it none."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(autouse=True)
def ready_store(isolated_tracking: None, store: Path, tmp_path: Path) -> None:
    shutil.copyfile(store, tmp_path / "mlflow.db")


@pytest.fixture
def train(run_step: RunStep, splits: Path, pretrained: Path, tmp_path: Path) -> Callable[..., artifacts.Manifest]:
    """train("out", epochs=2) trains on the tiny data into tmp_path/out, expects success, gives the manifest."""

    def run(name: str = "model", checkpoints: Path | None = None, **params: Any) -> artifacts.Manifest:
        paths = {"splits": splits, "model": tmp_path / name, **({"checkpoints": checkpoints} if checkpoints else {})}
        code, _, error = run_step("train", {"model": str(pretrained), **FAST, **params}, **paths)
        assert code == 0, error
        return artifacts.verify(tmp_path / name)

    return run


def weights(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")


def logits_of(folder: Path, texts: list[str]) -> np.ndarray:
    """What the saved model answers when it is loaded as anyone would load it."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    if "pooling" in json.loads((folder / "config.json").read_text()):  # else a plain folder, whatever loads it
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
    assert set(manifest.files) == FILES - artifacts.BESIDE
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
    probability = task.probabilities(logits_of(tmp_path / "model", rows["text"].tolist()), 1.0)
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
    second = artifacts.verify(elsewhere / "m")
    assert second == first
    assert files_of(elsewhere / "kept") == set()


def test_bf16_computes_otherwise_and_saves_fp32(train: Callable, tmp_path: Path) -> None:
    assert train("a", precision="bf16").figures["precision"] == "bf16"
    train("b", precision="fp32")
    assert weights(tmp_path / "a")["classifier.weight"].dtype == np.float32
    assert not np.array_equal(
        weights(tmp_path / "a")["classifier.weight"], weights(tmp_path / "b")["classifier.weight"]
    )


def test_every_training_parameter_acts(run_step: RunStep, pretrained: Path, tmp_path: Path) -> None:
    rows = make_rows()
    splits = write_splits(tmp_path / "splits", rows[(rows["label"] != "card") | (rows.index % 2 == 0)])  # unbalanced

    def trained(**params: Any) -> str:
        code, _, error = run_step(
            "train", {"model": str(pretrained), **FAST, **params}, splits=splits, model=tmp_path / "model"
        )
        assert code == 0, error
        return artifacts.read_manifest(tmp_path / "model").files["model.safetensors"]["sha256"]

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
        found[folder, pooling] = artifacts.verify(tmp_path / "model").files["model.safetensors"]["sha256"]
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


class Interrupted:
    """A real process that trains, and a signal at a chosen moment; then the same training again in this process."""

    def __init__(self, splits: Path, pretrained: Path, folder: Path, params: dict[str, Any]):
        self.kept = folder / "kept"
        self.model = folder / "interrupted"
        flags = ["--splits", str(splits), "--model", str(self.model), "--checkpoints", str(self.kept)]
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "components.train",
                *flags,
                "--params",
                json.dumps({"model": str(pretrained), **params}),
            ],
            cwd=PROJECT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )

    def stop(self, when: Callable[[Path], bool], number: int) -> str:
        """Sends the signal `number` as soon as `when(folder of the key)` is true; gives stderr."""
        deadline = time.monotonic() + 240
        while not any(when(folder) for folder in self.kept.glob("[!.]*")):
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.002)
        self.process.send_signal(number)
        error = self.process.communicate(timeout=120)[1]
        assert not self.model.exists(), "it was done before the signal"
        return error

    def sealed(self) -> list[int]:
        return sorted(int(path.parent.name.split("-")[1]) for path in self.kept.glob("*/checkpoint-*/COMPLETE.json"))


def logged(step: int) -> Callable[[Path], bool]:
    """Whether the journal has reached that step."""

    def reached(folder: Path) -> bool:
        events = folder / artifacts.EVENTS
        return events.is_file() and f'"step": {step},' in events.read_text()

    return reached


@pytest.mark.parametrize("change", [{}, {"length_grouping": False, "method": "lora", "pooling": "mean"}])
def test_sigterm_inside_an_epoch_then_the_same_bytes(
    change: dict[str, Any], train: Callable, splits: Path, pretrained: Path, tmp_path: Path
) -> None:
    params = {**FAST, "epochs": 3, "batch_size": 2, "dropout": 0.2, "logging_steps": 1, **change}
    whole = train("whole", **params)
    interrupted = Interrupted(splits, pretrained, tmp_path, params)
    error = interrupted.stop(logged(70), signal.SIGTERM)
    assert interrupted.process.returncode == 143
    assert "train: error: stopped by SIGTERM at step" in error
    assert "run the same command again" in error
    assert "Traceback" not in error
    steps = interrupted.sealed()
    assert steps[-1] >= 70
    assert steps[-1] % 53 != 0, "the signal came at the end of an epoch: this run proves nothing"
    assert train("interrupted", checkpoints=interrupted.kept, **params) == whole
    assert files_of(interrupted.kept) == set()
    events = [json.loads(line) for line in (tmp_path / "interrupted" / "events.jsonl").read_text().splitlines()]
    assert sum(event["kind"] == "run" for event in events) == 1
    steps = [event["step"] for event in events if event["kind"] == "metrics"]
    assert steps == sorted(set(steps)), "a step was logged twice"


def test_sigkill_at_random_moments_then_the_same_bytes(
    train: Callable, splits: Path, pretrained: Path, tmp_path: Path
) -> None:
    params = {**FAST, "epochs": 4, "dropout": 0.2, "logging_steps": 1}
    whole = train("whole", **params)
    for step in np.random.default_rng().integers(STEPS_PER_EPOCH, 4 * STEPS_PER_EPOCH, 2):
        interrupted = Interrupted(splits, pretrained, tmp_path, params)
        interrupted.stop(lambda folder, step=step: any(logged(s)(folder) for s in range(step, 57)), signal.SIGKILL)  # type: ignore[misc]
        assert interrupted.process.returncode == -signal.SIGKILL
    assert train("interrupted", checkpoints=interrupted.kept, **params) == whole


def test_sigkill_after_the_last_checkpoint_trains_no_further(
    run_step: RunStep, train: Callable, splits: Path, pretrained: Path, tmp_path: Path
) -> None:
    params = {
        **FAST,
        "epochs": 40,
        "early_stopping_patience": 1,
        "learning_rate": 1e-2,
        "warmup_share": 0,
        "metric": "loss",
    }
    whole = train("whole", **params)
    last = f"checkpoint-{whole.figures['steps']}/COMPLETE.json"
    interrupted = Interrupted(splits, pretrained, tmp_path, params)
    interrupted.stop(lambda folder: (folder / last).exists(), signal.SIGKILL)
    code, _, error = run_step(
        "train", {"model": str(pretrained), **params}, splits=splits, model=tmp_path / "m", checkpoints=interrupted.kept
    )
    assert (code, error) == (0, ""), "early stopping had ended the training"
    assert artifacts.verify(tmp_path / "m") == whole


def test_only_whole_sealed_checkpoints_count(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    for step in (10, 20, 30, 40, 50):
        folder = checkpoints.at(kept, step)
        folder.mkdir()
        for name in ("model.safetensors", "optimizer.pt", checkpoints.STATE):
            (folder / name).write_text(f"{name} {step}")
        if step != 50:
            checkpoints.seal(folder)
    (checkpoints.at(kept, 40) / "optimizer.pt").unlink()
    (checkpoints.at(kept, 30) / "model.safetensors").write_text("model.safetensors 3!")
    assert checkpoints.last(kept) == checkpoints.at(kept, 20)
    assert {path.name for path in kept.iterdir()} == {"checkpoint-10", "checkpoint-20"}
    checkpoints.prune(kept, 20)
    assert {path.name for path in kept.iterdir()} == {"checkpoint-20"}


def test_checkpoints_of_other_inputs_are_not_taken(train: Callable, tmp_path: Path) -> None:
    base = checkpoints.key(
        splits="sha256:a", params={"epochs": 1}, pretrained={"model.safetensors": "x"}, precision="fp32"
    )
    assert base != checkpoints.key(
        splits="sha256:a", params={"epochs": 2}, pretrained={"model.safetensors": "x"}, precision="fp32"
    )
    (tmp_path / "kept" / base).mkdir(parents=True)
    train(checkpoints=tmp_path / "kept")
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [base], "another training's folder was touched"


def test_a_second_training_of_the_same_key_is_kept_out(tmp_path: Path) -> None:
    with (
        checkpoints.folder_for("key", tmp_path),
        pytest.raises(ResourceError, match="another process"),
        checkpoints.folder_for("key", tmp_path),
    ):
        pass


def test_the_run_in_mlflow(train: Callable, splits: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    manifest = train(epochs=2)
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    run = client.get_run(artifacts.read_run_id(tmp_path / "model"))
    data = artifacts.read_manifest(splits)
    assert run.info.status == "FINISHED"
    assert run.data.params["train.epochs"] == "2"
    assert run.data.params["train.metric"] == ""
    assert {name for name in run.data.params if name.startswith("train.")} == {
        f"train.{name}" for name in manifest.params
    }
    assert run.data.tags["fineline.digest.train"] == manifest.digest
    assert run.data.tags["fineline.digest.split"] == run.data.tags["fineline.data_digest"] == data.digest
    assert run.data.metrics["validation_macro_f1"] == pytest.approx(
        float(list(csv.DictReader((tmp_path / "model" / "curves.csv").open()))[-1]["validation_macro_f1"]), abs=1e-6
    )
    losses = client.get_metric_history(run.info.run_id, "train_loss")
    assert [metric.step for metric in losses] == [10, 14, 20, 28]
    assert [(one.dataset.name, one.dataset.digest) for one in run.inputs.dataset_inputs] == [
        ("splits", data.digest.removeprefix("sha256:")[:36])
    ]


def test_an_error_ends_the_run_as_failed(run_step: RunStep, splits: Path, pretrained: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    params = {"model": str(pretrained), **FAST, "freeze_layers": 3}
    assert run_step("train", params, splits=splits, model=tmp_path / "model")[0] == 2
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    runs = client.search_runs([client.get_experiment_by_name("fineline").experiment_id])
    assert [run.info.status for run in runs] == ["FAILED"]


def test_a_dead_tracking_server_costs_one_line(
    run_step: RunStep, train: Callable, splits: Path, pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    from fineline.tracking import Journal

    alive = os.environ["MLFLOW_TRACKING_URI"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    params = {"model": str(pretrained), **FAST}
    code, _, error = run_step("train", params, splits=splits, model=tmp_path / "dead")
    assert code == 0
    assert error.count("tracking: the MLflow tracking server") == 1
    assert files_of(tmp_path / "dead") == FILES
    assert artifacts.read_run_id(tmp_path / "dead") == ""

    monkeypatch.setenv("MLFLOW_TRACKING_URI", alive)
    assert train("alive").digest == artifacts.verify(tmp_path / "dead").digest
    journal = Journal(tmp_path / "dead" / artifacts.EVENTS)
    assert journal.send()
    client = MlflowClient(alive)
    late, live = (client.get_run(i) for i in (journal.run_id, artifacts.read_run_id(tmp_path / "alive")))
    assert late.info.run_id != live.info.run_id
    assert late.info.status == "FINISHED"
    assert late.data.metrics == live.data.metrics
    assert late.data.params == live.data.params


def test_git_is_told_where_there_is_any(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    folder.mkdir()
    assert lineage._git(folder) == {}
    git = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e@example.org"]
    for arguments in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "one"]):
        subprocess.run([*git, *arguments], check=True, env={**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path)})
    clean = lineage._git(folder)
    assert re.fullmatch(r"[0-9a-f]{40}", clean["mlflow.source.git.commit"])
    assert clean["fineline.git_dirty"] == "false"
    (folder / "new").write_text("")
    assert lineage._git(folder) == {**clean, "fineline.git_dirty": "true"}


def test_out_of_memory_says_what_to_change() -> None:
    import torch

    with pytest.raises(ResourceError) as caught, exhaustion_explained(Params()):
        torch.empty(1 << 50)
    assert "batch_size" in caught.value.hint
    assert "gradient_accumulation" in caught.value.hint
    with pytest.raises(RuntimeError, match="shapes"), exhaustion_explained(Params()):
        raise RuntimeError("shapes do not fit")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 KiB: the tiny model fits on it, but no checkpoint with its optimizer, nor the model twice."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("full", ["checkpoints", "model"])
def test_a_full_disk(
    full: str, small_disk: Path, run_step: RunStep, splits: Path, pretrained: Path, tmp_path: Path
) -> None:
    paths = {"checkpoints": tmp_path / "kept", "model": tmp_path / "model", full: small_disk / full}
    if full == "model":
        (small_disk / "filler").write_bytes(bytes(350 * 1024))
    code, _, error = run_step("train", {"model": str(pretrained), **FAST, "epochs": 3}, splits=splits, **paths)
    assert code == 4, error
    assert "the disk is full" in error
    assert "Traceback" not in error
    assert not paths["model"].exists()


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
