"""train: it survives kills, preemption, a full disk and a dead tracking server, and gives the same bytes as without them."""

import csv
import json
import os
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

from components.train import checkpoints
from components.train.params import Params
from components.train.resources import exhaustion_explained
from components.train.saving import Writer, snapshot
from fineline.artifacts import folders
from fineline.process.errors import ResourceError
from tests.components.conftest import FAST, FILES, RunStep
from tests.conftest import PROJECT, files_of

pytestmark = pytest.mark.usefixtures("one_thread", "ready_store")


LEFT = {"FINISHED", folders.EVENTS, checkpoints.COMPLETE, checkpoints.STATE}


def left_in(kept: Path) -> set[str]:
    """Names of the files that a training that ended well leaves among its checkpoints, without their folders."""
    return {Path(name).name for name in files_of(kept)}


class Interrupted:
    """A real process that trains, and a signal at a chosen moment; then the same training again in this process."""

    def __init__(
        self,
        splits: Path,
        pretrained: Path,
        folder: Path,
        params: dict[str, Any],
        name: str = "interrupted",
        **env: str,
    ):
        self.kept = folder / "kept"
        self.model = folder / name
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
            env={**os.environ, "OMP_NUM_THREADS": "1", **env},
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
        events = folder / folders.EVENTS
        return events.is_file() and f'"step": {step},' in events.read_text()

    return reached


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"length_grouping": False, "method": "lora", "pooling": "mean"},
        {"eval_steps": 9, "early_stopping_patience": 0},
    ],
)
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
    weights = {"model.safetensors"} if "method" not in change else {"adapter_model.safetensors", "adapter_config.json"}
    described = {"config.json"} if "method" not in change else {"README.md"}
    assert left_in(interrupted.kept) == {*weights, *described, *LEFT}, "what only a training that goes on needs is gone"
    events = [json.loads(line) for line in (tmp_path / "interrupted" / "events.jsonl").read_text().splitlines()]
    assert sum(event["kind"] == "run" for event in events) == 1
    steps = [event["step"] for event in events if event["kind"] == "metrics"]
    assert steps == sorted(set(steps)), "a step was logged twice"


@pytest.mark.slow
def test_sigkill_at_random_moments_costs_the_steps_of_one_interval(
    train: Callable, splits: Path, pretrained: Path, tmp_path: Path
) -> None:
    interval = 0.1  # seconds; an epoch, which ends with a checkpoint of its own, takes longer on any machine
    params = {**FAST, "epochs": 12, "batch_size": 1, "dropout": 0.2, "logging_steps": 1, "save_minutes": interval / 60}
    whole = train("whole", **params)
    random = np.random.default_rng()
    done_twice, began_inside_an_epoch = [], 0
    for kill in range(6):  # at least two, and until one went on from inside an epoch, which two in three do
        interrupted = Interrupted(splits, pretrained, tmp_path, params)
        first, wait = 200 * kill + 50, random.uniform(0, 1.5 * interval)
        killed: list[float] = []

        def reached(folder: Path, first: int = first, wait: float = wait, killed: list[float] = killed) -> bool:
            if any(step >= first for step, _ in logged_steps(folder)):
                killed.append(time.monotonic())
            return bool(killed) and time.monotonic() - killed[0] >= wait

        interrupted.stop(reached, signal.SIGKILL)
        assert interrupted.process.returncode == -signal.SIGKILL
        steps = logged_steps(next(interrupted.kept.glob("[!.]*")))
        kept = max(
            int(path.name.split("-")[1])
            for folder in interrupted.kept.glob("[!.]*")
            if (path := checkpoints.last(folder)) is not None
        )
        last, when = steps[-1]
        lost = [(step, at) for step, at in steps if step > kept]
        done_twice.append(last - kept)
        began_inside_an_epoch += kept % 105 != 0
        # one interval, and as long as the write before it may have taken
        assert not lost or when - lost[0][1] < 3.0, f"{last - kept} steps are done twice"
        if kill and began_inside_an_epoch:
            break
    print(f"steps done twice: {done_twice}")
    assert began_inside_an_epoch, "the clock saved nothing"
    assert train("interrupted", checkpoints=interrupted.kept, **params) == whole


