"""KServe's own client, in an environment of its own: it wants pandas below 3, psutil below 6 other protobufs than ours."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fineline.bundles.bundle import open_bundle, predict
from tests.serving import serving

pytestmark = pytest.mark.slow

KSERVE = "kserve==0.21.0"
TEXTS = ["my card was declined", "ünïcode 漢 🙂"]
ASK = """
import asyncio, json, sys
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

async def main(url, texts):
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    told = [await client.is_server_live(url), await client.is_server_ready(url), await client.is_model_ready(url, "tiny")]
    for binary in (False, True):
        tensor = InferInput("text", [len(texts)], "BYTES")
        tensor.set_data_from_numpy(np.array(texts, dtype=object), binary_data=binary)
        request = InferRequest(model_name="tiny", infer_inputs=[tensor], request_id="3")
        answer = await client.infer(url, request, model_name="tiny")
        read = {output.name: output.as_numpy().tolist() for output in answer.outputs}
        told.append([answer.id, [str(label) for label in read["label"]], read["score"]])
    print(json.dumps(told))

asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
"""


@pytest.fixture(scope="session")
def kserve(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has KServe's client."""
    folder = tmp_path_factory.mktemp("kserve") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    done = subprocess.run([python, "-m", "pip", "install", "-q", KSERVE], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{KSERVE} cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
    return python


def test_kserves_client_gets_the_bundles_answers(kserve: Path, fp32: Path) -> None:
    wanted = predict(open_bundle(fp32), TEXTS)
    with serving(fp32, "--name", "tiny") as server:
        words = [str(kserve), "-c", ASK, server.url, json.dumps(TEXTS)]
        done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told[:3] == [True, True, True]
    for request_id, labels, scores in told[3:]:
        assert (request_id, labels) == ("3", [answer["label"] for answer in wanted])
        assert scores == pytest.approx([answer["score"] for answer in wanted], abs=1e-5)
