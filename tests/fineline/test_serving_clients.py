"""Clients of other projects, installed and used as their makers say: NVIDIA's for Triton, and schemathesis."""

import gzip
import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from fineline.bundles.bundle import open_bundle, predict
from tests.serving import Server, serving

TEXTS = ["my card was declined", "", "ünïcode 漢 🙂"]
LABELS = ["card", "login", "transfer"]
INFER = "/v2/models/tiny/infer"
BINARY = {"binary_data_size": 9}


@pytest.fixture(scope="module")
def server(fp32: Path) -> Iterator[Server]:
    arguments = ("--name", "tiny", "--max-body-bytes", 5000, "--body-seconds", 5, "--max-texts", 200)
    with serving(fp32, *arguments) as running:
        yield running


@pytest.fixture(scope="module")
def expected(fp32: Path) -> list[dict[str, Any]]:
    return predict(open_bundle(fp32), TEXTS)


@pytest.fixture
def triton(server: Server) -> Iterator[Any]:
    """The module tritonclient.http and a client of the server."""
    module = pytest.importorskip("tritonclient.http", reason="tritonclient is not installed: pip install -e '.[dev]'")
    with module.InferenceServerClient(server.url.removeprefix("http://")) as client:
        yield module, client


def test_triton_reads_health_and_metadata(triton: Any) -> None:
    _, client = triton
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    metadata = client.get_model_metadata("tiny")
    assert [output["name"] for output in metadata["outputs"]] == ["label", "score", "probabilities", "labels"]


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("asked", [True, False, None])
@pytest.mark.parametrize("packed", [None, "gzip", "deflate"])
def test_triton_gets_the_bundles_answers(
    triton: Any, expected: list[dict[str, Any]], sent: bool, asked: bool | None, packed: str | None
) -> None:
    """Tensors in binary and in JSON, of which its own choice is binary; compressed and not, both ways; no Content-Type."""
    module, client = triton
    tensor = module.InferInput("text", [len(TEXTS)], "BYTES")
    tensor.set_data_from_numpy(np.array(TEXTS, dtype=object), binary_data=sent)
    names = ("label", "score", "probabilities", "labels")
    outputs = None if asked is None else [module.InferRequestedOutput(name, binary_data=asked) for name in names]
    result = client.infer(
        "tiny",
        [tensor],
        outputs=outputs,
        request_id="7",
        request_compression_algorithm=packed,
        response_compression_algorithm=packed,
    )
    assert result.get_response()["id"] == "7"
    read = {name: result.as_numpy(name) for name in names}
    text = [[value.decode() if isinstance(value, bytes) else value for value in read[name]] for name in names[::3]]
    assert text == [[answer["label"] for answer in expected], LABELS]
    assert read["score"] == pytest.approx([answer["score"] for answer in expected], abs=1e-5)
    wanted = np.array([[answer["probabilities"][label] for label in LABELS] for answer in expected])
    assert read["probabilities"] == pytest.approx(wanted, abs=1e-5)
    assert read["probabilities"].dtype == np.float64


def test_triton_reads_why_it_was_refused(triton: Any) -> None:
    module, client = triton
    tensor = module.InferInput("txt", [1], "BYTES")
    tensor.set_data_from_numpy(np.array(["a"], dtype=object))
    with pytest.raises(module.InferenceServerException, match="inputs must be one tensor named 'text'"):
        client.infer("tiny", [tensor])


def tensor(**changed: Any) -> dict[str, Any]:
    return {"name": "text", "shape": [1], "datatype": "BYTES", "parameters": BINARY, **changed}


@pytest.mark.parametrize(
    ("content", "binary", "length", "words"),
    [
        ({"inputs": [tensor()]}, b"\x05\0\0\0wo", None, "binary_data_size is not a number of bytes that follow"),
        ({"inputs": [tensor()]}, b"\x05\0\0\0words", "x", "Inference-Header-Content-Length is not a number"),
        ({"inputs": [tensor()]}, b"\x05\0\0\0words", "99999", "Inference-Header-Content-Length is not a number"),
        ({"inputs": [tensor()]}, b"\x05\0\0\0words", "-1", "Inference-Header-Content-Length is not a number"),
        ({"inputs": [tensor()]}, b"\x05\0\0\0words", "7", "the body is not valid JSON"),
        ({"inputs": [tensor()]}, b"\x06\0\0\0words", None, "ends inside an element"),
        ({"inputs": [tensor()]}, b"\x02\0\0\0aa\x01\0\0", None, "ends inside the length of an element"),
        ({"inputs": [tensor()]}, b"\x05\0\0\0wo\xff\xfes", None, "text 1 is no text: it is not UTF-8"),
        ({"inputs": [tensor()]}, b"\x05\0\0\0wo\xed\xa0\x80", None, "text 1 is no text: it is not UTF-8"),
        ({"inputs": [tensor()]}, b"\x05\0\0\0wordsrest", None, "4 bytes behind the JSON belong to no tensor"),
        ({"inputs": [tensor(parameters={"binary_data_size": -1})]}, b"", None, "binary_data_size is not a number"),
        ({"inputs": [tensor(parameters={"binary_data_size": True})]}, b"a", None, "binary_data_size is not a number"),
        ({"inputs": [tensor(parameters={"binary_data_size": 1e3})]}, b"a", None, "binary_data_size is not a number"),
        ({"inputs": [7]}, b"", None, "inputs.0: Input should be a valid dictionary"),
        ({"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES"}]}, b"", None, "inputs.0.data: Field required"),
        ([], b"", None, "Input should be a valid dictionary"),
    ],
)
def test_binary_tensors_that_are_none(
    server: Server, content: Any, binary: bytes, length: str | None, words: str
) -> None:
    head = json.dumps(content).encode()
    headers = {"Inference-Header-Content-Length": length or str(len(head))}
    answer = requests.post(server.url + INFER, data=head + binary, headers=headers, timeout=60)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


