"""Every kind of model from train to evaluate: it ships, or train refuses it before its first step with the way out.

Each is tiny, random, and has a tokenizer of its own kind, trained on the tiny rows. What was found is recorded in
docs/architectures.json, of which docs/generate.py makes a table; UPDATE_ARCHITECTURES=1 records anew.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fineline.artifacts import folders
from fineline.bundles.bundle import logits, open_bundle
from fineline.rows import dataset
from tests.components.conftest import FAST, RunStep
from tests.components.test_train import weights
from tests.components.test_train_models import LABELS, SMALL
from tests.components.test_train_shipping import SIZES
from tests.conftest import PROJECT, make_rows

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread", "ready_store")]

RECORD = PROJECT / "docs" / "architectures.json"
SHIPS = "ships"
GROUPED = {**SMALL, "num_key_value_heads": 1, "head_dim": 16}  # as Llama 3 and Qwen: queries share keys and values
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("BertTokenizer", SIZES["bert"]),
    "distilbert": ("DistilBertTokenizer", SIZES["distilbert"]),
    "electra": ("ElectraTokenizer", SIZES["electra"]),
    "mpnet": ("MPNetTokenizer", SIZES["mpnet"]),
    "roberta": ("RobertaTokenizer", SIZES["roberta"]),
    "xlm-roberta": ("XLMRobertaTokenizer", SIZES["xlm-roberta"]),
    "albert": ("AlbertTokenizer", SIZES["albert"]),
    "deberta-v2": ("DebertaV2Tokenizer", SIZES["deberta-v2"]),
    "modernbert": ("RobertaTokenizer", SIZES["modernbert"]),
    "big_bird": ("BigBirdTokenizer", {**SIZES["big_bird"], "attention_type": "original_full"}),
    "longformer": ("RobertaTokenizer", SIZES["longformer"]),
    "xlnet": ("XLNetTokenizer", SIZES["xlnet"]),
    "t5": ("T5Tokenizer", {**SIZES["t5"], "feed_forward_proj": "gated-gelu"}),
    "gpt2": ("GPT2Tokenizer", SIZES["gpt2"]),
    "llama": ("LlamaTokenizer", GROUPED),
    "qwen2": ("Qwen2Tokenizer", GROUPED),
    "qwen3": ("Qwen2Tokenizer", GROUPED),
}
METHODS: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {"method": "lora", "lora_r": 4},
    "frozen": {"freeze_embeddings": True, "freeze_layers": 1},
}
DECODERS = ("gpt2", "llama", "qwen2", "qwen3")
SHORT = {**FAST, "max_length": 48, "batch_size": 16, "learning_rate": 1e-3, "epochs": 1, "dropout": "auto"}
QUICK = {"speed_texts": 10, "speed_rounds": 1, "select": "smallest", "max_changed_share": 1, "max_metric_drop": 1}


def as_published(family: str) -> Any:
    """The tokenizer of `family`, trained on the tiny rows."""
    import transformers

    empty = getattr(transformers, ARCHITECTURES[family][0])()
    tokenizer = empty.train_new_from_iterator(make_rows()["text"].tolist(), 300)
    tokenizer.model_max_length = 64
    return tokenizer


def usable(tokenizer: Any) -> bool:
    return tokenizer.pad_token is not None and bool(tokenizer("")["input_ids"])


def mended(tokenizer: Any) -> Any:
    """`tokenizer` as train's hints ask: with a token to pad with, and one that ends each text."""
    from tokenizers.processors import TemplateProcessing

    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if not tokenizer("")["input_ids"]:
        end = tokenizer.eos_token
        special = [(end, tokenizer.convert_tokens_to_ids(end))]
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"$A {end}", special_tokens=special)
    return tokenizer


