"""Elastic weight consolidation: the Fisher information is the analytic one, weights are held by it, old rows are kept."""

import dataclasses
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file

from components.train import ewc
from fineline.artifacts import folders
from fineline.registry import training_rows
from fineline.tasks import get_task
from tests.components.conftest import FAST, RunStep
from tests.components.test_train_survival import Interrupted, logged
from tests.conftest import make_rows, write_splits

pytestmark = pytest.mark.usefixtures("one_thread", "ready_store")

LABELS = ["card", "login", "transfer"]


@dataclasses.dataclass
class Output:
    logits: torch.Tensor


class Softmax(torch.nn.Module):
    """Multinomial logistic regression, whose Fisher information is known: E[((y = j) - p_j)^2] x_i^2 for weight (j, i)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> Output:
        return Output(self.layer(x))


def stacked(rows: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"x": torch.stack(rows), "labels": torch.zeros(len(rows))}


def test_fisher_of_a_logistic_regression_is_the_analytic_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ewc, "_ROWS", 8_000)
    torch.manual_seed(0)
    model = Softmax()
    rows = list(torch.randn(8_000, 4))
    found = ewc.fisher(model, rows, stacked, get_task("single_label").drawn, seed=1)
    with torch.no_grad():
        x = torch.stack(rows)
        p = model(x).logits.softmax(dim=1)
        variance = p * (1 - p)
        expected = {"layer.weight": variance.T @ x**2 / len(rows), "layer.bias": variance.mean(dim=0)}
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=0.15), name
        assert found[name].dtype == torch.float32
    assert torch.allclose(found["layer.weight"].sum(), expected["layer.weight"].sum(), rtol=0.05)


def test_fisher_is_of_a_sample_drawn_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model, rows, drawn = Softmax(), list(torch.randn(300, 4)), get_task("single_label").drawn
    monkeypatch.setattr(ewc, "_ROWS", 100)
    first, again, other = (ewc.fisher(model, rows, stacked, drawn, seed)["layer.weight"] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_penalty_is_the_gradient_of_its_formula() -> None:
    torch.manual_seed(0)
    model = Softmax()
    information = {name: torch.rand_like(weight) for name, weight in model.named_parameters()}
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    held: Any = ewc.Consolidation(model, information, strength=7.0)
    held.on_train_begin(None, None, None)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight))
            weight.grad = torch.ones_like(weight)
    held.on_pre_optimizer_step(None, None, None)
    penalty = sum(
        7.0 / 2 * (information[name] * (weight - before[name]) ** 2).sum() for name, weight in model.named_parameters()
    )
    for weight, gradient in zip(
        model.parameters(), torch.autograd.grad(penalty, list(model.parameters())), strict=True
    ):
        assert torch.allclose(weight.grad, 1 + gradient, atol=1e-5)


def test_rows_of_new_labels_are_not_held() -> None:
    found = {"layer.weight": torch.ones(2, 4), "layer.bias": torch.ones(2), "encoder.weight": torch.ones(5)}
    new = ewc.relabelled(found, "layer", ["b", "gone"], ["a", "b", "c"])
    assert new["layer.weight"].tolist() == [[0] * 4, [1] * 4, [0] * 4]
    assert new["layer.bias"].tolist() == [0, 1, 0]
    assert new["encoder.weight"] is found["encoder.weight"]


def other_texts(count: int, seed: int) -> pd.DataFrame:
    """Rows of the same labels with other words, which mean nothing to a model of `make_rows`."""
    rng = random.Random(seed)
    words = "please my the today yesterday still not why is was help you again since monday with for account".split()
    rows = []
    for number in range(count):
        text = rng.sample(words[number % 3 :: 3], rng.randint(3, 5))
        rows.append({"id": f"n{number}", "text": f"{' '.join(text)} {number:04}", "label": LABELS[number % 3]})
    return pd.DataFrame(rows)


def accuracy(folder: Path, rows: pd.DataFrame) -> float:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)(
        rows["text"].tolist(), truncation=True, max_length=32, padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        logits = AutoModelForSequenceClassification.from_pretrained(folder).eval()(**tokens).logits
    return float((logits.argmax(dim=1).numpy() == get_task("single_label").targets(rows, LABELS)).mean())


def second_phase(train: Callable, folder: Path, seed: int) -> Path:
    """A champion on make_rows, registered with the ids of its rows; gives splits of those rows and of other_texts."""
    from mlflow import MlflowClient

    old, new = make_rows(150, seed), other_texts(150, seed)
    first = write_splits(folder / f"first{seed}", old)
    long = {"epochs": 20, "learning_rate": 1e-3, "early_stopping_patience": 0}
    train(f"champion{seed}", splits=first, seed=seed, log_model=True, **long)
    run_id = folders.read_run_id(folder / f"champion{seed}")
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    client.create_registered_model(f"tiny{seed}")
    tags = {training_rows.TAG: training_rows.write(client, f"tiny{seed}", run_id, first)}
    client.create_model_version(f"tiny{seed}", "file:///nowhere", run_id=run_id, tags=tags)
    return write_splits(folder / f"second{seed}", pd.concat([old[:100], new], ignore_index=True))


@pytest.fixture
def learn(run_step: RunStep, pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    monkeypatch.chdir(tmp_path)  # a sqlite store keeps its files in mlruns/ here

    def train(name: str, splits: Path, **params: Any) -> folders.Manifest:
        code, _, error = run_step(
            "train", {**FAST, "model": str(pretrained), **params}, splits=splits, model=tmp_path / name
        )
        assert code == 0, error
        return folders.verify(tmp_path / name)

    return train


@pytest.mark.slow
def test_old_rows_are_kept_without_replay(learn: Callable, tmp_path: Path) -> None:
    kept, learned = [], []
    for seed in range(3):
        splits = second_phase(learn, tmp_path, seed)
        more = {"init_from": f"models:/tiny{seed}/1", "replay_share": 0.0, "seed": seed, "epochs": 10, "metric": "loss"}
        learn("free", splits, **more)
        learn("held", splits, **more, ewc_lambda=1e5)
        old, new = make_rows(300, seed + 100), other_texts(150, seed + 100)
        names = [f"champion{seed}", "free", "held"]
        kept.append([accuracy(tmp_path / name, old) for name in names])
        learned.append([accuracy(tmp_path / name, new) for name in names])
    before, free, held = np.mean(kept, axis=0)
    assert before > 0.95
    assert free < before - 0.1, "nothing was forgotten: this run proves nothing"
    assert held > free + 0.1, kept
    assert all(row[2] > row[1] for row in kept), kept
    assert np.mean(learned, axis=0)[2] > np.mean(learned, axis=0)[0] + 0.2, "what is new is still learned"


def test_a_strong_penalty_leaves_the_weights(learn: Callable, tmp_path: Path) -> None:
    splits = second_phase(learn, tmp_path, 0)
    start = load_file(tmp_path / "champion0" / "model.safetensors")
    moved = {}
    for strength in (0.0, 1e3, 1e7):
        learn("next", splits, init_from="models:/tiny0/1", replay_share=0.0, ewc_lambda=strength, weight_decay=0.0)
        now = load_file(tmp_path / "next" / "model.safetensors")
        moved[strength] = sum(float(((now[name] - start[name]) ** 2).sum()) for name in start) ** 0.5
    assert moved[1e7] < moved[1e3] < moved[0.0]
    assert moved[1e7] < 0.5 * moved[0.0], moved


@pytest.mark.slow
def test_stopped_then_the_same_bytes(train: Callable, splits: Path, tmp_path: Path) -> None:
    train("first", epochs=2)
    params = {**FAST, "epochs": 3, "batch_size": 2, "dropout": 0.2, "logging_steps": 1}
    params |= {"init_from": str(tmp_path / "first"), "ewc_lambda": 10.0}
    whole = train("whole", **params)
    assert whole.files["model.safetensors"] != train("free", **{**params, "ewc_lambda": 0.0}).files["model.safetensors"]
    interrupted = Interrupted(splits, tmp_path / "first", tmp_path, params)
    interrupted.stop(logged(70), signal.SIGTERM)
    assert interrupted.process.returncode == 143
    assert [path.name for path in interrupted.kept.glob(f"*/{ewc.FISHER}")] == [ewc.FISHER]
    assert (
        train("interrupted", checkpoints=interrupted.kept, model=str(tmp_path / "first"), **params).files == whole.files
    )


def test_a_model_without_a_head_holds_nothing(
    run_step: RunStep, splits: Path, pretrained: Path, tmp_path: Path
) -> None:
    params = {**FAST, "init_from": str(pretrained), "ewc_lambda": 1.0}
    code, _, error = run_step("train", params, splits=splits, model=tmp_path / "model")
    assert code == 2
    assert "has no head" in error
