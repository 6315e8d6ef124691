"""Runs of one step that several files test: pin and ingest on small files, data_quality on tiny rows, train for a few steps."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from components.quantize import step as quantize
from components.quantize.params import Params as QuantizeParams
from fineline.artifacts import folders
from fineline.rows.dataset import DATA, read_rows
from tests.components import quantizing
from tests.components.storages import Bucket, Website, git, serving
from tests.conftest import files_of, write_dataset

RunStep = Callable[..., tuple[int, str, str]]
Ingest = Callable[..., tuple[int, str, str]]

CSV = "text,label\nhello there,greeting\nbye now,farewell\n"
JSONL = '{"text": "hello there", "label": "greeting"}\n{"text": "bye now", "label": "farewell"}\n'
ROWS = [("hello there", "greeting"), ("bye now", "farewell")]
CARD = "4111 1111 1111 1111"
CALM = {"on_near_duplicates": "ignore", "on_label_errors": "ignore"}
"""Checks of data_quality that random words trigger; off where a test looks at another one."""

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
def train(run_step: RunStep, splits: Path, pretrained: Path, tmp_path: Path) -> Callable[..., folders.Manifest]:
    """train("out", epochs=2) trains on the tiny data into tmp_path/out, expects success, gives the manifest."""

    def run(name: str = "model", checkpoints: Path | None = None, **params: Any) -> folders.Manifest:
        paths = {"splits": splits, "model": tmp_path / name, **({"checkpoints": checkpoints} if checkpoints else {})}
        code, _, error = run_step("train", {"model": str(pretrained), **FAST, **params}, **paths)
        assert code == 0, error
        return folders.verify(tmp_path / name)

    return run


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket; every s3://bucket/... is in it."""
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed: pip install 'fineline[s3]'")
    with serving(Bucket()) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        s3fs.S3FileSystem.clear_instance_cache()
        yield running
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def website(monkeypatch: pytest.MonkeyPatch) -> Iterator[Website]:
    """A web server without files; `url` is its address."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(Website()) as running:
        yield running


@pytest.fixture
def dvc_repo(tmp_path: Path) -> Path:
    """A git repository with DVC: data.csv and folder/ in two versions, the tags v1 and v2, pushed to a local remote."""
    from dvc.repo import Repo

    path = tmp_path / "repo"
    path.mkdir()
    git(path, "init", "-q")
    with Repo.init(str(path)) as repo:
        with repo.config.edit() as config:
            config["remote"]["store"] = {"url": str(tmp_path / "store")}
            config["core"]["remote"] = "store"
        for version, text in (("v1", "hello there"), ("v2", "hello again")):
            write(path / "data.csv", CSV.replace("hello there", text))
            write(path / "folder" / "part.csv", CSV.replace("hello there", text))
            repo.add([str(path / "data.csv"), str(path / "folder")])
            git(path, "add", "-A")
            git(path, "commit", "-qm", version)
            git(path, "tag", version)
            repo.push()
    return path


@pytest.fixture
def ingest(run_step: RunStep, tmp_path: Path) -> Ingest:
    """ingest(source, **params) -> (exit code, stdout, stderr) of pin, and if that is good of ingest; the dataset is
    tmp_path / 'dataset'."""

    def call(source: Path | str, test_source: str = "", **params: Any) -> tuple[int, str, str]:
        version = tmp_path / "source_version"
        outcome = run_step("pin", {"source": str(source), "test_source": test_source}, source_version=version)
        if outcome[0]:
            return outcome
        return run_step("ingest", params, source_version=version, dataset=tmp_path / "dataset")

    return call


@pytest.fixture
def read(ingest: Ingest, tmp_path: Path) -> Callable[..., pd.DataFrame]:
    """read(source, **params) -> the rows of an ingest that must succeed and leave exactly the files it should."""

    def call(source: Path | str, **params: Any) -> pd.DataFrame:
        code, _out, err = ingest(source, **params)
        assert code == 0, err
        assert files_of(tmp_path / "dataset") == {"data.parquet", "quarantine.jsonl", "manifest.json", "run.json"}
        folders.verify(tmp_path / "dataset")
        return read_rows(tmp_path / "dataset" / DATA)

    return call


def pairs(rows: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(rows["text"], rows["label"], strict=True))


def quarantined(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()]


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def with_rows(rows: pd.DataFrame, *more: dict[str, Any]) -> pd.DataFrame:
    """`rows` and further ones; what a further row does not say, it has from the first."""
    first = rows.iloc[0].to_dict()
    added = [{**first, "id": f"extra{number}", **row} for number, row in enumerate(more)]
    return pd.concat([rows, pd.DataFrame(added)], ignore_index=True)


class Outcome:
    """What one run of data_quality left on disk."""

    def __init__(self, folder: Path, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err
        self.clean_folder, self.quality_folder = folder / "clean", folder / "quality"
        self.wrote_clean = self.clean_folder.exists()
        self.clean = pd.read_parquet(self.clean_folder / "data.parquet") if self.wrote_clean else None
        if self.quality_folder.exists():
            self.summary = json.loads((self.quality_folder / "quality.json").read_text())
            self.checks = {check["name"]: check for check in self.summary["checks"]}
            left = pd.read_parquet(self.quality_folder / "quarantine.parquet")
            self.left = dict(zip(left["id"], left["reason"], strict=True))
            self.report = (self.quality_folder / "report.html").read_text()


@pytest.fixture
def check(run_step: RunStep, tmp_path: Path) -> Callable[..., Outcome]:
    """check(rows, **params) -> Outcome of data_quality on these rows."""

    def run(rows: pd.DataFrame | Path, name: str = "run", **params: Any) -> Outcome:
        folder = tmp_path / name
        source = rows if isinstance(rows, Path) else write_dataset(folder / "dataset", rows, "ingest")
        paths = {"dataset": source, "clean": folder / "clean", "quality": folder / "quality"}
        return Outcome(folder, *run_step("data_quality", params, **paths))

    return run


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(fp32 bundle, splits) of the varied model."""
    return quantizing.inputs(tmp_path_factory.mktemp("plain"), 0.0)


@pytest.fixture(scope="session")
def exported_with_outlier(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same of one that loses much in int8."""
    return quantizing.inputs(tmp_path_factory.mktemp("outlier"), 2000.0)


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory, exported: tuple[Path, Path]) -> Path:
    """The bundle that quantize makes of `exported`: int8."""
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    params = QuantizeParams.model_validate(quantizing.QUICK)
    quantize.run(params=params, onnx=exported[0], splits=exported[1], bundle=folder)
    return folder