def write(folder: Path, family: str, tokenizer: Any) -> Path:
    """A classifier of `family` with `tokenizer` and random weights, ten times as large as usual: its answers differ."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification
    from transformers.pytorch_utils import Conv1D

    names = ("pad", "bos", "eos", "cls", "sep")
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in names}
    special = {name: token for name, token in special.items() if token is not None}
    config = AutoConfig.for_model(
        family,
        vocab_size=len(tokenizer),
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
        **special,
        **ARCHITECTURES[family][1],
    )
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.Linear | Conv1D):
                module.weight.mul_(10)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class Kind:
    """One kind of model, and the steps that are tried on it."""

    def __init__(self, family: str, run_step: RunStep, splits: Path, folder: Path):
        self.family, self.run_step, self.splits, self.folder = family, run_step, splits, folder

    def train(self, name: str, pretrained: Path, **params: Any) -> str:
        """SHIPS, or what train's refusal says to do."""
        settings = {**SHORT, "model": str(pretrained), **params}
        code, _, error = self.run_step("train", settings, splits=self.splits, model=self.folder / name)
        assert code in (0, 2), error
        assert "Traceback" not in error
        if code == 0:
            return SHIPS
        assert "epoch" not in error, "it trained before it was refused"
        what, hint = error.strip().splitlines()[-2:]
        told = f"{what.partition('error: ')[2]}: {hint.partition('to mend it: ')[2]}"
        return told.replace(pretrained.name, "it").replace(self.family, "model")

    def ship(self, name: str) -> None:
        """Takes the model to its report; what is proven equal is not equal because it says the same to every text."""
        model, onnx, bundle = (self.folder / part for part in (name, f"{name}-onnx", f"{name}-bundle"))
        self.step("export_onnx", {}, model=model, splits=self.splits, onnx=onnx)
        self.step("quantize", QUICK, onnx=onnx, splits=self.splits, bundle=bundle)
        report = self.folder / f"{name}-report"
        self.step("evaluate", {"bootstrap": 100}, model=model, bundle=bundle, splits=self.splits, report=report)
        texts = dataset.read_splits(self.splits)["test"]["text"].tolist()
        found = logits(open_bundle(onnx, threads=1), texts)
        spread = found.std(axis=0).max()
        assert spread > 0.01, "it answers all texts alike"
        assert folders.verify(onnx).figures["max_difference"] < spread / 1000
        assert np.isfinite(logits(open_bundle(bundle, threads=1), texts)).all()

    def step(self, name: str, params: dict[str, Any], **paths: Path) -> None:
        code, _, error = self.run_step(name, params, **paths)
        assert code == 0, f"{name}: {error}"

    def shapes(self, name: str) -> dict[str, tuple[int, ...]]:
        return {weight: array.shape for weight, array in weights(self.folder / name).items()}


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_a_kind_ships_or_is_refused_before_its_first_step(
    family: str, run_step: RunStep, splits: Path, tmp_path: Path
) -> None:
    kind = Kind(family, run_step, splits, tmp_path)
    tokenizer = as_published(family)
    found = {"tokenizer": ""}
    if not usable(tokenizer):
        found["tokenizer"] = kind.train("published", write(tmp_path / "published-it", family, tokenizer))
        assert found["tokenizer"] != SHIPS
        tokenizer = mended(tokenizer)
    pretrained = write(tmp_path / f"{family}-it", family, tokenizer)
    for pooling in ("auto", "mean"):
        for method, params in METHODS.items():
            name = f"{pooling} {method}"
            found[name] = kind.train(name, pretrained, pooling=pooling, **params)
            found["tokenizer"] = found["tokenizer"] or found[name]
        full, *others = (f"{pooling} {method}" for method in METHODS)
        if found[full] == SHIPS:
            kind.ship(full)
            assert all(kind.shapes(name) == kind.shapes(full) for name in others if found[name] == SHIPS), (
                "they are exported as the full one"
            )
    if family in DECODERS:
        tokenizer.padding_side = tokenizer.truncation_side = {"left": "right", "right": "left"}[tokenizer.padding_side]
        tokenizer.save_pretrained(pretrained)
        kind.train("side", pretrained)
        other, first = (weights(tmp_path / name) for name in ("side", "auto full"))
        assert all(np.array_equal(array, other[name]) for name, array in first.items()), (
            "the side is none of the model's"
        )
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}
    if os.environ.get("UPDATE_ARCHITECTURES"):
        record[family] = found
        ordered = {name: record[name] for name in ARCHITECTURES if name in record}
        RECORD.write_text(json.dumps(ordered, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    assert record.get(family) == found, "UPDATE_ARCHITECTURES=1 records what is true now"
