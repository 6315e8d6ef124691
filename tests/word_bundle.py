"""Bundles whose every answer a test chooses: a real ONNX graph and a real tokenizer over a few words. Made in milliseconds."""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fineline.artifacts import folders
from fineline.bundles.bundle import golden, open_bundle
from fineline.rows import dataset

LABELS = ("card", "login", "transfer")
TASK = "single_label"


def write_word_bundle(
    folder: Path, answers: Mapping[str, str], labels: Sequence[str] = LABELS, splits: Path | None = None, note: str = ""
) -> Path:
    """A bundle that answers a text with the label that `answers` gives its first known word; other texts with the first label.

    With `splits` it counts as made from them by train; `note` makes another bundle of the same answers.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder.mkdir(parents=True)
    vocabulary = {"[PAD]": 0, "[UNK]": 1, **{word: i + 2 for i, word in enumerate(answers)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    weights = np.zeros((len(vocabulary), len(labels)), dtype=np.float32)
    weights[:2, 0] = 0.1
    for word, label in answers.items():
        weights[vocabulary[word], list(labels).index(label)] = 4.0
    nodes = [
        helper.make_node("Gather", ["weights", "input_ids"], ["words"]),
        helper.make_node("ReduceSum", ["words", "axis"], ["logits"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "words",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(labels)])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(np.array([1], dtype=np.int64), "axis")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10, doc_string=note)
    onnx.save(model, folder / "model.onnx")
    config = {"task": TASK, "labels": list(labels), "max_length": 32, "temperature": 1.0, "precision": "fp32"}
    config |= {"inputs": ["input_ids"], "pad_token_id": 0, "golden": [], "golden_tolerance": 0.001}
    (folder / "bundle.json").write_text(json.dumps(config))
    folders.write_json(folder / "bundle.json", {**config, "golden": golden(open_bundle(folder))})
    inputs = {}
    if splits:
        trained = folder.with_name(f"{folder.name}-model")
        trained.mkdir()
        (trained / "model.json").write_text(json.dumps({"note": note, "answers": dict(answers)}))
        folders.write_manifest(trained, step="train", kind="model", params={}, inputs={"splits": splits}, figures={})
        inputs = {"model": trained}
    folders.write_manifest(folder, step="quantize", kind="bundle", params={}, inputs=inputs, figures={}, task=TASK)
    return folder


def write_report(folder: Path, bundle: Path, passed: bool = True) -> Path:
    """A report on `bundle`, as evaluate leaves it, with one rule."""
    folder.mkdir(parents=True)
    rule = {"rule": "min_metric", "meaning": "at least", "figure": 0.9, "bound": 0.8, "passed": passed}
    summary = "passed 1 rule" if passed else "failed 1 of 1 rules: min_metric"
    folders.write_json(folder / "gate.json", {"passed": passed, "rules": [rule], "summary": summary})
    shipped = {"macro_f1": 0.9}
    interval = {"shipped": {"macro_f1": {"low": 0.88, "high": 0.92}}}
    folders.write_json(folder / "metrics.json", {"shipped": shipped, "interval": interval})
    folders.write_manifest(folder, step="evaluate", kind="report", params={}, inputs={"bundle": bundle}, figures={})
    return folder


def write_word_splits(folder: Path, train: pd.DataFrame, test: pd.DataFrame) -> Path:
    """A splits folder of these rows, as split leaves it; the last tenth of `train` is the validation split."""
    folder.mkdir(parents=True)
    end = len(train) - max(1, len(train) // 10)
    for name, part in zip(dataset.SPLITS, (train[:end], train[end:], test), strict=True):
        dataset.write_rows(part.reset_index(drop=True), folder / f"{name}.parquet")
    folders.write_manifest(folder, step="split", kind="splits", params={}, inputs={}, figures={}, task=TASK)
    return folder


def word_rows(count: int, labels: Sequence[str] = LABELS, first: int = 0) -> pd.DataFrame:
    """`count` rows, each with a word of its own: text 'w17 please', labels in turns."""
    numbers = range(first, first + count)
    return pd.DataFrame(
        {
            "id": [f"r{n}" for n in numbers],
            "text": [f"w{n} please" for n in numbers],
            "label": [labels[n % len(labels)] for n in numbers],
            "channel": ["app" if n % 2 else "mail" for n in numbers],
        }
    )


def answers_of(
    rows: pd.DataFrame, wrong: Sequence[int] | set[int] = (), labels: Sequence[str] = LABELS
) -> dict[str, str]:
    """The right answer to each row's word, but for the rows numbered in `wrong`: there the label after the right one."""
    following = dict(zip(labels, [*labels[1:], labels[0]], strict=True))
    pairs = zip(rows["text"], rows["label"], strict=True)
    return {text.split()[0]: following[label] if n in wrong else label for n, (text, label) in enumerate(pairs)}


def some(count: int, of: int, seed: int = 0) -> set[int]:
    """`count` of the numbers 0 to `of` - 1."""
    return set(random.Random(seed).sample(range(of), count))
