"""A tiny model whose answers depend on the words. Those of the fixture `model` hardly do: it gives every text one label."""

from pathlib import Path

import pandas as pd

from fineline.artifacts import folders
from fineline.tasks import get_task
from tests.conftest import write_model, write_splits

LABELS = ("card", "login", "transfer")


def write_varied_model(folder: Path, outlier: float = 0.0) -> Path:
    """A Hugging Face folder of a random BERT with large weights.

    With `outlier` one unit of the last hidden state is that large and the pooler does not look at it: fp32 answers as
    before, and int8 loses all other units of that product, as quantization does in real models (Bondarenko et al. 2021).
    """
    from safetensors.torch import load_file, save_file

    write_model(folder, labels=LABELS)
    weights = load_file(folder / "model.safetensors")
    for name, weight in weights.items():
        if weight.ndim == 2 and ".embeddings." not in name and not name.startswith("classifier"):
            weight.mul_(10)
    if outlier:
        weights["bert.encoder.layer.1.output.LayerNorm.weight"][0] = outlier
        weights["bert.pooler.dense.weight"][:, 0] = 0
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def write_splits_it_mostly_knows(folder: Path, model: Path, rows: pd.DataFrame) -> Path:
    """Splits of `rows` labelled as the Hugging Face folder `model` answers, but for every sixth, which is wrong."""
    import torch
    from transformers import AutoTokenizer

    tokenizer, classifier = (
        AutoTokenizer.from_pretrained(model),
        get_task("single_label").load_model(model, LABELS).eval(),
    )
    with torch.inference_mode():
        inputs = tokenizer(rows["text"].tolist(), truncation=True, max_length=32, padding=True, return_tensors="pt")
        answers = classifier(**inputs).logits.argmax(dim=1).tolist()
    labels = [LABELS[(answer + (i % 6 == 0)) % len(LABELS)] for i, answer in enumerate(answers)]
    return write_splits(folder, rows.assign(label=labels))


def write_model_artifact(folder: Path, splits: Path) -> Path:
    """Makes a model artifact of the Hugging Face folder of a classifier of LABELS."""
    description = {"task": "single_label", "labels": list(LABELS), "max_length": 32, "precision": "fp32"}
    folders.write_json(folder / "model.json", description)
    folders.write_manifest(folder, step="train", kind="model", params={}, inputs={"splits": splits}, figures={})
    return folder
