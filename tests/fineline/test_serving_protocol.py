"""Open Inference Protocol v2 and /predict over HTTP, in a server process that cannot import torch."""

import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests

from fineline import __version__
from fineline.artifacts import folders
from fineline.bundles.bundle import open_bundle, predict
from tests.serving import Server, serving, until

TEXTS = ["my card was declined", "", "ünïcode 漢 🙂", "wire transfer pending " * 40]
LABELS = ["card", "login", "transfer"]
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def fp32(bundle: Path) -> Path:
    """The bundle before its quantization: its answers do not depend on what else is in a batch."""
    return bundle.parent / "onnx"


@pytest.fixture(scope="module")
def server(fp32: Path) -> Iterator[Server]:
    with serving(
        fp32, "--name", "tiny", "--max-texts", 8, "--max-characters", 2000, "--max-body-bytes", 5000
    ) as server:
        yield server


@pytest.fixture(scope="module")
def expected(fp32: Path) -> list[dict]:
    return predict(open_bundle(fp32), TEXTS)


def tensor(texts: list, **changed: object) -> dict:
    return {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": texts, **changed}


def test_metadata_and_health(server: Server, fp32: Path) -> None:
    version = folders.read_manifest(fp32).digest.removeprefix("sha256:")[:12]
    assert server.get("/v2").json() == {
        "name": "fineline",
        "version": __version__,
        "extensions": ["binary_tensor_data"],
    }
    assert server.get("/v2/health/live").json() == {"live": True}
    assert server.get("/v2/health/ready").json() == {"live": True, "ready": True}
    metadata = {
        "name": "tiny",
        "versions": [version],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "score", "datatype": "FP64", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP64", "shape": [-1, 3]},
            {"name": "labels", "datatype": "BYTES", "shape": [3]},
        ],
    }
    for path in ("/v2/models/tiny", f"/v2/models/tiny/versions/{version}"):
        assert server.get(path).json() == metadata
        assert server.get(f"{path}/ready").json() == {"name": "tiny", "ready": True}


def test_head_is_get_without_a_body(server: Server) -> None:
    for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/tiny", "/metrics", "/openapi.json"):
        answer = requests.head(server.url + path, timeout=60)
        assert (answer.status_code, answer.content) == (200, b""), path
    assert requests.head(server.url + "/predict", timeout=60).status_code == 405
    server.get("/v2")  # the connection is not out of step
    until(lambda: sum(line["method"] == "HEAD" for line in server.events("request")) >= 2)
    heads = [line["route"] for line in server.events("request") if line["method"] == "HEAD"]
    assert heads[:2] == ["/v2", "/v2/models/{name}"]


@pytest.mark.parametrize("given", ["7f3a", "", "two words", "x" * 129])
def test_a_request_has_an_id_in_its_answer_and_its_line(server: Server, given: str) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"X-Request-ID": given, "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    answer = requests.get(server.url + "/v2/models/none", headers=headers, timeout=60)
    found = answer.headers["x-request-id"]
    assert found == given if given == "7f3a" else re.fullmatch("[0-9a-f]{32}", found)
    until(lambda: server.events("request")[-1]["request_id"] == found)
    line = server.events("request")[-1]
    assert (line["route"], line["status"], line["trace_id"]) == ("/v2/models/{name}", 404, trace)


def test_a_slash_too_many_is_404_and_no_redirect(server: Server) -> None:
    answer = requests.get(server.url + "/v2/", allow_redirects=False, timeout=60)
    assert (answer.status_code, answer.headers.get("location")) == (404, None)


