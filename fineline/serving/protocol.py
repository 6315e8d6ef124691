"""The Open Inference Protocol, version 2 (REST), with binary tensors: https://github.com/kserve/open-inference-protocol.

One input, `text`; the outputs are the task's: for single-label `label`, `score`, `probabilities` (a row per text) and `labels`,
which names their columns.
"""

import json
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from fineline.serving.bodies import HEADER_LENGTH

if TYPE_CHECKING:
    from fineline.serving.models import Served

INPUT = "text"
EXTENSIONS = ["binary_tensor_data"]

BINARY_SIZE, BINARY, ALL_BINARY = "binary_data_size", "binary_data", "binary_data_output"
"""Parameters of the extension: of a tensor, how many bytes behind the JSON are its; of an output that is asked for, and of the
whole request, whether it comes so."""

_LENGTH = struct.Struct("<I")


class Tensor(BaseModel):
    """An input tensor; `data` is flat, or nested by rows."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class RequestedOutput(BaseModel):
    """An output that is asked for."""

    name: str
    parameters: dict[str, Any] = {}


class InferRequest(BaseModel):
    """An inference request. Of `parameters`, which the protocol allows everywhere, only those for binary tensors count."""

    id: str | None = None
    inputs: list[Tensor]
    outputs: list[RequestedOutput] | None = None
    parameters: dict[str, Any] = {}


def unpack(request: Any, binary: bytes) -> None:
    """Puts the texts that lie in `binary` into the tensors of `request`, parsed JSON of any kind. Raises HTTPException 400."""
    tensors = request.get("inputs") if isinstance(request, dict) else None
    start = 0
    for tensor in tensors if isinstance(tensors, list) else []:
        parameters = tensor.get("parameters") if isinstance(tensor, dict) else None
        size = parameters.get(BINARY_SIZE) if isinstance(parameters, dict) else None
        if size is None:
            continue
        if type(size) is not int or not 0 <= size <= len(binary) - start:
            raise HTTPException(400, f"{BINARY_SIZE} is not a number of bytes that follow the JSON")
        tensor["data"] = _texts(binary[start : start + size])
        start += size
    if start != len(binary):
        raise HTTPException(400, f"{len(binary) - start} bytes behind the JSON belong to no tensor ({BINARY_SIZE})")


def _texts(binary: bytes) -> list[str]:
    """The elements of a BYTES tensor: each its length, 4 bytes, little-endian, and its UTF-8."""
    found, place = [], 0
    while place < len(binary):
        start = place + _LENGTH.size
        if start > len(binary):
            raise HTTPException(400, "a binary tensor ends inside the length of an element")
        place = start + _LENGTH.unpack_from(binary, start - _LENGTH.size)[0]
        if place > len(binary):
            raise HTTPException(400, "a binary tensor ends inside an element")
        try:
            found.append(binary[start:place].decode())
        except UnicodeDecodeError:
            raise HTTPException(400, f"text {len(found) + 1} is no text: it is not UTF-8") from None
    return found


def texts_of(request: InferRequest, served: "Served") -> list[str]:
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
    names = [name for name, *_ in _tensors(served, [])]
    for output in request.outputs or []:
        if output.name not in names:
            raise HTTPException(400, f"there is no output '{output.name}'; outputs: {', '.join(names)}")
    return texts


def response(request: InferRequest, served: "Served", answers: Sequence[dict[str, Any]]) -> Response:
    """The answers as an inference response, with the outputs that were asked for, in JSON or behind it."""
    tensors = {name: (datatype, shape, data) for name, datatype, shape, data in _tensors(served, answers)}
    everything = request.parameters.get(ALL_BINARY) is True
    outputs, binary = [], []
    for asked in request.outputs or [RequestedOutput(name=name) for name in tensors]:
        datatype, shape, data = tensors[asked.name]
        shape = [len(answers) if size == -1 else size for size in shape]
        output: dict[str, Any] = {"name": asked.name, "datatype": datatype, "shape": shape}
        if asked.parameters.get(BINARY, everything) is True:
            binary.append(_binary(datatype, data))
            output["parameters"] = {BINARY_SIZE: len(binary[-1])}
        else:
            output["data"] = data
        outputs.append(output)
    content = {"model_name": served.name, "model_version": served.version, "outputs": outputs}
    if request.id is not None:
        content["id"] = request.id
    if not binary:
        return JSONResponse(content)
    head = json.dumps(content).encode()
    return Response(
        b"".join([head, *binary]), media_type="application/octet-stream", headers={HEADER_LENGTH: str(len(head))}
    )


def _binary(datatype: str, data: Sequence[Any]) -> bytes:
    if datatype == "FP64":
        return struct.pack(f"<{len(data)}d", *data)
    if datatype == "BOOL":
        return bytes(data)
    texts = [text.encode() for text in data]
    return b"".join(_LENGTH.pack(len(text)) + text for text in texts)


def model_metadata(served: "Served") -> dict[str, Any]:
    """What the model takes and gives."""
    return {
        "name": served.name,
        "versions": [served.version],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": INPUT, "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": name, "datatype": datatype, "shape": shape} for name, datatype, shape, _ in _tensors(served, [])
        ],
    }


def _tensors(served: "Served", answers: Sequence[dict[str, Any]]) -> list[tuple[str, str, list[int], list[Any]]]:
    return served.bundle.task.tensors(answers, served.bundle.labels)