WHOLE = json.dumps({"texts": TEXTS}).encode()


@pytest.mark.parametrize(
    ("encoding", "body", "status", "words"),
    [
        ("gzip", gzip.compress(WHOLE, mtime=0), 200, "predictions"),
        ("x-gzip", gzip.compress(WHOLE, mtime=0), 200, "predictions"),
        ("deflate", zlib.compress(WHOLE), 200, "predictions"),
        ("identity", WHOLE, 200, "predictions"),
        ("gzip", WHOLE, 400, "the body is not gzip, which its Content-Encoding says"),
        ("gzip", gzip.compress(WHOLE, mtime=0)[:-4], 400, "the body is no whole gzip"),
        ("gzip", gzip.compress(WHOLE, mtime=0) + b"more", 400, "the body is no whole gzip"),
        ("gzip", b"", 400, "texts: Field required"),
        ("gzip", gzip.compress(b" " * 10_000_000, mtime=0), 413, "the body is larger than the 5000 bytes"),
        ("gzip", gzip.compress(bytes(5000), mtime=0), 400, "the body is not valid JSON"),
        ("br", WHOLE, 415, "the body's Content-Encoding must be gzip or deflate"),
        ("gzip, gzip", WHOLE, 415, "the body's Content-Encoding must be gzip or deflate"),
    ],
)
def test_compressed_bodies(server: Server, encoding: str, body: bytes, status: int, words: str) -> None:
    headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}
    answer = requests.post(f"{server.url}/predict", data=body, headers=headers, timeout=60)
    assert answer.status_code == status, answer.text
    assert words in answer.text


def test_long_answers_are_compressed_for_who_takes_that(server: Server) -> None:
    content = {"texts": ["a"] * 100}
    plain = requests.post(f"{server.url}/predict", json=content, headers={"Accept-Encoding": "identity"}, timeout=60)
    packed = requests.post(f"{server.url}/predict", json=content, headers={"Accept-Encoding": "gzip"}, timeout=60)
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) * 4 < len(plain.content)
    assert packed.json() == plain.json()


def test_the_protocols_example_of_binary_data(server: Server) -> None:
    """extension_binary_data.md: sizes in the JSON, in the order of the tensors, little-endian."""
    head = json.dumps({"inputs": [tensor()], "outputs": [{"name": "score", "parameters": {"binary_data": True}}]})
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    body = head.encode() + b"\x05\0\0\0words"
    answer = requests.post(server.url + INFER, data=body, headers=headers, timeout=60)
    assert answer.headers["content-type"] == "application/octet-stream"
    size = int(answer.headers["inference-header-content-length"])
    (output,) = json.loads(answer.content[:size])["outputs"]
    assert output == {"name": "score", "datatype": "FP64", "shape": [1], "parameters": {"binary_data_size": 8}}
    (score,) = struct.unpack("<d", answer.content[size:])
    assert score == pytest.approx(server.predict("words")["predictions"][0]["score"], abs=1e-9)


@pytest.mark.slow
def test_schemathesis_finds_nothing_that_the_description_does_not_say(server: Server, tmp_path: Path) -> None:
    pytest.importorskip("schemathesis", reason="schemathesis is not installed: pip install -e '.[dev]'")
    # What a schema cannot say of a request (one tensor, as many texts as its shape says) is refused with 400, which it does say.
    words = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{server.url}/openapi.json"),
        *("--max-examples", "25", "--seed", "1", "--no-color", "--phases", "coverage,fuzzing"),
        *("--exclude-checks", "positive_data_acceptance"),
    ]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_nothing_failed(server: Server) -> None:
    assert not [line for line in server.log if line["level"] == "error"]
    assert 500 not in {line["status"] for line in server.events("request")}
