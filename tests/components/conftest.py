"""Trainings of a few steps on the tiny model, for the tests of train."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fineline import artifacts

RunStep = Callable[..., tuple[int, str, str]]

FILES = {
    *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
    *("model.json", "curves.csv", "manifest.json", "run.json", "events.jsonl"),
}
FAST = {"max_length": 32, "epochs": 1, "batch_size": 8, "learning_rate": 3e-3, "dropout": 0.0, "precision": "fp32"}
STEPS_PER_EPOCH = 14  # 105 training rows in batches of 8


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Threads cost more than they bring on a model this small; and sums then do not depend on the machine's cores."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty tracking database: making one takes seconds, copying it none."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def ready_store(isolated_tracking: None, empty_store: Path, tmp_path: Path) -> None:
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")


@pytest.fixture
def train(run_step: RunStep, splits: Path, pretrained: Path, tmp_path: Path) -> Callable[..., artifacts.Manifest]:
    """train("out", epochs=2) trains on the tiny data into tmp_path/out, expects success, gives the manifest."""

    def run(name: str = "model", checkpoints: Path | None = None, **params: Any) -> artifacts.Manifest:
        paths = {"splits": splits, "model": tmp_path / name, **({"checkpoints": checkpoints} if checkpoints else {})}
        code, _, error = run_step("train", {"model": str(pretrained), **FAST, **params}, **paths)
        assert code == 0, error
        return artifacts.verify(tmp_path / name)

    return run
