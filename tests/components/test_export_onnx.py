"""export_onnx: the bundle answers as PyTorch does for every batch and length, or there is no bundle."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.export_onnx import graph, parity
from components.export_onnx.params import Params
from components.export_onnx.step import run
from fineline.artifacts import folders
from fineline.bundles.bundle import embeddings, open_bundle, self_test
from fineline.process.errors import DataRejected, UsageError
from fineline.rows import dataset
from fineline.tasks import get_task
from tests.conftest import PROJECT, files_of

RunStep = Callable[..., tuple[int, str, str]]
TASK = get_task("single_label")
FILES = {"model.onnx", "tokenizer.json", "bundle.json", "parity.json", "manifest.json", "run.json"}
OUTPUTS = {"logits": ["batch", 3], "sentence_embedding": ["batch", 32]}


@pytest.fixture(scope="module")
def onnx(tmp_path_factory: pytest.TempPathFactory, model: Path, splits: Path) -> Path:
    folder = tmp_path_factory.mktemp("onnx") / "onnx"
    run(params=Params(), model=model, splits=splits, onnx=folder)
    return folder


def model_artifact(folder: Path, splits: Path, task: str = "single_label") -> Path:
    """Turns a Hugging Face folder of the tiny classifier into a model artifact."""
    labels = ["card", "login", "transfer"]
    folders.write_json(folder / "model.json", {"task": task, "labels": labels, "max_length": 32, "precision": "fp32"})
    folders.write_manifest(folder, step="train", kind="model", params={}, inputs={"splits": splits}, figures={})
    return folder


def test_writes_a_bundle_and_its_parity(onnx: Path, model: Path, splits: Path) -> None:
    assert files_of(onnx) == FILES
    manifest = folders.verify(onnx)
    assert (manifest.step, manifest.kind, manifest.task) == ("export_onnx", "bundle", "single_label")
    assert set(manifest.inputs) == {"model", "splits"}
    assert set(manifest.files) == FILES - {"manifest.json", "run.json"}
    assert manifest.figures["texts"] == 64
    assert manifest.figures["bytes"] == (onnx / "model.onnx").stat().st_size
    config = json.loads((onnx / "bundle.json").read_text())
    assert {name: config[name] for name in config if name != "golden"} == {
        "task": "single_label",
        "labels": ["card", "login", "transfer"],
        "max_length": 32,
        "temperature": 1.0,
        "precision": "fp32",
        "inputs": ["input_ids", "attention_mask"],
        "pad_token_id": 0,
        "windowing": None,
        "thresholds": None,
        "golden_tolerance": 0.001,
    }
    assert np.array(config["golden"]).shape == (5, 3)
    found = json.loads((onnx / "parity.json").read_text())
    assert 0 < found["max_difference"] < 1e-4
    assert found["predictions_changed"] == {"alone": 0, "padded": 0}
    assert found["texts_with_other_tokens"] == 0
    assert found["texts"] == {"all": 64, "validation": 22, "train": 42, "test": 0, "prefixes": 0}
    assert found["tokens"]["lengths"] > 8
    assert (onnx / "tokenizer.json").read_bytes() == (model / "tokenizer.json").read_bytes()
    self_test(open_bundle(onnx))


def test_graph_has_named_dynamic_axes_and_names_no_place(onnx: Path) -> None:
    import onnx as onnx_package

    loaded = onnx_package.load(onnx / "model.onnx")
    onnx_package.checker.check_model(loaded)
    shapes = {
        value.name: [dimension.dim_param or dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in [*loaded.graph.input, *loaded.graph.output]
    }
    assert shapes == {"input_ids": ["batch", "length"], "attention_mask": ["batch", "length"], **OUTPUTS}
    assert [entry.version for entry in loaded.opset_import if entry.domain == ""] == [20]
    content = (onnx / "model.onnx").read_bytes()
    for place in (str(PROJECT), "site-packages", ".py", "+cpu"):
        assert place.encode() not in content


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("length", [1, 2, 17, 32, 64])
def test_every_batch_and_length_answers_as_pytorch(onnx: Path, model: Path, batch: int, length: int) -> None:
    import torch

    rng = np.random.default_rng(length)
    ids = rng.integers(5, 60, (batch, length))
    mask = np.ones_like(ids)
    mask[-1, max(1, length // 2) :] = 0
    found = open_bundle(onnx, threads=1).session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]
    with torch.inference_mode():
        trained = TASK.load_model(model, ["card", "login", "transfer"]).eval()
        expected = trained(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask)).logits.numpy()
    assert found.shape == (batch, 3)
    assert np.abs(found - expected).max() < 1e-4


@pytest.mark.parametrize("pooling", ["model", "mean"])
def test_the_embedding_is_what_the_head_reads(model: Path, splits: Path, tmp_path: Path, pooling: str) -> None:
    """PyTorch's own linear head, given the graph's embedding, gives PyTorch's own logits."""
    import torch
    from transformers import AutoTokenizer

    source = shutil.copytree(model, tmp_path / "model")
    TASK.load_pretrained(model, ["card", "login", "transfer"], pooling=pooling)[0].save_pretrained(source)
    run(params=Params(), model=model_artifact(source, splits), splits=splits, onnx=tmp_path / "onnx")
    texts = dataset.read_rows(splits / "test.parquet")["text"].tolist()
    bundle = open_bundle(tmp_path / "onnx")
    embedding, found = embeddings(bundle, bundle.tokenizer.encode_batch(texts))
    assert embedding.shape == (len(texts), 32)
    assert embedding.dtype == found.dtype == np.float32
    trained = TASK.load_model(source, ["card", "login", "transfer"]).eval()
    with torch.inference_mode():
        inputs = AutoTokenizer.from_pretrained(model)(
            texts, truncation=True, max_length=32, padding=True, return_tensors="pt"
        )
        expected = trained(**inputs).logits.numpy()
        of_the_head = trained.classifier(torch.tensor(embedding)).numpy()
    assert np.abs(found - expected).max() < 1e-4
    assert np.abs(of_the_head - expected).max() < 1e-4
    assert np.ptp(of_the_head, axis=0).max() > 1e-3


