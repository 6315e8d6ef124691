"""Which matrix products lose most when they are quantized: the rungs of the fallback ladder leave those in fp32."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fineline.bundles.bundle import MODEL, Bundle, feed, model_files
from fineline.process import computing

_TEXTS = 32


def by_noise(bundle: Bundle, texts: Sequence[str], work: Path) -> list[str]:
    """Names of the nodes of an fp32 bundle that multiply by a weight, the most sensitive to int8 first.

    The order is that of the noise in a node's own output, |y - y_int8|^2 / |y|^2, on the activations of 32 `texts`: the
    reciprocal of the signal-to-quantization-noise ratio (Lin et al. 2016, Fixed Point Quantization of Deep Convolutional
    Networks). One run gives all nodes. `work` is a folder for a graph that also gives the activations. Embeddings are
    not among them: left in fp32 they cost half of what int8 saves and change nothing (docs/decisions/0002-onnx-export.md).
    """
    import onnx
    import onnxruntime

    model = onnx.load(bundle.folder / MODEL)
    nodes = [(node, weight, _int8(weight)) for node, weight in _products(model.graph)]
    inputs = sorted({node.input[0] for node, _, _ in nodes})
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in inputs)
    graph = work / "activations.onnx"
    onnx.save(model, graph, save_as_external_data=len(model_files(bundle.folder)) > 1, location=f"{graph.name}.data")
    options = computing.session_options(computing.cores())
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    noise, signal = np.zeros(len(nodes)), np.zeros(len(nodes))
    for encoding in bundle.tokenizer.encode_batch(list(texts[:: max(1, len(texts) // _TEXTS)])[:_TEXTS]):
        activations = dict(zip(inputs, session.run(inputs, feed(bundle, [encoding])), strict=True))
        for i, (node, weight, rounded) in enumerate(nodes):
            x = activations[node.input[0]].reshape(-1, len(weight))
            y = x @ weight
            noise[i] += np.square(y - _uint8(x) @ rounded).sum()
            signal[i] += np.square(y).sum()
    share = noise / np.maximum(signal, np.finfo(np.float64).tiny)
    return [nodes[i][0].name for i in np.argsort(-share, kind="stable")]


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


def _uint8(values: np.ndarray) -> np.ndarray:
    """`values` rounded as DynamicQuantizeLinear does: asymmetric uint8 over the range of the whole tensor and 0."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    scale = (high - low) / 255 or 1.0
    zero = round(-low / scale)
    return ((np.clip(np.rint(values / scale) + zero, 0, 255) - zero) * scale).astype(np.float32)


def _int8(weight: np.ndarray) -> np.ndarray:
    """`weight` (in, out) rounded to symmetric int8 with a scale of its own for each output."""
    scale = np.abs(weight).max(axis=0) / 127
    scale[scale == 0] = 1.0
    return (np.rint(weight / scale) * scale).astype(np.float32)
