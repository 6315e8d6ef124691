"""Tiny real things to test on: a random BERT of 2 layers with its own tokenizer, 150 rows in 3 classes, splits of them."""

import importlib
import inspect
import json
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import settings

from fineline.artifacts import folders
from fineline.process import patience
from fineline.rows import dataset
from fineline.steps import command_line
from fineline.tasks import get_task

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
# A shell starts jobs in the background with SIGINT ignored, and the programs that the tests interrupt would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# kfp asks for a caller's name each time that a component is used. With the lines of source, which come by default, a pipeline
# takes 8 s to compile where thousands of modules are imported, and 0.1 s without.
inspect.stack = lambda context=0: inspect.getouterframes(sys._getframe(1), context)


def pytest_xdist_auto_num_workers() -> int:
    """For `-n auto`: one more than cores, as tests wait for servers, other processes and clocks a third of their time."""
    return (os.cpu_count() or 1) + 1


settings.register_profile("fineline", deadline=None, derandomize=True, database=None)  # the same examples each time
settings.load_profile("fineline")

PROJECT = Path(__file__).parents[1]
REAL_DATA = PROJECT.parent / "shared" / "data"

_WORDS = {
    "card": "card plastic pin chip contactless wallet till machine declined blocked lost expired".split(),
    "transfer": "transfer payment sent recipient iban standing order pending reference beneficiary wire".split(),
    "login": "password login passcode app locked phone code face screen reset username device".split(),
}
_FILLERS = "please my the today yesterday still not why is was help you again since monday with for and account".split()


@pytest.fixture(autouse=True)
def isolated_tracking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has a tracking store of its own, and none of the machine's tracking settings."""
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not answer is not tried again, but where a test asks for it."""
    monkeypatch.setattr(patience, "WAITS", ())


def make_rows(count: int = 150, seed: int = 0) -> pd.DataFrame:
    """`count` distinct rows with columns id, text, label, channel; three classes that words give away."""
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        label = sorted(_WORDS)[number % 3]
        words = rng.sample(_WORDS[label], rng.randint(2, 5)) + rng.sample(_FILLERS, rng.randint(2, 12))
        rng.shuffle(words)
        rows.append(
            {"id": f"r{number}", "text": " ".join(words), "label": label, "channel": "app" if number % 2 else "mail"}
        )
    return pd.DataFrame(rows)


def write_dataset(folder: Path, rows: pd.DataFrame, step_name: str = "data_quality") -> Path:
    """A dataset folder with its manifest, as ingest or data_quality leave it."""
    task = get_task("single_label")
    optional = [name for name in ("group", "annotators", "time", "split", "parent_id") if name in rows]
    keep = [name for name in rows if name not in ("id", "text", "label", *optional)]
    folder.mkdir(parents=True)
    dataset.write_rows(rows, folder / dataset.DATA, dataset.schema(task, optional, keep))
    folders.write_manifest(
        folder, step=step_name, kind="dataset", params={}, inputs={}, figures={"rows": len(rows)}, task=task.name
    )
    return folder


def write_splits(folder: Path, rows: pd.DataFrame) -> Path:
    """A splits folder (70 : 15 : 15 in order) with its manifest, as split leaves it."""
    folder.mkdir(parents=True)
    ends = int(len(rows) * 0.7), int(len(rows) * 0.85)
    for name, part in zip(dataset.SPLITS, (rows[: ends[0]], rows[ends[0] : ends[1]], rows[ends[1] :]), strict=True):
        dataset.write_rows(part.reset_index(drop=True), folder / f"{name}.parquet")
    folders.write_json(folder / "split.json", {})
    folders.write_manifest(
        folder, step="split", kind="splits", params={}, inputs={}, figures={"rows": len(rows)}, task="single_label"
    )
    return folder


def write_model(folder: Path, max_length: int = 32, head: str = "single_label", labels: tuple[str, ...] = ()) -> Path:
    """A Hugging Face folder of a random BERT (2 layers, 32 wide) with a WordPiece tokenizer of the tiny rows' words.

    `head` is 'single_label' (a classifier over `labels`), 'masked_lm', or 'none' (encoder only, as pretrained models are).
    """
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import (
        BertConfig,
        BertForMaskedLM,
        BertForSequenceClassification,
        BertModel,
        PreTrainedTokenizerFast,
    )

    words = sorted({word for group in _WORDS.values() for word in group} | set(_FILLERS))
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters)]
    vocabulary += [word for word in words if word not in vocabulary]
    index = {token: i for i, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(index, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", index["[CLS]"]), ("[SEP]", index["[SEP]"])]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
    )
    sizes = {"vocab_size": len(vocabulary), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BertConfig(**sizes, intermediate_size=64, max_position_embeddings=64)
    torch.manual_seed(0)
    if head == "masked_lm":
        model = BertForMaskedLM(config)
    elif head == "none":
        model = BertModel(config)
    else:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: i for i, label in enumerate(labels)}
        model = BertForSequenceClassification(config)
        with torch.no_grad():
            model.classifier.weight.mul_(50)  # a random head is nearly undecided; predictions should be clear
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def rows() -> pd.DataFrame:
    return make_rows()


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretrained encoder without a head, for `train.model`."""
    return write_model(tmp_path_factory.mktemp("pretrained") / "tiny", head="none")


