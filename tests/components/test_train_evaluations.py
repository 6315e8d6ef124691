"""train looks at the validation rows as often as train.eval_steps says, keeps the best it saw, and trains the same."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.components.conftest import STEPS_PER_EPOCH, RunStep

pytestmark = pytest.mark.usefixtures("one_thread", "ready_store")


def curves(folder: Path) -> list[dict[str, float]]:
    rows = csv.DictReader((folder / "curves.csv").open())
    return [{name: float(value) for name, value in row.items()} for row in rows]


def test_eval_steps_says_how_often_validation_looks(
    train: Callable, run_step: RunStep, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert STEPS_PER_EPOCH == 14
    often = {"epochs": 2, "logging_steps": 1, "early_stopping_patience": 0}
    by_epoch, by_step = train("epochs", **often), train("steps", eval_steps=5, **often)
    whole, found = curves(tmp_path / "epochs"), curves(tmp_path / "steps")
    seen = {row["step"]: row for row in found if row["validation_loss"] == row["validation_loss"]}
    assert set(seen) == {5, 10, 15, 20, 25, 28}
    assert [row["train_loss"] for row in found] == [row["train_loss"] for row in whole], "it trains the same"
    assert seen[28]["validation_loss"] == whole[-1]["validation_loss"]
    best = max(seen.values(), key=lambda row: (row["validation_macro_f1"], row["step"]))
    assert by_step.figures["validation_macro_f1"] == pytest.approx(best["validation_macro_f1"], abs=1e-6)
    assert by_step.figures["best_epoch"] == (1 if best["step"] <= 14 else 2)
    assert by_step.figures["epochs"] == by_epoch.figures["epochs"] == 2
    rows = curves_with(train, tmp_path, "sparse", eval_steps=5, logging_steps=4)
    assert [row["step"] for row in rows] == [4, 5, 8, 10, 12, 14]


def curves_with(train: Callable, tmp_path: Path, name: str, **params: int) -> list[dict[str, float]]:
    train(name, **params)
    return curves(tmp_path / name)


def test_patience_counts_looks(train: Callable, tmp_path: Path) -> None:
    manifest = train("model", eval_steps=3, early_stopping_patience=2, epochs=4, learning_rate=1e-7)
    steps = [row["step"] for row in curves(tmp_path / "model") if row["validation_loss"] == row["validation_loss"]]
    assert steps == [3, 6, 9], "one to begin with, and two without anything better"
    assert manifest.figures["steps"] == 9
    assert manifest.figures["epochs"] == 1