def test_infer_answers_what_the_bundle_answers(server: Server, expected: list[dict]) -> None:
    answer = server.post("/v2/models/tiny/infer", {"id": "42", "inputs": [tensor(TEXTS)]})
    assert answer.status_code == 200
    content = answer.json()
    assert set(content) == {"model_name", "model_version", "id", "outputs"}
    assert (content["model_name"], content["id"]) == ("tiny", "42")
    outputs = {output["name"]: output for output in content["outputs"]}
    assert {name: (output["datatype"], output["shape"]) for name, output in outputs.items()} == {
        "label": ("BYTES", [4]),
        "score": ("FP64", [4]),
        "probabilities": ("FP64", [4, 3]),
        "labels": ("BYTES", [3]),
    }
    assert outputs["labels"]["data"] == LABELS
    assert outputs["label"]["data"] == [answer["label"] for answer in expected]
    assert outputs["score"]["data"] == pytest.approx([answer["score"] for answer in expected], abs=TOLERANCE)
    found = np.array(outputs["probabilities"]["data"]).reshape(4, 3)
    assert found == pytest.approx(np.array([[a["probabilities"][k] for k in LABELS] for a in expected]), abs=TOLERANCE)


def test_a_column_of_texts_and_one_output(server: Server, expected: list[dict]) -> None:
    column = tensor([[text] for text in TEXTS], shape=[4, 1])
    version = server.get("/v2/models/tiny").json()["versions"][0]
    answer = server.post(
        f"/v2/models/tiny/versions/{version}/infer", {"inputs": [column], "outputs": [{"name": "label"}]}
    )
    assert answer.json() == {
        "model_name": "tiny",
        "model_version": version,
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [4], "data": [answer["label"] for answer in expected]}
        ],
    }


def test_predict(server: Server, expected: list[dict]) -> None:
    answer = server.predict(*TEXTS)
    assert set(answer) == {"model", "version", "predictions"}
    for found, wanted in zip(answer["predictions"], expected, strict=True):
        assert found["label"] == wanted["label"]
        assert found["score"] == found["probabilities"][found["label"]]
        assert found["probabilities"] == pytest.approx(wanted["probabilities"], abs=TOLERANCE)


GOOD = {"inputs": [tensor(["a"])]}
INFER = "/v2/models/tiny/infer"