@pytest.fixture(scope="session")
def splits(tmp_path_factory: pytest.TempPathFactory, rows: pd.DataFrame) -> Path:
    return write_splits(tmp_path_factory.mktemp("splits") / "splits", rows)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, splits: Path) -> Path:
    """A model artifact as train leaves it, with random weights."""
    folder = write_model(tmp_path_factory.mktemp("model") / "model", labels=tuple(sorted(_WORDS)))
    folders.write_json(
        folder / "model.json", {"task": "single_label", "labels": sorted(_WORDS), "max_length": 32, "precision": "fp32"}
    )
    folders.write_manifest(
        folder,
        step="train",
        kind="model",
        params={"model": "tiny"},
        inputs={"splits": splits},
        figures={"macro_f1": 0.5},
    )
    return folder


def make_bundle(folder: Path, model: Path, splits: Path) -> Path:
    """The bundle that ships of `model`, exported and quantized by the steps themselves."""
    from components.export_onnx import params as export_params
    from components.export_onnx import step as export_onnx
    from components.quantize import params as quantize_params
    from components.quantize import step as quantize

    export_onnx.run(params=export_params.Params(), model=model, splits=splits, onnx=folder / "onnx")
    quantize.run(
        params=quantize_params.Params(select="smallest"), onnx=folder / "onnx", splits=splits, bundle=folder / "bundle"
    )
    return folder / "bundle"


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, model: Path, splits: Path) -> Path:
    """The bundle of `model`: the smallest candidate that keeps its predictions."""
    return make_bundle(tmp_path_factory.mktemp("bundle"), model, splits)


@pytest.fixture(scope="session")
def fp32(bundle: Path) -> Path:
    """The bundle before its quantization, which runs texts in batches."""
    return bundle.parent / "onnx"


@pytest.fixture
def run_step(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """run_step("split", {"test_share": 0.2}, dataset=folder, splits=folder) -> (exit code, stdout, stderr), in this process."""

    def run(name: str, params: dict, **paths: Path) -> tuple[int, str, str]:
        module = importlib.import_module(f"components.{name}.__main__")
        flags = [part for flag, path in paths.items() for part in (f"--{flag}", str(path))]
        capfd.readouterr()
        code = command_line.main(module.STEP, [*flags, "--params", json.dumps(params)])
        output = capfd.readouterr()
        return code, output.out, output.err

    return run


def files_of(folder: Path) -> set[str]:
    """Names of all files below `folder`, to compare with the exact set a step should leave."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
