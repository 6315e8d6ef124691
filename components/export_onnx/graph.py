"""A PyTorch classifier as one ONNX file: dynamic batch and length, the same bytes for the same weights."""

import inspect
import logging
import warnings
from pathlib import Path
from typing import Any

from fineline.bundles.bundle import EMBEDDING, MODEL
from fineline.process.errors import UsageError
from fineline.tasks import Task

# Protobuf holds no message of 2 GiB; larger weights go to model.onnx.data beside the graph.
ONE_FILE_BYTES = 2**31 - 2**24

_SAMPLE = (3, 16)  # batch and length of the traced call: neither 0 nor 1, which torch.export takes for constants


def input_names(model: Any, tokenizer: Any) -> list[str]:
    """What the model's forward takes of what its tokenizer gives, in the order in which bundles list it."""
    taken = inspect.signature(model.forward).parameters
    known = ("input_ids", "attention_mask", "token_type_ids")
    return [name for name in known if name in taken and name in tokenizer.model_input_names]


def export(
    model: Any, task: Task, names: list[str], opset: int, folder: Path, one_file_bytes: int = ONE_FILE_BYTES
) -> None:
    """Writes `folder`/model.onnx; weights beyond `one_file_bytes` to model.onnx.data. `model` is in evaluation mode.

    The graph's outputs are the logits and, for `monitor`, the embedding: what the head's last layer reads of each text.
    torch.onnx.export on torch.export ("dynamo"), with plain ("eager") attention: docs/decisions/0002-onnx-export.md.
    Raises UsageError when the model's code fixes the batch or the length, or when its head does not end in a linear layer
    on one vector per text.
    """
    import onnx
    import torch

    model.set_attn_implementation("eager")
    for part in model.modules():
        if hasattr(part, "config"):  # T5's decoder has its own
            part.config.use_cache = (
                False  # of keys and values for a next token: an output that torch.export does not know
            )
    sample = {name: torch.ones(_SAMPLE, dtype=torch.int64) for name in names}
    for level in ("torch.onnx", "onnxscript", "torch.export"):
        logging.getLogger(level).setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program: Any = torch.onnx.export(
            model,
            (),
            kwargs=sample,
            input_names=names,
            output_names=[task.output],
            dynamic_shapes={name: {0: "batch", 1: "length"} for name in names},
            opset_version=opset,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    proto = program.model_proto
    for value in proto.graph.input:
        if not all(dimension.dim_param for dimension in value.type.tensor_type.shape.dim):
            raise UsageError(
                f"{type(model).__name__} can be exported for one batch size or length only (input {value.name})",
                "use a model whose code does not depend on them, such as BERT, RoBERTa, DistilBERT or ELECTRA",
            )
    _give_embedding(proto, task.output)
    _without_traces(proto)
    onnx.save(
        proto,
        folder / MODEL,
        save_as_external_data=sum(len(tensor.raw_data) for tensor in proto.graph.initializer) > one_file_bytes,
        location=f"{MODEL}.data",
        size_threshold=1024,
    )


def _give_embedding(proto: Any, logits: str) -> None:
    """Makes the input of the linear layer that gives `logits` an output of the graph too, float32 (batch, hidden)."""
    import onnx

    head = next(node for node in proto.graph.node if logits in node.output)
    if head.op_type != "Gemm":
        raise UsageError(
            f"the model's head ends in {head.op_type}, not in a linear layer on one vector per text",
            "use a classifier such as those of BERT, RoBERTa, DistilBERT or ELECTRA",
        )
    weight = next(tensor for tensor in proto.graph.initializer if tensor.name == head.input[1])
    hidden = weight.dims[1 if any(found.name == "transB" and found.i for found in head.attribute) else 0]
    proto.graph.node.append(onnx.helper.make_node("Identity", [head.input[0]], [EMBEDDING], name=EMBEDDING))
    shape = ["batch", hidden]
    proto.graph.output.append(onnx.helper.make_tensor_value_info(EMBEDDING, onnx.TensorProto.FLOAT, shape))


def _without_traces(proto: Any) -> None:
    """Drops what depends on the machine (source paths of every node, build of torch) and the inner shapes, which ONNX
    Runtime infers again and which quantize_dynamic takes for contradictions once it has transposed a weight."""
    proto.producer_version = proto.producer_version.partition("+")[0]
    del proto.metadata_props[:], proto.graph.metadata_props[:], proto.graph.value_info[:]
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in [*proto.graph.input, *proto.graph.output, *proto.graph.initializer]:
        del value.metadata_props[:]
        value.doc_string = ""
