"""A bundle answers the same however its texts are batched, and says so when it is not what it was."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from components.export_onnx.params import Params
from components.export_onnx.step import run
from fineline.bundles.bundle import (
    GOLDEN_TEXTS,
    answers,
    feed,
    golden,
    logits,
    model_files,
    open_bundle,
    predict,
    self_test,
)
from fineline.bundles.bundle import run as run_together
from fineline.process.errors import ResourceError, UsageError
from tests.conftest import PROJECT
from tests.varied_model import write_model_artifact, write_varied_model

TEXTS = ["card", "my app password is locked again", "", "transfer " * 50, "please where is the payment"]


@pytest.fixture(scope="module")
def onnx(tmp_path_factory: pytest.TempPathFactory, splits: Path) -> Path:
    folder = tmp_path_factory.mktemp("onnx") / "onnx"
    model = write_model_artifact(write_varied_model(folder.with_name("model")), splits)
    run(params=Params(), model=model, splits=splits, onnx=folder)
    return folder


@pytest.fixture
def copied(onnx: Path, tmp_path: Path) -> Path:
    return shutil.copytree(onnx, tmp_path / "copy")


def configure(folder: Path, **changed: object) -> None:
    config = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**config, **changed}))


def test_int8_batches_run_side_by_side_a_thread_each_and_others_together(bundle: Path, fp32: Path) -> None:
    texts = [" ".join(TEXTS[1:2] * (n % 7) + [str(n)]) for n in range(60)]
    one, three = open_bundle(bundle, threads=1), open_bundle(bundle, threads=3)
    assert np.array_equal(logits(one, texts), logits(three, texts))
    assert np.abs(logits(three, texts[::-1], what="texts") - logits(one, texts)[::-1]).max() < 1e-4
    threads = []
    for opened in (three, open_bundle(fp32, threads=3)):
        options = opened.session.get_session_options()
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
        threads.append(options.intra_op_num_threads)
    assert threads == [1, 3]


def test_answers_do_not_depend_on_batch_or_order(onnx: Path) -> None:
    bundle = open_bundle(onnx, threads=1)
    alone = np.concatenate([logits(bundle, [text]) for text in TEXTS])
    assert alone.shape == (5, 3)
    assert alone.dtype == np.float32
    for batch_size in (1, 2, 64):
        assert np.abs(logits(bundle, TEXTS, batch_size) - alone).max() < 1e-4
    assert np.abs(logits(bundle, TEXTS[::-1], 2, what="texts") - alone[::-1]).max() < 1e-4
    assert logits(bundle, []).shape == (0, 3)
    assert predict(bundle, []) == []


def test_answers_of_int8_are_those_of_each_text_alone(bundle: Path) -> None:
    opened = open_bundle(bundle, threads=1)
    assert opened.config["precision"] == "int8"
    alone = np.concatenate([logits(opened, [text]) for text in TEXTS])
    together = run_together(opened, opened.tokenizer.encode_batch(TEXTS))
    assert np.abs(together - alone).max() < 1e-4


def test_feed_pads_with_the_bundles_token_and_cuts_at_its_length(copied: Path) -> None:
    configure(copied, pad_token_id=4, max_length=8)
    bundle = open_bundle(copied)
    arrays = feed(bundle, bundle.tokenizer.encode_batch(["card", "transfer " * 50]))
    assert set(arrays) == {"input_ids", "attention_mask"}
    assert arrays["input_ids"].shape == (2, 8)
    assert arrays["input_ids"].dtype == np.int64
    assert arrays["input_ids"][0, 3:].tolist() == [4] * 5
    assert arrays["attention_mask"].tolist() == [[1, 1, 1, 0, 0, 0, 0, 0], [1] * 8]


def test_answer_has_label_score_and_all_probabilities(copied: Path) -> None:
    [answer] = predict(open_bundle(copied), ["lost card"])
    assert set(answer) == {"label", "score", "probabilities"}
    assert set(answer["probabilities"]) == {"card", "login", "transfer"}
    assert answer["score"] == max(answer["probabilities"].values()) == answer["probabilities"][answer["label"]]
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    configure(copied, temperature=50.0)
    assert predict(open_bundle(copied), ["lost card"])[0]["score"] < answer["score"]


def test_golden_outputs_hold_no_customers_text_and_pass(onnx: Path) -> None:
    bundle = open_bundle(onnx)
    assert golden(bundle) == bundle.config["golden"]
    assert np.allclose(answers(bundle, GOLDEN_TEXTS, 1), bundle.config["golden"], atol=1e-6)
    self_test(bundle)


@pytest.mark.parametrize(
    "damage", ["a golden figure", "golden of other labels", "a weight", "NaN weights", "tokenizer"]
)
def test_self_test_finds_damage(copied: Path, damage: str) -> None:
    import onnx as onnx_package

    config = json.loads((copied / "bundle.json").read_text())
    if damage == "a golden figure":
        config["golden"][2][0] += 0.002
        configure(copied, golden=config["golden"])
    elif damage == "golden of other labels":
        configure(copied, golden=[row[:2] for row in config["golden"]])
    elif damage == "tokenizer":
        settings = json.loads((copied / "tokenizer.json").read_text())
        settings["normalizer"]["lowercase"] = False
        (copied / "tokenizer.json").write_text(json.dumps(settings))
    else:
        graph = onnx_package.load(copied / "model.onnx")
        weight = next(tensor for tensor in graph.graph.initializer if tensor.name.endswith("classifier.weight"))
        values = onnx_package.numpy_helper.to_array(weight).copy()
        values[0] = np.nan if damage == "NaN weights" else -values[0]
        weight.CopyFrom(onnx_package.numpy_helper.from_array(values, weight.name))
        onnx_package.save(graph, copied / "model.onnx")
    with pytest.raises(ResourceError, match="does not pass its self-test"):
        self_test(open_bundle(copied))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("no model.onnx", "is no bundle: it has no model.onnx"),
        ("no tokenizer.json", "is no bundle: it has no tokenizer.json"),
        ("no bundle.json", "is no bundle: it has no bundle.json"),
        ("cut off model.onnx", "cannot be opened"),
        ("cut off tokenizer.json", "cannot be opened"),
        ("cut off bundle.json", "cannot be opened"),
        ("another task", "unknown task 'poetry'"),
    ],
)
def test_a_folder_that_is_no_bundle(copied: Path, damage: str, words: str) -> None:
    path = copied / damage.split()[-1]
    if damage.startswith("no "):
        path.unlink()
    elif damage == "another task":
        configure(copied, task="poetry")
    else:
        path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UsageError, match=words):
        open_bundle(copied)


def test_model_files_are_the_graph_and_its_weights(copied: Path) -> None:
    assert model_files(copied) == [copied / "model.onnx"]
    (copied / "model.onnx.data").touch()
    assert model_files(copied) == [copied / "model.onnx", copied / "model.onnx.data"]


def test_serving_needs_no_torch(onnx: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fineline.bundles.bundle import open_bundle, predict, self_test\n"
        f"bundle = open_bundle(Path({str(onnx)!r})); self_test(bundle); predict(bundle, ['card'])\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert not set(done.stdout.split()) & {"torch", "transformers", "onnx", "pandas", "sklearn", "scipy", "mlflow"}
