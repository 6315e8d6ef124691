"""fineline submit --wait: a run followed through its states to its verdict, over a network that is not always there.

tests/cli/test_submit_recorded.py has the runs that a real server sent.
"""

import os
import signal
import subprocess
import sys
import time

import pytest

from cli import follow
from cli.__main__ import main
from tests.conftest import PROJECT
from tests.pipelines.kubeflow_server import Frame, KubeflowServer

STEPS = "pin ingest data-quality split augment train export-onnx quantize evaluate register promote".split()
LOOK = "GET runs/.*"


def frames(upto: str, *, end: str = "SUCCEEDED", last: str = "SUCCEEDED") -> list[Frame]:
    """A run in which one step after the other runs and is done, up to `upto`, which ends in the state `last`."""
    shown: list[Frame] = [("PENDING", {})]
    done: dict[str, str] = {}
    for step in STEPS[: STEPS.index(upto) + 1]:
        shown.append(("RUNNING", {**done, step: "RUNNING"}))
        done[step] = last if step == upto else "SUCCEEDED"
    return [*shown, (end, done)]


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "_SECONDS_BETWEEN_LOOKS", (0.01, 0.05))


def wait(server: KubeflowServer) -> int:
    return main(["submit", "--host", server.url, "--wait"])


def test_a_run_that_succeeds(server: KubeflowServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.frames = frames(STEPS[-1])
    assert wait(server) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    for step in STEPS:
        assert [step.replace("-", "_"), "running"] in lines
        assert [step.replace("-", "_"), "done", "12.0", "s"] in lines
    assert lines[-1] == "the run succeeded".split()


def test_a_gate_that_says_no_leaves_out_what_comes_after_it(
    server: KubeflowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.frames = frames("evaluate")
    assert wait(server) == 0
    output = capsys.readouterr().out
    assert "register     skipped 0.0 s  the gate said no" in output
    assert "train        done" in output


def test_a_run_that_fails_names_the_step(server: KubeflowServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.frames = frames("train", end="FAILED", last="FAILED")
    assert wait(server) == 1
    captured = capsys.readouterr()
    assert "train        failed 12.0 s" in captured.out
    assert "promote      skipped 0.0 s\n" in captured.out
    assert "the run failed at train" in captured.err
    assert "/#/runs/details/" in captured.err


def test_a_run_that_fails_before_any_step(server: KubeflowServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.frames = [("FAILED", {})]
    assert wait(server) == 1
    assert "error: the run failed (not told here: " in capsys.readouterr().err


def test_what_waits_for_seconds_is_not_worth_a_line(server: KubeflowServer, capsys: pytest.CaptureFixture[str]) -> None:
    pending: Frame = ("RUNNING", {"ingest": "PENDING"})
    server.frames = [pending, pending, *frames("ingest")]
    assert wait(server) == 0
    assert "waits" not in capsys.readouterr().out


def test_a_run_that_is_canceled(server: KubeflowServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.frames = frames("train", end="CANCELED", last="FAILED")
    assert wait(server) == 143
    captured = capsys.readouterr()
    assert "the run was canceled" in captured.err
    assert "train        canceled" in captured.out


def test_a_network_that_comes_back_costs_nothing(server: KubeflowServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.frames = frames("split")
    server.trouble = {LOOK: [503] * 5 + [0] * 5 + [500, 502]}
    assert wait(server) == 0
    output = capsys.readouterr().out
    assert server.trouble[LOOK] == []
    assert output.count("waiting for the server") == 1
    assert "the run succeeded" in output


def test_a_network_that_stays_away_ends_the_following_not_the_run(
    server: KubeflowServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "_SECONDS_WITHOUT_ANSWER", 0.5)
    server.trouble = {LOOK: [503] * 100}
    assert wait(server) == 4
    error = capsys.readouterr().err
    assert "answers 503: no healthy upstream; the run goes on" in error
    assert "look at it: http" in error


def test_a_token_that_expires_ends_the_following_at_once(
    server: KubeflowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.trouble = {LOOK: [401]}
    assert wait(server) == 4
    error = capsys.readouterr().err
    assert "refuses access (401" in error
    assert "the run goes on" in error


def test_ctrl_c_stops_following_and_not_the_run(server: KubeflowServer) -> None:
    server.frames = [("RUNNING", {"ingest": "RUNNING"})]
    command = [sys.executable, "-m", "cli", "submit", "--host", server.url, "--wait"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=PROJECT, env=environment
    ) as process:
        assert process.stdout
        while "ingest       running" not in process.stdout.readline():
            assert process.poll() is None
        before = len(server.requests)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "stopped following; the run goes on" in error
    assert "Traceback" not in error
    time.sleep(0.1)
    assert not [request for request in server.requests[before:] if not request.startswith("GET")]
