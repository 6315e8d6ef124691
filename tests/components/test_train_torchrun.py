"""train under torchrun: two CPU processes over gloo give one artifact, right and the same each time, killed or not."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from fineline.artifacts import folders
from fineline.rows import dataset
from fineline.tasks import get_task
from fineline.tasks.parts import UNCALIBRATED
from tests.components.conftest import FAST, FILES, RunStep
from tests.components.test_train_survival import LEFT
from tests.conftest import PROJECT, files_of, make_rows, write_splits

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread", "ready_store")]

PARAMS = {**FAST, "epochs": 4, "batch_size": 4, "dropout": 0.2, "logging_steps": 1}


class Torchrun:
    """`torchrun --nproc-per-node=2 -m components.train` as a process."""

    def __init__(self, splits: Path, model: Path, checkpoints: Path, params: dict[str, Any]):
        self.model, self.checkpoints = model, checkpoints
        flags = ["--splits", str(splits), "--model", str(model), "--checkpoints", str(checkpoints)]
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        self.process = subprocess.Popen(
            [*launcher, "-m", "components.train", *flags, "--params", json.dumps(params)],
            cwd=PROJECT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self) -> tuple[int, str, str]:
        out, error = self.process.communicate(timeout=600)
        return self.process.returncode, out, error

    def reach(self, step: int) -> None:
        """Waits until the journal holds that step."""
        deadline = time.monotonic() + 600
        while not any(f'"step": {step},' in path.read_text() for path in self.checkpoints.glob("*/events.jsonl")):
            assert self.process.poll() is None, self.end()
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def worker(self, rank: int) -> int:
        """The process id of the worker of that rank."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        ranks = {pid: Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") for pid in children}
        return next(int(pid) for pid, environment in ranks.items() if f"RANK={rank}".encode() in environment)


Launch = Callable[..., Torchrun]


@pytest.fixture
def launch(splits: Path, pretrained: Path, tmp_path: Path) -> Launch:
    """launch("model", epochs=2) -> the running Torchrun on the tiny data."""

    def run(name: str, splits: Path = splits, **params: Any) -> Torchrun:
        return Torchrun(
            splits, tmp_path / name, tmp_path / f"{name}-kept", {"model": str(pretrained), **PARAMS, **params}
        )

    return run


def test_two_processes_write_one_right_artifact(launch: Launch, splits: Path, tmp_path: Path) -> None:
    code, out, error = launch("model", batch_size=2, dropout=0.0).end()
    assert code == 0, error
    assert out.count("train: validation macro_f1") == 1
    assert error.count("validation loss") == 4, f"only the first process talks: {error}"
    manifest = folders.verify(tmp_path / "model")
    assert files_of(tmp_path / "model") == FILES
    assert {Path(name).name for name in files_of(tmp_path / "model-kept")} == {
        *LEFT,
        "config.json",
        "model.safetensors",
    }
    assert manifest.figures["devices"] == 2
    assert manifest.figures["steps"] == 4 * 27, "105 rows in two batches of 2 a step"
    assert manifest.figures["validation_macro_f1"] > 0.9
    _assert_figures_are_those_of_the_saved_model(tmp_path / "model", manifest, splits)
    events = [json.loads(line) for line in (tmp_path / "model" / folders.EVENTS).read_text().splitlines()]
    assert [event["kind"] for event in events].count("run") == 1
    steps = [event["step"] for event in events if event["kind"] == "metrics"]
    assert steps == list(range(1, 4 * 27 + 1)), "each step is logged once"


def test_batch_size_is_per_process(launch: Launch, run_step: RunStep, model: Path, tmp_path: Path) -> None:
    splits = write_splits(tmp_path / "even", make_rows(160))  # 112 rows to train on: no batch is filled up
    params = {**PARAMS, "dropout": 0.0, "length_grouping": False, "epochs": 2, "max_grad_norm": 0.1}
    params |= {"init_from": str(model), "ewc_lambda": 10.0, "learning_rate": 1e-3}
    code, _, error = launch("two", splits=splits, **{**params, "batch_size": 4, "gradient_accumulation": 2}).end()
    assert code == 0, error
    code, _, error = run_step("train", {**params, "batch_size": 16}, splits=splits, model=tmp_path / "one")
    assert code == 0, error
    before, two, one = (
        load_file(folder / "model.safetensors") for folder in (model, tmp_path / "two", tmp_path / "one")
    )
    assert max(np.abs(before[name] - one[name]).max() for name in before) > 1e-3
    for name in one:
        assert np.abs(two[name] - one[name]).max() < 5e-5, name
    figures = [folders.read_manifest(tmp_path / name).figures for name in ("two", "one")]
    assert figures[0]["steps"] == figures[1]["steps"] == 14
    assert figures[0]["validation_loss"] == pytest.approx(figures[1]["validation_loss"], abs=1e-5)


def test_stopped_twice_then_the_same_bytes(launch: Launch, tmp_path: Path) -> None:
    code, _, error = launch("whole").end()
    assert code == 0, error
    for step, number in [(20, signal.SIGTERM), (34, signal.SIGKILL)]:
        stopped = launch("stopped")
        stopped.reach(step)
        os.kill(stopped.process.pid if number == signal.SIGTERM else stopped.worker(rank=1), number)
        code, out, error = stopped.end()
        assert (code, out) == (1, "")
        assert error.count("train: error: ") == 1, error
        assert error.count("Traceback") == 1, f"torchrun's own, and no other: {error}"
        assert "stopped by SIGTERM" in error or "another process of this training ended" in error
        assert not stopped.model.exists()
        sealed = [path.parent for path in stopped.checkpoints.glob("*/checkpoint-*/COMPLETE.json")]
        assert all({"rng_state_0.pth", "rng_state_1.pth"} <= files_of(path) for path in sealed)
        steps = {int(path.name.split("-")[1]) for path in sealed}
        assert max(steps) >= 20, "SIGTERM lets the running step end and saves it"
    code, _, error = launch("stopped").end()
    assert code == 0, error
    assert "goes on at step" in error
    assert folders.verify(tmp_path / "stopped") == folders.verify(tmp_path / "whole")


def test_an_error_is_said_once(launch: Launch, tmp_path: Path) -> None:
    for params, words in [({"epochs": 0}, "train.epochs"), ({"freeze_layers": 3}, "2 layers")]:
        code, out, error = launch("model", **params).end()
        assert (code, out) == (1, "")
        assert error.count("train: error: ") == 1, error
        assert error.count(words) == 1, error
        assert "exitcode  : 2" in error
        assert not (tmp_path / "model").exists()


def _assert_figures_are_those_of_the_saved_model(folder: Path, manifest: folders.Manifest, splits: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    task, rows = get_task("single_label"), dataset.read_splits(splits)["validation"]
    labels = ["card", "login", "transfer"]
    tokens = AutoTokenizer.from_pretrained(folder)(
        rows["text"].tolist(), truncation=True, max_length=32, padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        logits = AutoModelForSequenceClassification.from_pretrained(folder).eval()(**tokens).logits
    targets = task.targets(rows, labels)
    found = task.metrics(targets, task.answers(logits.numpy(), UNCALIBRATED), labels)
    found["loss"] = float(task.loss(0.1, None)({"logits": logits}, torch.from_numpy(targets)))
    for name, value in found.items():
        assert manifest.figures[f"validation_{name}"] == pytest.approx(value, abs=1e-5), name