@pytest.mark.parametrize(
    ("path", "content", "status", "words"),
    [
        ("/v2/models/other/infer", GOOD, 404, "there is no model 'other'; this server has 'tiny'"),
        ("/v2/models/tiny/versions/7/infer", GOOD, 404, "there is no version '7' of 'tiny'"),
        (INFER, {}, 400, "inputs: Field required"),
        (INFER, {"inputs": []}, 400, "inputs must be one tensor named 'text'"),
        (INFER, {"inputs": [tensor(["a"], name="x")]}, 400, "inputs must be one tensor named 'text'"),
        (INFER, {"inputs": [tensor(["a"])] * 2}, 400, "inputs must be one tensor named 'text'"),
        (INFER, {"inputs": [tensor(["a"], datatype="FP32")]}, 400, "must be of datatype BYTES, not FP32"),
        (INFER, {"inputs": [tensor(["a"], shape=[2])]}, 400, "holds 1 texts, which is shape [1], not [2]"),
        (INFER, {"inputs": [tensor(["a"], shape=["x"])]}, 400, "inputs.0.shape.0: Input should be a valid integer"),
        (INFER, {"inputs": [tensor([1])]}, 400, "must hold strings only"),
        (INFER, {"inputs": [tensor([[["a"]]])]}, 400, "must hold strings only"),
        (INFER, {"inputs": [tensor([])]}, 400, "there is no text in the request"),
        (INFER, {**GOOD, "outputs": [{"name": "logits"}]}, 400, "there is no output 'logits'; outputs: label"),
        ("/predict", {"texts": []}, 400, "there is no text in the request"),
        ("/predict", {"texts": "a"}, 400, "texts: Input should be a valid list"),
        ("/predict", {"texts": ["a", None]}, 400, "texts.1: Input should be a valid string"),
        ("/predict", {"texts": ["fine", "bad \ud800"]}, 400, "text 2 is no text: it holds half of a surrogate pair"),
        (INFER, {**GOOD, "id": "\ud800"}, 400, "id is no text: it holds half of a surrogate pair"),
        (INFER, {"inputs": [tensor(["a"], name="\udfff")]}, 400, "inputs.0.name is no text: it holds half"),
        (INFER, {"inputs": [tensor(["a"], datatype="\ud800")]}, 400, "inputs.0.datatype is no text"),
        (INFER, {"inputs": [tensor(["a", "\ud800"])]}, 400, "inputs.0.data.1 is no text"),
        (INFER, {**GOOD, "outputs": [{"name": "\ud800"}]}, 400, "outputs.0.name is no text"),
        (INFER, {**GOOD, "parameters": {"a": ["\udc00\ud800"]}}, 400, "parameters.a.0 is no text"),
        ("/predict", {"texts": ["a"], "\ud800": 1}, 400, "\\ud800 is no text"),
        ("/predict", "\ud800", 400, "the body is no text"),
        ("/v2/models/\u00e9\u6f22/infer", GOOD, 404, "there is no model '\u00e9\u6f22'"),
        ("/v2/models/%ED%A0%80%FF/infer", GOOD, 404, "there is no model '"),
        ("/predict", {"texts": ["a"] * 9}, 413, "9 texts are more than the 8 that one request may hold"),
        ("/predict", {"texts": ["a", "b" * 2001]}, 413, "text 2 has 2001 characters, more than the 2000 allowed"),
        ("/predict", {"texts": ["a" * 5000]}, 413, "the body is larger than the 5000 bytes"),
        ("/v2/models/tiny/explain", GOOD, 404, "Not Found"),
        ("/v2/models/tiny", GOOD, 405, "Method Not Allowed"),
    ],
)
def test_refusals_are_one_clear_line(server: Server, path: str, content: dict, status: int, words: str) -> None:
    answer = server.post(path, content)
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}
    assert words in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "kind", "status", "words"),
    [
        (b'{"texts": ["a"', "application/json", 400, "the body is not valid JSON"),
        (b"\xff\xfe", "application/json", 400, "no UTF-8 at byte 0"),
        (b'{"texts": ["\xed\xa0\x80"]}', "application/json", 400, "no UTF-8 at byte 12"),
        (b"[" + b"9" * 4400 + b"]", "application/json", 400, "a number of too many digits"),
        (b"[" * 4000, "application/json", 400, ""),
        (b"texts=a", "application/x-www-form-urlencoded", 415, "must be JSON, with the header Content-Type"),
        (b"", "application/json", 400, "Field required"),
    ],
)
def test_bodies_that_are_no_json(server: Server, body: bytes, kind: str, status: int, words: str) -> None:
    answer = requests.post(f"{server.url}/predict", data=body, headers={"Content-Type": kind}, timeout=60)
    assert answer.status_code == status
    assert words in answer.json()["error"]


def test_a_large_body_is_refused_before_it_is_read(server: Server) -> None:
    announced = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
    announced.putrequest("POST", "/predict")
    announced.putheader("Content-Type", "application/json")
    announced.putheader("Content-Length", str(10**12))
    announced.endheaders()  # and not one byte of it
    assert announced.getresponse().status == 413
    announced.close()

    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 10**9:
            sent += 1000
            yield b"a" * 1000

    chunked = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
    try:
        chunked.request("POST", "/predict", endless(), {"Content-Type": "application/json"}, encode_chunked=True)
        assert chunked.getresponse().status == 413
    except (BrokenPipeError, ConnectionResetError):  # the server closed while we were still writing
        pass
    assert sent < 10**8
    assert server.predict("still there")


def test_openapi_describes_the_routes(server: Server) -> None:
    paths = server.get("/openapi.json").json()["paths"]
    assert {"/predict", "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/{name}/infer", "/metrics"} <= set(
        paths
    )
    assert server.get("/docs").status_code == 404  # its page loads scripts from the web


def test_nothing_failed(server: Server) -> None:
    statuses = {line["status"] for line in server.events("request")}
    assert {200, 400, 404, 405, 413, 415} <= statuses
    assert 500 not in statuses
    assert not [json.dumps(line) for line in server.log if line["level"] == "error"]
