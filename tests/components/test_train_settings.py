"""train's settings reach every kind of model, its folders are found from wherever they are named, and bad ones are told."""

import json
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from components.train import checkpoints, network, shipping
from components.train.encoding import encode
from components.train.params import Params
from components.train.warm_start import Origin
from fineline.artifacts import folders
from fineline.process.errors import UsageError
from tests.components.conftest import FAST, RunStep
from tests.components.test_train_models import LABELS, TASK, configured, write_family
from tests.components.test_train_shipping import SIZES

pytestmark = pytest.mark.usefixtures("one_thread", "ready_store")

DECODERS = ("gpt2", "llama")


def built(folder: Path, family: str, **params: object) -> torch.nn.Module:
    pooling = "mean" if family in DECODERS else "model"
    given = Params.model_validate({"pooling": pooling, **params})
    return network.build(TASK, Origin(folder), AutoTokenizer.from_pretrained(folder), LABELS, given)


def outputs(model: torch.nn.Module) -> torch.Tensor:
    torch.manual_seed(1)
    ids = torch.tensor([[2, *range(10, 26), 3]] * 4)  # BART asks for an end
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


@pytest.mark.parametrize("family", sorted({*shipping.SHIP, *DECODERS} - {"xlm-roberta", "camembert"}))
def test_dropout_is_set_by_whatever_name_the_model_has_for_it(family: str, tmp_path: Path) -> None:
    folder = write_family(tmp_path / "m", family, SIZES[family])
    none = built(folder, family, dropout=0)
    assert torch.equal(outputs(none.train()), outputs(none.eval())), "somewhere activations are dropped"
    some = built(folder, family, dropout=0.4)
    assert not torch.equal(outputs(some.train()), outputs(some.eval()))
    shares = {m.p for m in some.modules() if isinstance(m, torch.nn.Dropout)} - ({0.0} if family in DECODERS else set())
    assert shares <= {0.4}


def test_dropout_stays_as_pretrained(run_step: RunStep, splits: Path, pretrained: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(pretrained, tmp_path / "m"))
    configured(folder, hidden_dropout_prob=0.25, attention_probs_dropout_prob=0.05)
    assert {m.p for m in built(folder, "bert").modules() if isinstance(m, torch.nn.Dropout)} == {0.25, 0.05}
    configured(folder, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
    found = []
    for name, dropout in (("default", "auto"), ("given", 0.1), ("none", 0.0)):
        params = {**FAST, "model": str(folder), "dropout": dropout}
        code, _, error = run_step("train", params, splits=splits, model=tmp_path / name)
        assert code == 0, error
        found.append(folders.verify(tmp_path / name).files["model.safetensors"])
    assert found[0] == found[1] != found[2]


def test_dropout_that_a_model_has_not_is_refused(tmp_path: Path) -> None:
    from transformers import AutoConfig

    config = AutoConfig.for_model("mamba")
    assert network.dropout(config, Params(dropout=0.0)) == {}
    with pytest.raises(UsageError, match=r"train.dropout = 0.2, but a mamba has no dropout"):
        network.dropout(config, Params(dropout=0.2))


@pytest.mark.parametrize("value", [1.0, -0.1, "high", True])
def test_what_is_no_share(value: object, run_step: RunStep, splits: Path, tmp_path: Path) -> None:
    code, _, error = run_step("train", {"dropout": value}, splits=splits, model=tmp_path / "model")
    assert code == 2
    assert f"train.dropout = {value!r}: not auto, and no number from 0 to below 1" in error
    assert "1 parameter is wrong" in error


def test_one_answer_to_everything_is_named(run_step: RunStep, splits: Path, pretrained: Path, tmp_path: Path) -> None:
    told = []
    for rate in (1.0, 3e-3):
        params = {**FAST, "model": str(pretrained), "learning_rate": rate, "epochs": 4}
        code, _, error = run_step("train", params, splits=splits, model=tmp_path / "model")
        assert code == 0, error
        told.append([line for line in error.splitlines() if "the same answer" in line])
    assert told[0]
    assert "all 22 validation rows" in told[0][-1]
    assert "train.learning_rate = 1 is too high" in told[0][-1]
    assert not told[1]


@pytest.mark.parametrize("place", ["~/tiny", "."])
def test_a_folder_by_another_name(
    place: str, run_step: RunStep, splits: Path, pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(pretrained, tmp_path / "tiny"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(folder)
    for name, params in (("cold", {"model": place}), ("warm", {"init_from": place})):
        code, _, error = run_step("train", {**FAST, **params}, splits=splits, model=tmp_path / name)
        assert code == 0, error
    manifest = folders.verify(tmp_path / "cold")
    assert manifest.params["model"] == "tiny"
    assert folders.verify(tmp_path / "warm").figures["init"] == "warm"


def test_checkpoints_of_another_tokenizer_or_library_are_not_gone_on_with(
    run_step: RunStep, splits: Path, pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(pretrained, tmp_path / "tiny"))
    keys = []

    def trained() -> None:
        kept = tmp_path / "kept"
        code, _, error = run_step(
            "train", {**FAST, "model": str(folder)}, splits=splits, model=tmp_path / "model", checkpoints=kept
        )
        assert code == 0, error
        keys.append({path.name for path in kept.glob("[!.]*")})

    trained()
    settings = folder / "tokenizer_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "model_max_length": 63}))
    trained()
    monkeypatch.setattr(checkpoints, "version", lambda name: f"{name} of tomorrow")
    trained()
    assert [len(found) for found in keys] == [1, 2, 3]


def test_encoded_rows_are_what_the_tokenizer_gives(pretrained: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(pretrained)
    texts = ["card " * (n % 9) + str(n) for n in range(2_345)]
    targets = np.arange(len(texts)) % 3
    encoded = encode(tokenizer, texts, targets, 8)
    given = tokenizer(texts, truncation=True, max_length=8)
    assert len(encoded) == len(texts)
    for i, row in enumerate(encoded):
        assert row == {**{name: lists[i] for name, lists in given.items()}, "labels": targets[i]}
    assert encoded[-1] == encoded[2_344] == encoded[2_340:][4]
    with pytest.raises(IndexError):
        encoded[2_345]


def test_encoded_rows_are_small(pretrained: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(pretrained)
    texts = ["my card is lost please help " * 15] * 3_000
    tracemalloc.start()
    encoded = encode(tokenizer, texts, np.zeros(len(texts), dtype=np.int64), 64)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    tokens = sum(len(row["input_ids"]) for row in encoded)
    assert tokens == 3_000 * 64
    assert kept < 4 * 3 * tokens * 1.2, "three lists of four bytes a token"
