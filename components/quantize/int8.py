"""int8 graphs: the weights of an fp32 graph as 8-bit integers, and the activations that meet them rounded while it runs.

Which numbers share a scale decides how much is lost (docs/decisions/0016-int8-one-scale-per-token.md). Products of two
activations, in attention, stay in fp32. A scale never reaches from one text of a batch into another.
"""

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np

BLOCK = 64
"""Neighbouring inputs of a product that share a scale in `per_block`: MatMulNBits takes powers of two from 16."""

_SMALL = 100_000  # numbers of a table that are not worth rounding: 0.4 MB
_NODES = "com.microsoft"  # ONNX Runtime's own operators


def per_token(model: Any, reduce_range: bool) -> None:
    """Rounds `model`, an onnx.ModelProto, in place: activations with one scale for each token, weights for each output.

    A token's activations x become round(127 x / max|x|) + 128 (uint8); a weight w of output j becomes
    round(w 127 / max|w_j|) (int8), or 63 with `reduce_range`, as sums of two products overflow 16 bits on processors without
    VNNI (ONNX Runtime's documentation of quantization). MatMulIntegerToFloat multiplies them; its result is
    scaled by max|x| again. Embeddings have one scale for each row.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    weights: dict[str, np.ndarray] = {node.output[0]: weight for node, weight in _products(graph)}
    added: dict[str, np.ndarray] = {
        "int8_step": np.array(1 / 127, np.float32),
        "int8_zero": np.array(128, np.uint8),
        "int8_axis": np.array([-1], np.int64),
        "int8_least": np.array(np.finfo(np.float32).tiny, np.float32),
    }
    nodes: list[Any] = []
    rounded: set[str] = set()

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    for old in graph.node:
        if old.output[0] not in weights:
            nodes.append(old)
            continue
        x, weight = old.input[:2]
        largest, integers = f"{x}_largest", f"{x}_uint8"
        if x not in rounded:
            rounded.add(x)
            node("ReduceMax", [node("Abs", [x], f"{x}_abs"), "int8_axis"], f"{x}_max")
            node("Max", [f"{x}_max", "int8_least"], largest)  # a token of zeros has a scale too
            node("QuantizeLinear", [node("Div", [x, largest], f"{x}_share"), "int8_step", "int8_zero"], integers)
        if f"{weight}_int8" not in added:  # layers may share weights (ALBERT)
            added |= _int8(weight, weights[old.output[0]], 63 if reduce_range else 127)
        product = [integers, f"{weight}_int8", "int8_step", f"{weight}_scale", "int8_zero"]
        scaled = [node("MatMulIntegerToFloat", product, f"{old.output[0]}_raw", domain=_NODES), largest]
        if len(old.input) == 2:
            node("Mul", scaled, old.output[0])
        else:
            node("Add", [node("Mul", scaled, f"{old.output[0]}_scaled"), old.input[2]], old.output[0])
    _replace(model, nodes, [numpy_helper.from_array(value, name) for name, value in added.items()])
    embeddings(model)


def per_block(model: Any) -> Any:
    """An onnx.ModelProto like `model`, in which 64 neighbouring inputs of a product share a scale, in weights and in
    activations (MatMulNBits with 8 bits, rounding to nearest): about half the error of `per_token`, at half the speed.

    Products that are written as Gemm, such as a head, stay in fp32.
    """
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    logging.getLogger("onnxruntime.quantization.matmul_nbits_quantizer").setLevel(logging.WARNING)
    quantizer = MatMulNBitsQuantizer(model, bits=8, block_size=BLOCK, is_symmetric=True, accuracy_level=4)
    quantizer.process()
    made = quantizer.model.model
    embeddings(made)
    return made


def embeddings(model: Any) -> None:
    """Rounds the tables of embeddings of `model` in place, with one scale for each row; small ones stay as they are."""
    from onnx import TensorProto, helper, numpy_helper

    tables = {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    nodes: list[Any] = []
    added: dict[str, Any] = {}
    for old in model.graph.node:
        table = tables.get(old.input[0]) if old.op_type == "Gather" else None
        if table is None or len(table.dims) != 2 or np.prod(table.dims) < _SMALL or _axis(old):
            nodes.append(old)
            continue
        values, name, out = numpy_helper.to_array(table), table.name, old.output[0]
        scale = _scale(values, 1, 127)
        added[f"{name}_int8"] = np.rint(values / scale).astype(np.int8)
        added[f"{name}_scale"] = scale
        nodes += [
            helper.make_node("Gather", [f"{name}_int8", old.input[1]], [f"{out}_int8"]),
            helper.make_node("Cast", [f"{out}_int8"], [f"{out}_whole"], to=TensorProto.FLOAT),
            helper.make_node("Gather", [f"{name}_scale", old.input[1]], [f"{out}_scale"]),
            helper.make_node("Mul", [f"{out}_whole", f"{out}_scale"], [out]),
        ]
    _replace(model, nodes, [numpy_helper.from_array(value, name) for name, value in added.items()])


def _products(graph: Any) -> Iterator[tuple[Any, np.ndarray]]:
    """The nodes MatMul and Gemm with a float weight, in the order of the graph, and that weight as (in, out)."""
    from onnx import numpy_helper

    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in ("MatMul", "Gemm") and node.input[1] in weights:
            weight = numpy_helper.to_array(weights[node.input[1]])
            if weight.dtype == np.float32 and weight.ndim == 2:
                transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
                yield node, weight.T if transposed else weight


def _int8(name: str, weight: np.ndarray, most: int) -> dict[str, np.ndarray]:
    """A weight (in, out) as int8 up to `most`, and the step of each output, float32 (out,)."""
    scale = _scale(weight, 0, most)
    integers = np.ascontiguousarray(np.rint(weight / scale).astype(np.int8))
    return {f"{name}_int8": integers, f"{name}_scale": scale[0]}


def _scale(values: np.ndarray, axis: int, most: int) -> np.ndarray:
    """The step with which the numbers along `axis` reach from -most to most; 1 where all are 0."""
    scale = np.abs(values).max(axis=axis, keepdims=True) / np.float32(most)
    scale[scale == 0] = 1
    return scale.astype(np.float32)


def _axis(gather: Any) -> int:
    return next((attribute.i for attribute in gather.attribute if attribute.name == "axis"), 0)


def _replace(model: Any, nodes: list[Any], added: list[Any]) -> None:
    """Gives the graph these nodes, the tensors `added`, and of its own tensors those that are still used."""
    from onnx import helper

    graph = model.graph
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in [*graph.initializer, *added] if tensor.name in used]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.initializer[:]
    graph.initializer.extend(kept)
    if _NODES not in {opset.domain for opset in model.opset_import}:
        model.opset_import.append(helper.make_opsetid(_NODES, 1))
