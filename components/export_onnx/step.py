"""export_onnx: the trained model as an fp32 bundle, and the proof that both answer alike."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.export_onnx import parity
from components.export_onnx.params import Params
from fineline.artifacts import folders
from fineline.bundles.bundle import CONFIG, TOKENIZER, golden, model_files, open_bundle
from fineline.pretrained import loading
from fineline.pretrained.models import model_folder
from fineline.process.errors import GateRejected, UsageError
from fineline.rows.dataset import read_splits
from fineline.tasks import Task, get_task
from fineline.tasks.parts import UNCALIBRATED
from fineline.texts.cleaning import cleaning_of
from fineline.tracking.journal import go_on

_DIGITS = 7  # of differences of logits; fp32 carries no more


def run(*, params: Params, model: Path, splits: Path, onnx: Path) -> str:
    """Writes the bundle `onnx`. Raises GateRejected, and leaves no output, when it does not answer as `model` does."""
    config = _config(model)
    cleaning = cleaning_of(folders.verify(splits))
    task = get_task(config["task"])
    rows = read_splits(splits)
    pools = {name: rows[name]["text"].tolist() for name in ("validation", "train", "test")}
    chosen = parity.choose_texts(pools, params.parity_texts)
    texts = [text for part in chosen.values() for text in part]

    from transformers.utils import logging

    from components.export_onnx import graph

    logging.disable_progress_bar()
    tokenizer = loading.tokenizer(model)
    if tokenizer.pad_token_id is None:
        raise UsageError(f"the tokenizer of {model} has no padding token", "train with a tokenizer that has one")
    trained = task.load_model(model, config["labels"]).eval()
    names = graph.input_names(trained, tokenizer)
    # before the export: an exporter may change what the same model answers afterwards
    expected = parity.torch_answers(trained, tokenizer, names, texts, config["max_length"])

    with folders.output(onnx) as folder:
        graph.export(trained, task, names, params.opset, folder)
        shutil.copyfile(model / TOKENIZER, folder / TOKENIZER)
        description = _description(config, names, tokenizer.pad_token_id) | ({"cleaning": cleaning} if cleaning else {})
        folders.write_json(folder / CONFIG, description)
        bundle = open_bundle(folder)
        proof = _proof(params, task, expected, parity.bundle_answers(bundle, texts), chosen)
        description |= {"golden": golden(bundle), "golden_tolerance": params.golden_tolerance}
        folders.write_json(folder / CONFIG, description)
        folders.write_json(folder / "parity.json", proof)
        figures = {
            "max_difference": proof["max_difference"],
            "texts": len(texts),
            "bytes": sum(path.stat().st_size for path in model_files(folder)),
        }
        _track(model, folder, figures)
        folders.write_manifest(
            folder,
            step="export_onnx",
            kind="bundle",
            params=params.recorded(),
            inputs={"model": model, "splits": splits},
            figures=figures,
        )
    return _summary(figures, proof)


def _config(model: Path) -> dict[str, Any]:
    """model.json of the artifact. Raises UsageError when the folder is no trained model."""
    manifest = folders.verify(model)
    if manifest.kind != "model" or "model.json" not in manifest.files:
        raise UsageError(f"{model} is a {manifest.kind}, not a trained model", "give the output of train to --model")
    model_folder(str(model.absolute()))
    return json.loads((model / "model.json").read_text(encoding="utf-8"))


def _description(config: Mapping[str, Any], inputs: Sequence[str], pad_token_id: int) -> dict[str, Any]:
    """bundle.json of the exported model, without its golden answers, which it has still to give."""
    return {
        "task": config["task"],
        "labels": config["labels"],
        "max_length": config["max_length"],
        **UNCALIBRATED,
        "precision": "fp32",
        "inputs": inputs,
        "pad_token_id": pad_token_id,
        "windowing": None,
    }


def _proof(
    params: Params, task: Task, expected: Any, found: Any, chosen: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """parity.json: how the answers `found` differ from those `expected` on the texts `chosen`, by the pool they come from.

    Raises GateRejected where they differ by more than is allowed.
    """
    differences = parity.compare(task, expected, found)
    lengths = [len(tokens) for tokens in expected[0]]
    _gate(params, differences, len(lengths))
    return {
        **differences,
        "max_difference": round(differences["max_difference"], _DIGITS),
        "bound": params.max_difference,
        "texts": {"all": len(lengths), **{name: len(part) for name, part in chosen.items()}},
        "tokens": {"shortest": min(lengths), "longest": max(lengths), "lengths": len(set(lengths))},
    }


def _gate(params: Params, differences: dict[str, Any], texts: int) -> None:
    if other := differences["texts_with_other_tokens"]:
        raise GateRejected(
            f"tokenizer.json gives other tokens than the trained model's tokenizer for {other} of {texts} texts",
            "train again with a tokenizer that tokenizer.json holds in full",
        )
    changed = differences["predictions_changed"]
    if changed["alone"] or changed["padded"] or differences["max_difference"] > params.max_difference:
        raise GateRejected(
            f"the ONNX graph does not answer as PyTorch does: logits differ by up to {differences['max_difference']:.3g} "
            f"(bound {params.max_difference:g}), {changed['alone']} of {texts} predictions alone and {changed['padded']} padded",
            "try another export_onnx.opset; raise export_onnx.max_difference only for logits that are themselves large",
        )


def _track(model: Path, folder: Path, figures: Mapping[str, float]) -> None:
    """Figures for the run that train began, in the journal only: evaluate sends them, and no server is needed here."""
    if (journal := go_on(model, folder)).started:
        journal.metrics({f"export_onnx.{name}": value for name, value in figures.items()})


def _summary(figures: Mapping[str, Any], proof: Mapping[str, Any]) -> str:
    return (
        f"fp32 ONNX, {figures['bytes'] / 1e6:.1f} MB; logits differ from PyTorch by {figures['max_difference']:.1e} at most "
        f"(bound {proof['bound']:g}) and every prediction is equal, on {figures['texts']} texts of "
        f"{proof['tokens']['shortest']} to {proof['tokens']['longest']} tokens, alone and padded"
    )