def test_a_head_that_reads_no_single_vector_is_refused(model: Path, tmp_path: Path) -> None:
    import torch

    class Summed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = TASK.load_model(model, ["card", "login", "transfer"]).eval()

        def set_attn_implementation(self, name: str) -> None:
            self.inner.set_attn_implementation(name)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return self.inner(input_ids=input_ids, attention_mask=attention_mask).logits.tanh()

    with pytest.raises(UsageError, match="the model's head ends in Tanh, not in a linear layer"):
        graph.export(Summed(), TASK, ["input_ids", "attention_mask"], 20, tmp_path)


def test_export_again_gives_the_same_bytes(onnx: Path, model: Path, splits: Path, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(model, tmp_path / "elsewhere" / "model")
    run(params=Params(), model=elsewhere, splits=splits, onnx=tmp_path / "again")
    assert folders.read_manifest(tmp_path / "again") == folders.read_manifest(onnx)


def test_mean_pooled_model_with_token_types(model: Path, splits: Path, tmp_path: Path) -> None:
    source = shutil.copytree(model, tmp_path / "model")
    TASK.load_pretrained(model, ["card", "login", "transfer"], pooling="mean")[0].save_pretrained(source)
    settings = json.loads((source / "tokenizer_config.json").read_text())
    settings["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    (source / "tokenizer_config.json").write_text(json.dumps(settings))
    run(params=Params(), model=model_artifact(source, splits), splits=splits, onnx=tmp_path / "onnx")
    bundle = open_bundle(tmp_path / "onnx")
    assert bundle.config["inputs"] == ["input_ids", "attention_mask", "token_type_ids"]
    assert {value.name for value in bundle.session.get_inputs()} == set(bundle.config["inputs"])


def test_parity_failure_is_exit_5_without_output(run_step: RunStep, model: Path, splits: Path, tmp_path: Path) -> None:
    target = tmp_path / "onnx"
    code, out, err = run_step("export_onnx", {"max_difference": 1e-12}, model=model, splits=splits, onnx=target)
    assert code == 5
    assert not out
    assert "does not answer as PyTorch does" in err
    assert "bound 1e-12" in err
    assert "Traceback" not in err
    assert not target.exists()
    assert {path.name for path in tmp_path.iterdir()} <= {".onnx.lock", "mlflow.db"}


def test_another_graph_is_found_out(onnx: Path, model: Path, splits: Path, tmp_path: Path) -> None:
    """The bundle of one model, compared with another whose weights differ a little, then with another tokenizer."""
    import torch
    from transformers import AutoTokenizer

    trained = TASK.load_model(model, ["card", "login", "transfer"]).eval()
    tokenizer = AutoTokenizer.from_pretrained(model)
    texts = dataset.read_rows(splits / "validation.parquet")["text"].tolist()
    bundle = open_bundle(onnx)
    answers = parity.bundle_answers(bundle, texts)
    same = parity.compare(TASK, parity.torch_answers(trained, tokenizer, bundle.config["inputs"], texts, 32), answers)
    assert same["max_difference"] < 1e-4
    with torch.no_grad():
        trained.classifier.bias[0] += 0.01
    other = parity.compare(TASK, parity.torch_answers(trained, tokenizer, bundle.config["inputs"], texts, 32), answers)
    assert other["max_difference"] == pytest.approx(0.01, abs=1e-4)
    shorter = parity.torch_answers(trained, tokenizer, bundle.config["inputs"], texts, 8)
    cut = parity.compare(TASK, shorter, answers)
    assert cut["texts_with_other_tokens"] == sum(len(ids) > 8 for ids in answers[0]) > 0


def test_a_logit_that_is_no_number_is_no_parity() -> None:
    logits = np.zeros((2, 3), dtype=np.float32)
    broken = logits.copy()
    broken[1, 2] = np.nan
    found = parity.compare(TASK, ([[1], [2]], logits, logits), ([[1], [2]], logits, broken))
    assert found["max_difference"] == math.inf


def test_few_rows_are_made_up_by_their_beginnings(rows: pd.DataFrame) -> None:
    texts = rows["text"].tolist()
    chosen = parity.choose_texts({"validation": texts[:3], "train": texts[3:17], "test": texts[17:20]}, 64)
    assert {name: len(part) for name, part in chosen.items()} == {
        "validation": 3,
        "train": 14,
        "test": 3,
        "prefixes": 44,
    }
    assert all(any(text.startswith(prefix) for text in texts[:20]) for prefix in chosen["prefixes"])
    assert len({len(prefix) for prefix in chosen["prefixes"]}) > 20


def test_texts_are_distinct_and_of_all_lengths() -> None:
    pools = {"validation": ["a" * n for n in range(1, 11)] * 2, "train": ["b" * n for n in range(1, 101)]}
    chosen = parity.choose_texts(pools, 20)
    assert sorted(map(len, chosen["validation"])) == list(range(1, 11))
    assert [len(text) for text in chosen["train"]] == [1, 12, 23, 34, 45, 56, 67, 78, 89, 100]
    assert chosen["prefixes"] == []
    with pytest.raises(DataRejected, match="hold 2 different texts"):
        parity.choose_texts({"validation": ["a", "b"]}, 64)


def test_padded_batches_hold_every_text_once_and_mix_lengths() -> None:
    texts = ["x" * n for n in range(1, 65)]
    batches = parity.padded_batches(texts)
    assert sorted(i for batch in batches for i in batch) == list(range(64))
    assert all(len(batch) <= 16 for batch in batches)
    assert all(len(texts[max(batch)]) > 4 * len(texts[min(batch)]) for batch in batches)


def test_weights_too_large_for_one_file_go_beside_the_graph(model: Path, onnx: Path, tmp_path: Path) -> None:
    trained = TASK.load_model(model, ["card", "login", "transfer"]).eval()
    graph.export(trained, TASK, ["input_ids", "attention_mask"], 20, tmp_path, one_file_bytes=1000)
    assert files_of(tmp_path) == {"model.onnx", "model.onnx.data"}
    for name in ("tokenizer.json", "bundle.json"):
        shutil.copy(onnx / name, tmp_path / name)
    self_test(open_bundle(tmp_path))


@pytest.mark.parametrize(
    ("change", "params", "code", "words"),
    [
        ("no model", {}, 2, "does not exist"),
        ("splits as model", {}, 2, "is a splits, not a trained model"),
        ("changed weights", {}, 2, "model.safetensors was changed after it was made"),
        ("pickle", {}, 2, "holds its weights as a pickle (pytorch_model.bin)"),
        ("no padding token", {}, 2, "has no padding token"),
        ("no splits", {}, 2, "does not exist"),
        ("", {"parity_texts": 63, "opset": 12, "tolerance": 1}, 2, "3 parameters are wrong"),
        ("", {"max_difference": 0}, 2, "greater than 0"),
    ],
)
def test_bad_input(
    change: str, params: dict, code: int, words: str, model: Path, splits: Path, tmp_path: Path, run_step: RunStep
) -> None:
    source = shutil.copytree(model, tmp_path / "model")
    if change == "no model":
        shutil.rmtree(source)
    elif change == "splits as model":
        source = splits
    elif change == "changed weights":
        weights = bytearray((source / "model.safetensors").read_bytes())
        weights[-1] ^= 1
        (source / "model.safetensors").write_bytes(weights)
    elif change == "pickle":
        (source / "model.safetensors").rename(source / "pytorch_model.bin")
        model_artifact(source, splits)
    elif change == "no padding token":
        settings = json.loads((source / "tokenizer_config.json").read_text())
        del settings["pad_token"]
        (source / "tokenizer_config.json").write_text(json.dumps(settings))
        model_artifact(source, splits)
    given = tmp_path / "none" if change == "no splits" else splits
    found, out, err = run_step("export_onnx", params, model=source, splits=given, onnx=tmp_path / "onnx")
    assert (found, out) == (code, "")
    assert words in err
    assert "Traceback" not in err
    assert not (tmp_path / "onnx").exists()