def logged_steps(folder: Path) -> list[tuple[int, float]]:
    """The steps in the journal, each with its time in seconds."""
    lines = (folder / folders.EVENTS).read_text().splitlines() if (folder / folders.EVENTS).is_file() else []
    events = [json.loads(line) for line in lines if line.endswith("}")]
    return [(event["step"], event["time"] / 1000) for event in events if event["kind"] == "metrics"]


@pytest.mark.slow
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
    assert folders.verify(tmp_path / "m") == whole


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


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
def test_when_the_clock_strikes_changes_no_byte(method: str, train: Callable, tmp_path: Path) -> None:
    params = {"epochs": 2, "batch_size": 2, "dropout": 0.2, "method": method}
    often, never = (
        train(name, checkpoints=tmp_path / f"{name}-kept", save_minutes=minutes, **params)
        for name, minutes in (("often", 1e-6), ("never", 1440))
    )
    assert often.files == never.files
    assert often.figures == never.figures


def test_checkpoints_of_other_inputs_are_not_taken(train: Callable, tmp_path: Path) -> None:
    base = checkpoints.key(
        splits="sha256:a", params={"epochs": 1}, pretrained={"model.safetensors": "x"}, precision="fp32"
    )
    assert base != checkpoints.key(
        splits="sha256:a", params={"epochs": 2}, pretrained={"model.safetensors": "x"}, precision="fp32"
    )
    (tmp_path / "kept" / base).mkdir(parents=True)
    train(checkpoints=tmp_path / "kept")
    folders = [path for path in (tmp_path / "kept").iterdir() if path.is_dir()]
    assert len(folders) == 2
    assert not any((tmp_path / "kept" / base).iterdir()), "another training's folder was touched"


def test_the_run_in_mlflow(train: Callable, splits: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    manifest = train(epochs=2)
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    run = client.get_run(folders.read_run_id(tmp_path / "model"))
    data = folders.read_manifest(splits)
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

    from fineline.tracking.journal import Journal

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
    assert folders.read_run_id(tmp_path / "dead") == ""

    monkeypatch.setenv("MLFLOW_TRACKING_URI", alive)
    assert train("alive").digest == folders.verify(tmp_path / "dead").digest
    journal = Journal(tmp_path / "dead" / folders.EVENTS)
    assert journal.send()
    client = MlflowClient(alive)
    late, live = (client.get_run(i) for i in (journal.run_id, folders.read_run_id(tmp_path / "alive")))
    assert late.info.run_id != live.info.run_id
    assert late.info.status == "FINISHED"
    assert late.data.metrics == live.data.metrics
    assert late.data.params == live.data.params


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


def test_a_checkpoint_that_finds_no_room_costs_one_line(small_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    writer = Writer(small_disk / "kept", lambda: None)
    writer.start(1, lambda folder: torch.save(torch.ones(10_000), folder / "optimizer.pt"), keep=1)
    writer.start(2, lambda folder: torch.save(torch.ones(100_000), folder / "optimizer.pt"), keep=2)
    writer.wait()
    assert not writer.busy
    assert capsys.readouterr().err == "train: no checkpoint of step 2: the disk is full; the one before it stays\n"
    assert checkpoints.last(small_disk / "kept") == checkpoints.at(small_disk / "kept", 1)
    writer.start(3, lambda folder: torch.save(torch.ones(10_001), folder / "optimizer.pt"), keep=3)
    writer.close()
    assert {path.name for path in (small_disk / "kept").iterdir()} == {"checkpoint-3"}


def test_a_bug_while_saving_is_no_full_disk(tmp_path: Path) -> None:
    def write(_: Path) -> None:
        raise RuntimeError("shapes do not fit")

    writer = Writer(tmp_path, lambda: None)
    writer.start(1, write, keep=1)
    with pytest.raises(RuntimeError, match="shapes"):
        writer.close()


def test_a_snapshot_stays_as_it_was() -> None:
    import torch

    weight = torch.ones(3)
    parts = {"a": weight, "tied": weight.detach(), "list": [weight, 1], "text": "x"}
    copied = snapshot(parts)
    weight.zero_()
    assert copied["a"].tolist() == copied["list"][0].tolist() == [1, 1, 1]
    assert copied["tied"].data_ptr() == copied["a"].data_ptr(), "tied weights are written once"
