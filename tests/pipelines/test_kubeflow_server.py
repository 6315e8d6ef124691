"""The server that the tests talk to answers as a real one did: every recorded request that fineline could make, again."""

import json
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from cli import schedule
from cli.__main__ import main
from tests.pipelines.kubeflow_server import KubeflowServer

RECORDED = Path(__file__).parents[1] / "recorded"
ERRORS = json.loads((RECORDED / "errors.json").read_text(encoding="utf-8"))
NOT_ASKED = "terminate ended run"
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|default")
_TIME = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@pytest.fixture
def known(server: KubeflowServer) -> KubeflowServer:
    """A server that knows the pipeline, the version and the experiment of the recording."""
    assert main(["submit", "--host", server.url]) == 0
    return server


def ask(server: KubeflowServer, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    request = urllib.request.Request(f"{server.url}/apis/v2beta1{path}", method=method)
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.loads(refusal.read())


def alike(value: Any) -> Any:
    """A body without what is another one's each time: ids, times, and what the recording left out."""
    text = _TIME.sub("TIME", _ID.sub("ID", json.dumps(value)))
    body = json.loads(re.sub(r"( \.\.\. \(cut here\)|ResourceNotFoundError: PipelineV|a{9})[^\"]*", "...", text))
    body.pop("error_details", None)  # the server's stack
    return body


def in_place_of(value: Any, ids: dict[str, str]) -> Any:
    text = json.dumps(value)
    for recorded, ours in ids.items():
        text = text.replace(recorded, ours)
    return json.loads(text)


@pytest.mark.parametrize(
    "recorded", [pytest.param(entry, id=entry["what"]) for entry in ERRORS if entry["what"] != NOT_ASKED]
)
def test_it_answers_as_the_real_one(known: KubeflowServer, recorded: dict[str, Any]) -> None:
    ids = {
        "0916673d-8253-47f4-baa7-a71bb50a7ded": next(iter(known.pipelines)),
        "ca740252-1d36-47c4-a6c9-4e8b3ea1c0a2": next(iter(known.versions)),
        '"source"': '"checkpoints"',  # which was an input then, as this is one now
    }
    recorded = in_place_of(recorded, ids)
    method, path, *body = recorded["request"]
    if recorded["what"] == "arguments too large":
        body[0]["runtime_config"]["parameters"]["checkpoints"] = "a" * 140_000
    status, answer = ask(known, method, path, *body)
    assert status == recorded["status"]
    assert alike(answer) == alike(recorded["body"])


def test_a_schedule_is_what_a_real_server_kept(server: KubeflowServer, capsys: pytest.CaptureFixture[str]) -> None:
    (kept,) = json.loads((RECORDED / "recurring-runs.json").read_text(encoding="utf-8"))["recurringRuns"]
    kept["runtime_config"]["parameters"] = {"gpu_count": "0"}  # the others that were set are compiled in now
    changes = kept["runtime_config"]["parameters"]
    flags = [flag for name, value in changes.items() for flag in ("--set", f"cluster.{name}={value}")]
    cron = kept["description"].partition(":")[0]
    assert main(["schedule", "apply", "nightly", "--host", server.url, "--cron", cron, *flags]) == 0
    status, answer = ask(server, "GET", "/recurringruns")
    (ours,) = answer["recurringRuns"]
    assert (status, answer["total_size"]) == (200, 1)
    for body in (ours, kept):
        body["description"] = re.sub(r"[0-9a-f]{12,16}", "DIGEST", body["description"])
        body["updated_at"] = body["created_at"]
    assert alike(ours) == alike(kept)
    assert schedule.six_fields(cron) == kept["trigger"]["cron_schedule"]["cron"]
