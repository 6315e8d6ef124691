"""train on models of other families, and on folders that are damaged: each works, or is refused in one line that says why."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.train import network
from components.train.params import Params
from components.train.warm_start import Origin
from fineline.artifacts import folders
from fineline.pretrained import models
from fineline.process.errors import UsageError
from fineline.rows import dataset
from fineline.tasks import get_task
from fineline.tasks.parts import UNCALIBRATED
from tests.components.conftest import FAST, RunStep
from tests.components.test_train import logits_of, weights
from tests.conftest import write_model

pytestmark = pytest.mark.usefixtures("one_thread", "ready_store")

TASK = get_task("single_label")
LABELS = ["card", "login", "transfer"]
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
OFFSET = {**SMALL, "max_position_embeddings": 68}
FAMILIES: dict[str, dict[str, Any]] = {
    "roberta": OFFSET,
    "xlm-roberta": OFFSET,
    "electra": {**SMALL, "embedding_size": 16},
    "mpnet": OFFSET,
    "deberta-v2": {**SMALL, "relative_attention": True, "position_buckets": 16, "pos_att_type": ["p2c", "c2p"]},
    "modernbert": {**SMALL, "global_attn_every_n_layers": 2, "local_attention": 16},
    "t5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0},
}


def write_family(folder: Path, family: str, sizes: dict[str, Any] | None = None) -> Path:
    """A random pretrained encoder (for T5 both stacks) of `family`, with the tokenizer of the tiny BERT."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    write_model(folder, head="none")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    special = {"pad_token_id": 0, "bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3}
    config = AutoConfig.for_model(family, vocab_size=len(tokenizer), **special, **(sizes or FAMILIES[family]))
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_on_other_families(
    family: str, run_step: RunStep, splits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_family(tmp_path / family, family)
    params = {**FAST, "model": str(folder), "method": "lora", "lora_r": 4, "epochs": 2, "batch_size": 32}
    code, _, error = run_step("train", params, splits=splits, model=tmp_path / "model")
    assert code == 0, error
    manifest = folders.verify(tmp_path / "model")
    rows = dataset.read_splits(splits)["validation"]
    probability = TASK.answers(logits_of(tmp_path / "model", rows["text"].tolist()), UNCALIBRATED)
    figures = TASK.metrics(TASK.targets(rows, LABELS), probability, LABELS)
    assert figures["log_loss"] == pytest.approx(manifest.figures["validation_log_loss"], abs=1e-4), (
        "the best is shipped"
    )
    after = weights(tmp_path / "model")
    assert not any("lora" in name or "modules_to_save" in name for name in after)
    assert manifest.figures["parameters_trained"] < manifest.figures["parameters"] / 2


def test_lora_finds_the_linear_layers_of_gpt2(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = write_family(tmp_path / "gpt2", "gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 2})
    params = Params(method="lora", pooling="mean", lora_target_modules=["c_attn", "c_proj"])
    model = network.build(TASK, Origin(folder), AutoTokenizer.from_pretrained(folder), LABELS, params)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad and "lora_A" in name}
    assert len(trained) == 2 * 3, "attention's two and the second of the feed-forward, in both layers"


def renamed(folder: Path, prefix: str) -> None:
    from safetensors.numpy import load_file, save_file

    arrays = {f"{prefix}{name}": array for name, array in load_file(folder / "model.safetensors").items()}
    save_file(arrays, folder / "model.safetensors", metadata={"format": "pt"})


def configured(folder: Path, **changed: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def in_shards(folder: Path, *lost: str, index: bool = True) -> None:
    from safetensors.numpy import load_file, save_file

    arrays = load_file(folder / "model.safetensors")
    half = len(arrays) // 2
    parts = {
        f"model-0000{number}-of-00002.safetensors": dict(list(arrays.items())[start:end])
        for number, (start, end) in enumerate([(0, half), (half, None)], start=1)
    }
    for name, part in parts.items():
        if name not in lost:
            save_file(part, folder / name, metadata={"format": "pt"})
    if index:
        places = {name: file for file, part in parts.items() for name in part}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    (folder / "model.safetensors").unlink()


def with_token(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"]["added"] = len(content["model"]["vocab"])
    (folder / "tokenizer.json").write_text(json.dumps(content))


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 90868376\n"
PAGE = "<!DOCTYPE html>\n<html><body>Sign in</body></html>"


def replaced(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content)


DAMAGED: list[tuple[str, Callable[[Path], object], list[str]]] = [
    ("foreign keys", lambda f: renamed(f, "module."), ["lacks 37 weights", "bert.embeddings", "module.embeddings"]),
    ("weights of another width", lambda f: configured(f, hidden_size=64), ["in another size", "(32,) for (64,)"]),
    ("more words than weights", lambda f: configured(f, vocab_size=500), ["word_embeddings.weight", "for (500, 32)"]),
    ("another number of layers", lambda f: configured(f, num_hidden_layers=3), ["lacks 16 weights", "encoder.layer.2"]),
    (
        "cut off",
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-10]),
        ["model.safetensors", "cannot be read as safetensors"],
    ),
    ("empty weights", replaced("model.safetensors", ""), ["cannot be read as safetensors"]),
    ("weights in LFS", replaced("model.safetensors", LFS), ["model.safetensors is a Git LFS pointer", "git lfs pull"]),
    ("weights as a page", replaced("model.safetensors", PAGE), ["model.safetensors is a web page"]),
    ("a lost shard", lambda f: in_shards(f, "model-00002-of-00002.safetensors"), ["lacks 1 of 2 shards", "00002-of"]),
    ("no index", lambda f: in_shards(f, index=False), ["no index", "model-00001-of-00002.safetensors"]),
    (
        "a variant only",
        lambda f: (f / "model.safetensors").rename(f / "model.fp16.safetensors"),
        ["no model.safetensors", "model.fp16.safetensors"],
    ),
    ("broken config.json", replaced("config.json", "{"), ["config.json is not valid JSON"]),
    ("config.json in LFS", replaced("config.json", LFS), ["config.json is a Git LFS pointer"]),
    ("config.json as a list", replaced("config.json", "[]"), ["config.json holds no JSON object"]),
    ("config.json of nothing", replaced("config.json", "{}"), ["config.json in m cannot be loaded", "model_type"]),
    ("a wrong value", lambda f: configured(f, hidden_size="wide"), ["cannot be loaded", "hidden_size"]),
    ("an unknown kind", lambda f: configured(f, model_type="newbert"), ["cannot be loaded", "newbert"]),
    ("a kind without texts", replaced("config.json", '{"model_type": "vit"}'), ["m is a vit", "texts"]),
    ("broken tokenizer.json", replaced("tokenizer.json", "{"), ["tokenizer.json is not valid JSON"]),
    ("tokenizer.json of nothing", replaced("tokenizer.json", "{}"), ["the tokenizer in m cannot be loaded"]),
    ("tokenizer.json as a page", replaced("tokenizer.json", PAGE), ["tokenizer.json is a web page"]),
    (
        "broken tokenizer_config.json",
        replaced("tokenizer_config.json", "{"),
        ["tokenizer_config.json is not valid JSON"],
    ),
    ("a token without embedding", with_token, ["the tokenizer of m has", "tokens, but its model embeds"]),
]


@pytest.mark.parametrize(("damage", "words"), [case[1:] for case in DAMAGED], ids=[case[0] for case in DAMAGED])
def test_a_folder_that_would_train_from_noise_or_not_at_all(
    damage: Callable[[Path], object],
    words: list[str],
    run_step: RunStep,
    splits: Path,
    pretrained: Path,
    tmp_path: Path,
) -> None:
    folder = Path(shutil.copytree(pretrained, tmp_path / "m"))
    damage(folder)
    code, _, error = run_step("train", {**FAST, "model": str(folder)}, splits=splits, model=tmp_path / "model")
    assert code == 2, error
    assert "Traceback" not in error
    assert len(error.splitlines()) == 2, error
    for word in words:
        assert word in error
    assert not (tmp_path / "model").exists()


def test_weights_in_shards(pretrained: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(pretrained, tmp_path / "parted"))
    in_shards(folder)
    whole, parted = (
        TASK.load_pretrained(models.model_folder(str(f)), LABELS, "model")[0] for f in (pretrained, folder)
    )
    expected = whole.base_model.state_dict()
    assert all((weight == expected[name]).all() for name, weight in parted.base_model.state_dict().items())


def test_a_head_for_other_labels_is_not_taken_by_position(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    old = weights(write_model(tmp_path / "other", labels=("red", "transfer", "blue")))["classifier.weight"]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "other")
    for method in ("full", "lora"):
        params = Params(method=method, pooling="model")
        model = network.build(TASK, Origin(tmp_path / "other"), tokenizer, LABELS, params)
        ends = ("classifier.weight", "classifier.modules_to_save.default.weight")
        rows = next(weight for name, weight in model.named_parameters() if name.endswith(ends)).detach().numpy()
        assert np.array_equal(rows[2], old[1]), "a label that both know keeps its row"
        assert not any(np.allclose(row, known) for row in rows[:2] for known in old)


def test_a_model_that_names_no_padding_token_has_the_tokenizers(
    run_step: RunStep, splits: Path, tmp_path: Path
) -> None:
    folder = write_family(tmp_path / "roberta", "roberta")
    configured(folder, pad_token_id=None)
    code, _, error = run_step("train", {**FAST, "model": str(folder)}, splits=splits, model=tmp_path / "model")
    assert code == 0, error
    assert json.loads((tmp_path / "model" / "config.json").read_text())["pad_token_id"] == 0


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "mpnet", "deberta-v2", "gpt2"])
@pytest.mark.parametrize("padding", [0, 1])
def test_the_limit_is_what_the_model_can(family: str, padding: int) -> None:
    import torch
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.for_model(
        family, vocab_size=20, pad_token_id=padding, **{**SMALL, "max_position_embeddings": 34}
    )
    limit = int(network.positions(config))
    assert limit == (34 if family in ("bert", "deberta-v2", "gpt2") else 33 - (1 if family == "mpnet" else padding))
    model = AutoModel.from_config(config).eval()
    tokens = torch.full((1, limit + 1), 7)
    with torch.no_grad():
        model(input_ids=tokens[:, :limit], attention_mask=torch.ones_like(tokens[:, :limit]))
        with pytest.raises((RuntimeError, IndexError)):
            model(input_ids=tokens, attention_mask=torch.ones_like(tokens))


def test_more_tokens_than_the_model_has_positions_for_are_refused(
    run_step: RunStep, splits: Path, tmp_path: Path
) -> None:
    folder = write_family(tmp_path / "m", "roberta")
    settings = folder / "tokenizer_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "model_max_length": 10**30}))
    params = {**FAST, "model": str(folder), "max_length": 68}
    code, _, error = run_step("train", params, splits=splits, model=tmp_path / "model")
    assert code == 2
    assert "train.max_length = 68, but the model m takes 67 tokens at most" in error
    assert "set max_length to 67 or less" in error


def test_a_model_that_counts_no_positions_has_no_limit(tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoTokenizer

    folder = write_model(tmp_path / "m", head="none")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.model_max_length = 1000
    tokenizer.save_pretrained(folder)
    sizes = {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64, "vocab_size": len(tokenizer)}
    AutoConfig.for_model("xlnet", **sizes).save_pretrained(folder)  # says -1
    assert network.load_tokenizer(folder, 1000)
    with pytest.raises(UsageError, match="m takes 1000 tokens at most"):
        network.load_tokenizer(folder, 1001)
