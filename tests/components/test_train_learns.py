"""Each epoch of train learns, also where it is one step, and a training that changed no weight is a failure."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.train import evaluations
from tests.components.conftest import FAST, RunStep
from tests.components.test_train import weights

pytestmark = pytest.mark.usefixtures("one_thread", "ready_store")

ONE_STEP = {**FAST, "batch_size": 128}  # of an epoch's 105 rows


def rates(model: Path) -> list[float]:
    return [float(row["learning_rate"]) for row in csv.DictReader((model / "curves.csv").open())]


def test_the_only_step_learns(run_step: RunStep, splits: Path, pretrained: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    code, _, error = run_step("train", {"model": str(pretrained), **ONE_STEP}, splits=splits, model=model)
    assert code == 0, error
    assert rates(model) == [FAST["learning_rate"]]
    before, after = weights(pretrained), weights(model)
    still = [name for name, old in before.items() if name in after and np.array_equal(old, after[name])]
    assert not still


@pytest.mark.parametrize("schedule", ["linear", "cosine", "polynomial"])
def test_the_warm_up_rises_from_the_first_step_to_the_peak(
    schedule: str, run_step: RunStep, splits: Path, pretrained: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    params = {**ONE_STEP, "epochs": 10, "warmup_share": 0.4, "schedule": schedule, "early_stopping_patience": 0}
    code, _, error = run_step("train", {"model": str(pretrained), **params}, splits=splits, model=model)
    assert code == 0, error
    found, peak = rates(model), FAST["learning_rate"]
    assert found[:5] == pytest.approx([peak * share for share in (0.2, 0.4, 0.6, 0.8, 1.0)], rel=1e-5)
    assert found[4:] == sorted(found[4:], reverse=True)
    assert found[-1] > 0, "the last step learns too"


@pytest.mark.parametrize("metric", ["macro_f1", "loss"])
def test_of_equal_epochs_the_later_is_kept(metric: str) -> None:
    from transformers import TrainerState, TrainingArguments

    better, worse = (0.7, 0.6) if metric == "macro_f1" else (0.6, 0.7)
    values = [worse, better, better, worse]
    log = [{"step": i, "eval_loss": 0.5, f"eval_{metric}": value} for i, value in enumerate(values)]
    args = TrainingArguments(metric_for_best_model=metric, greater_is_better=metric == "macro_f1", use_cpu=True)
    assert evaluations.best(TrainerState(log_history=log), args)["step"] == 2


@pytest.mark.parametrize("change", [{}, {"method": "lora", "lora_r": 4}])
def test_what_changed_no_weight_is_a_failure(
    change: dict[str, Any], run_step: RunStep, splits: Path, pretrained: Path, tmp_path: Path
) -> None:
    params = {"model": str(pretrained), **ONE_STEP, "learning_rate": 1e-50, "weight_decay": 0.0, **change}
    code, _, error = run_step("train", params, splits=splits, model=tmp_path / "model")
    assert code == 5
    assert "no weight has changed after 1 steps with train.learning_rate = 1e-50" in error
    assert "raise train.learning_rate" in error
    assert "Traceback" not in error
    assert not (tmp_path / "model").exists()
