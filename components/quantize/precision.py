"""The candidates: an fp32 bundle's graph in int8 or fp16, as bundles of their own."""

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from fineline.artifacts.folders import write_json
from fineline.bundles.bundle import CONFIG, MODEL, TOKENIZER, model_files


def write_int8(source: Path, target: Path, left_in_fp32: Sequence[str], reduce_range: bool) -> None:
    """Writes the bundle `target`: the matrix products and the embeddings of `source` in int8, but for the nodes named.

    Dynamic quantization (Jacob et al. 2018): weights are symmetric int8, per output channel where the operator allows;
    activations become uint8 with the range of each batch. Products of two activations, in attention, stay in fp32.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    _copy_but_for_the_graph(source, target, "int8")
    # quantize_dynamic turns Gemm into MatMul and Add before it looks at the names
    excluded = [form for name in left_in_fp32 for form in (name, f"{name}_MatMul")]
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises on the root logger to pre-process, which changes no figure here
    try:
        quantize_dynamic(
            onnx.load(source / MODEL),  # given a path, it writes beside it
            target / MODEL,
            per_channel=True,
            reduce_range=reduce_range,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=excluded,
            use_external_data_format=len(model_files(source)) > 1,
        )
    finally:
        root.setLevel(level)


def write_fp16(source: Path, target: Path) -> None:
    """Writes the bundle `target`: weights and arithmetic of `source` in fp16; inputs and logits keep their types."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    _copy_but_for_the_graph(source, target, "fp16")
    large = len(model_files(source)) > 1
    graph = convert_float_to_float16(onnx.load(source / MODEL), keep_io_types=True, disable_shape_infer=large)
    onnx.save(graph, target / MODEL, save_as_external_data=large, location=f"{MODEL}.data")


def size(bundle: Path) -> int:
    """Bytes of the graph and its weights."""
    return sum(path.stat().st_size for path in model_files(bundle))


def _copy_but_for_the_graph(source: Path, target: Path, precision: str) -> None:
    target.mkdir(parents=True)
    shutil.copyfile(source / TOKENIZER, target / TOKENIZER)
    config = json.loads((source / CONFIG).read_text(encoding="utf-8"))
    write_json(target / CONFIG, {**config, "precision": precision})
