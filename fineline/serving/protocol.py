"""The Open Inference Protocol, version 2 (REST): https://github.com/kserve/open-inference-protocol.

One input, `text`; outputs `label`, `score`, `probabilities` (a row per text) and `labels`, which names their columns.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException
from pydantic import BaseModel

if TYPE_CHECKING:
    from fineline.serving.models import Served

INPUT = "text"
OUTPUTS = ("label", "score", "probabilities", "labels")


class Tensor(BaseModel):
    """An input tensor; `data` is flat, or nested by rows."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class RequestedOutput(BaseModel):
    """An output that is asked for."""

    name: str


class InferRequest(BaseModel):
    """An inference request. `parameters`, which the protocol allows everywhere, have no meaning here and are ignored."""

    id: str | None = None
    inputs: list[Tensor]
    outputs: list[RequestedOutput] | None = None


def texts_of(request: InferRequest) -> list[str]:
    """The texts of a request; raises HTTPException 400 saying what of it this model does not take."""
    if [tensor.name for tensor in request.inputs] != [INPUT]:
        raise HTTPException(400, f"inputs must be one tensor named '{INPUT}'")
    tensor = request.inputs[0]
    if tensor.datatype != "BYTES":
        raise HTTPException(400, f"input '{INPUT}' must be of datatype BYTES, not {tensor.datatype}")
    texts = [text for row in tensor.data for text in (row if isinstance(row, list) else [row])]
    if not all(isinstance(text, str) for text in texts):
        raise HTTPException(400, f"input '{INPUT}' must hold strings only")
    if tensor.shape not in ([len(texts)], [len(texts), 1]):
        raise HTTPException(
            400, f"input '{INPUT}' holds {len(texts)} texts, which is shape [{len(texts)}], not {tensor.shape}"
        )
    for output in request.outputs or []:
        if output.name not in OUTPUTS:
            raise HTTPException(400, f"there is no output '{output.name}'; outputs: {', '.join(OUTPUTS)}")
    return texts


def response(request: InferRequest, served: "Served", answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The answers as an inference response, with the outputs that were asked for."""
    labels, count = served.bundle.labels, len(answers)
    tensors = {
        "label": ("BYTES", [count], [answer["label"] for answer in answers]),
        "score": ("FP64", [count], [answer["score"] for answer in answers]),
        "probabilities": (
            "FP64",
            [count, len(labels)],
            [answer["probabilities"][label] for answer in answers for label in labels],
        ),
        "labels": ("BYTES", [len(labels)], labels),
    }
    asked = [output.name for output in request.outputs or []] or OUTPUTS
    content = {
        "model_name": served.name,
        "model_version": served.version,
        "outputs": [
            {"name": name, "datatype": tensors[name][0], "shape": tensors[name][1], "data": tensors[name][2]}
            for name in asked
        ],
    }
    return content if request.id is None else {**content, "id": request.id}


def model_metadata(served: "Served") -> dict[str, Any]:
    """What the model takes and gives."""
    labels = len(served.bundle.labels)
    return {
        "name": served.name,
        "versions": [served.version],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": INPUT, "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "score", "datatype": "FP64", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP64", "shape": [-1, labels]},
            {"name": "labels", "datatype": "BYTES", "shape": [labels]},
        ],
    }
