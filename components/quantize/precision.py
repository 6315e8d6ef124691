"""The candidates: an fp32 bundle's graph in int8 or fp16, as bundles of their own."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from components.quantize import int8
from fineline.artifacts.folders import write_json
from fineline.bundles.bundle import CONFIG, MODEL, TOKENIZER, model_files

Scales = Literal["per token", "per block"]
"""Which activations are rounded with one scale."""


def write_int8(source: Path, target: Path, scales: Scales, reduce_range: bool) -> None:
    """Writes the bundle `target`: the matrix products and the embeddings of `source` in int8, with scales as
    components/quantize/int8.py says; `reduce_range` is for scales per token."""
    import onnx

    _copy_but_for_the_graph(source, target, {"precision": "int8", "scales": scales})
    graph = onnx.load(source / MODEL)
    if scales == "per token":
        int8.per_token(graph, reduce_range)
    else:
        graph = int8.per_block(graph)
    onnx.save(graph, target / MODEL, save_as_external_data=len(model_files(source)) > 1, location=f"{MODEL}.data")


def write_fp16(source: Path, target: Path) -> None:
    """Writes the bundle `target`: weights and arithmetic of `source` in fp16; inputs and logits keep their types."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    _copy_but_for_the_graph(source, target, {"precision": "fp16"})
    large = len(model_files(source)) > 1
    graph = convert_float_to_float16(onnx.load(source / MODEL), keep_io_types=True, disable_shape_infer=large)
    onnx.save(graph, target / MODEL, save_as_external_data=large, location=f"{MODEL}.data")


def size(bundle: Path) -> int:
    """Bytes of the graph and its weights."""
    return sum(path.stat().st_size for path in model_files(bundle))


def _copy_but_for_the_graph(source: Path, target: Path, changed: Mapping[str, str]) -> None:
    target.mkdir(parents=True)
    shutil.copyfile(source / TOKENIZER, target / TOKENIZER)
    config = json.loads((source / CONFIG).read_text(encoding="utf-8"))
    write_json(target / CONFIG, {**config, **changed})
