"""train refuses before its first step what export_onnx would refuse after it; what it lets pass becomes a bundle."""

import json
from pathlib import Path
from typing import Any

import pytest

from components.export_onnx import graph
from components.train import network, shipping
from fineline.artifacts import folders
from fineline.pretrained.mean_pooled import CLASSES
from fineline.process.errors import UsageError
from fineline.tasks import get_task
from tests.components.conftest import FAST, RunStep
from tests.components.test_train_models import FAMILIES, SMALL, write_family

pytestmark = pytest.mark.usefixtures("one_thread", "ready_store")

TASK = get_task("single_label")
SIZES: dict[str, dict[str, Any]] = {
    **FAMILIES,
    **dict.fromkeys(("bert", "llama", "opt"), SMALL),
    "albert": {**SMALL, "embedding_size": 16},
    "camembert": FAMILIES["roberta"],
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "big_bird": {**SMALL, "block_size": 16, "num_random_blocks": 1, "max_position_embeddings": 512},
    "longformer": {**FAMILIES["roberta"], "attention_window": [8, 8]},
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64},
    "funnel": {"d_model": 32, "n_head": 2, "d_head": 16, "d_inner": 64, "block_sizes": [1, 1]},
    "bart": {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2},
    "convbert": {**SMALL, "embedding_size": 16},
}


def classifier(family: str, pooling: str = "model") -> Any:
    """A random classifier of `family` over three labels."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    special = {"pad_token_id": 0, "bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3}
    config = AutoConfig.for_model(family, vocab_size=100, num_labels=3, **special, **SIZES[family])
    config.pooling = pooling
    torch.manual_seed(0)
    made = CLASSES[pooling](config) if pooling in CLASSES else AutoModelForSequenceClassification.from_config(config)
    return made.eval()


@pytest.mark.parametrize("family", sorted(shipping.DO_NOT_SHIP))
def test_a_kind_that_cannot_be_exported_is_refused(family: str) -> None:
    with pytest.raises(UsageError, match=f"cannot export a {family}: the trained model could not ship") as refused:
        shipping.check(classifier(family))
    assert "BigBird" in refused.value.hint


@pytest.mark.parametrize("family", ["gpt2", "llama", "opt"])
def test_a_decoder_does_not_ship_with_its_own_head(family: str) -> None:
    with pytest.raises(UsageError, match=f"a {family} whose own head reads the last token") as refused:
        shipping.check(classifier(family))
    assert refused.value.hint == "set train.pooling: last, or mean"
    for pooling in CLASSES:
        shipping.check(classifier(family, pooling))


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_an_encoder_with_a_decoder_has_its_own_head_only(family: str) -> None:
    with pytest.raises(UsageError, match=f"a {family} reads a text with its encoder and its decoder") as refused:
        shipping.check(classifier(family, "mean"))
    assert refused.value.hint == "set train.pooling: model"


def test_what_nobody_has_tried_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    for family in shipping.SHIP - {"xlm-roberta"}:
        shipping.check(classifier(family))
    assert capsys.readouterr().err == ""
    shipping.check(classifier("convbert"))
    assert "nobody has tried whether export_onnx takes a convbert" in capsys.readouterr().err


def test_nothing_is_trained_and_nothing_left(run_step: RunStep, splits: Path, tmp_path: Path) -> None:
    folder = write_family(tmp_path / "m", "gpt2", SIZES["gpt2"])
    params = {**FAST, "model": str(folder), "pooling": "model"}
    code, _, error = run_step("train", params, splits=splits, model=tmp_path / "model")
    assert code == 2, error
    assert "epoch" not in error
    assert len(error.splitlines()) == 2
    assert not (tmp_path / "model").exists()


def test_a_tokenizer_without_special_tokens_is_refused(tmp_path: Path) -> None:
    folder = write_family(tmp_path / "m", "gpt2", SIZES["gpt2"])
    content = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**content, "post_processor": None}))
    with pytest.raises(UsageError, match="of an empty text nothing is left to answer"):
        network.load_tokenizer(folder, 32)


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(shipping.SHIP))
def test_a_kind_that_ships_is_exported(family: str, tmp_path: Path) -> None:
    graph.export(classifier(family), TASK, ["input_ids", "attention_mask"], 20, tmp_path)
    assert (tmp_path / "model.onnx").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(shipping.DO_NOT_SHIP))
def test_a_kind_that_does_not_ship_is_not(family: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"Failed to|can be exported for one"):
        graph.export(classifier(family), TASK, ["input_ids", "attention_mask"], 20, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "pooling"), [("gpt2", "mean"), ("llama", "last"), ("t5", "model")])
def test_all_the_way_to_a_bundle(family: str, pooling: str, run_step: RunStep, splits: Path, tmp_path: Path) -> None:
    folder = write_family(tmp_path / "m", family, SIZES[family])
    settings = folder / "tokenizer_config.json"
    sides = {"padding_side": "left", "truncation_side": "left"}
    settings.write_text(json.dumps({**json.loads(settings.read_text()), **sides}))
    params = {**FAST, "model": str(folder), "pooling": pooling}
    code, _, error = run_step("train", params, splits=splits, model=tmp_path / "model")
    assert code == 0, error
    code, _, error = run_step("export_onnx", {}, model=tmp_path / "model", splits=splits, onnx=tmp_path / "onnx")
    assert code == 0, error
    assert folders.verify(tmp_path / "onnx").figures["max_difference"] < 1e-4
