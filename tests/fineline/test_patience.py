"""What may pass by itself is tried again inside the step, which says so; nothing else is, and not for ever."""

import errno
import ssl
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import aiohttp
import botocore.exceptions
import httpx2
import pytest
import requests

from fineline.process import patience
from fineline.process.errors import FinelineError, ResourceError, Unavailable, UsageError
from fineline.process.patience import may_pass
from fineline.steps.command_line import Step, main
from fineline.steps.params import StepParams
from tests.conftest import write_dataset
from tests.mlflow_server import Server

CLOSED = "http://127.0.0.1:9"


def answered(status: int) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(f"{status} Error for url: {CLOSED}", response=response)


def caught(work: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as found:  # noqa: PT011  any: its kind is what the test asks for
        work()
    return found.value


def of_s3(status: int) -> botocore.exceptions.ClientError:
    return botocore.exceptions.ClientError({"ResponseMetadata": {"HTTPStatusCode": status}}, "GetObject")


def caused(error: Exception, by: Exception) -> Exception:
    error.__cause__ = by
    return error


PASSES = {
    "a closed port": caught(lambda: requests.get(CLOSED, timeout=1)),
    "a name that is not found": caught(lambda: requests.get("http://nowhere.invalid", timeout=1)),
    "too many requests": answered(429),
    "a server that starts": answered(503),
    "a store that does not answer": botocore.exceptions.EndpointConnectionError(endpoint_url=CLOSED),
    "a store that is busy": caused(OSError(errno.EBUSY, "Please reduce your request rate."), of_s3(503)),
    "a connection cut": aiohttp.ServerDisconnectedError(),
    "the hub": caused(FileNotFoundError("no copy here"), httpx2.ConnectError("[Errno 111]")),
    "git": Exception("fatal: unable to access 'https://host/r.git': Could not resolve host: host"),
    "a database that starts": Exception("FATAL:  the database system is starting up"),
}
STAYS = {
    "no permission": answered(403),
    "a wrong key": caused(PermissionError("Forbidden"), of_s3(403)),
    "no such file": FileNotFoundError(2, "No such file"),
    "a full disk": OSError(errno.ENOSPC, "No space left on device"),
    "a certificate": caused(
        requests.exceptions.SSLError("failed"), ssl.SSLCertVerificationError("certificate verify failed")
    ),
    "a password": Exception(
        'connection to server at "db" failed: FATAL:  password authentication failed for user "ann"'
    ),
    "a driver": ModuleNotFoundError("No module named 'psycopg'"),
}


@pytest.mark.parametrize("name", PASSES)
def test_what_may_pass(name: str) -> None:
    assert may_pass(PASSES[name])


@pytest.mark.parametrize("name", STAYS)
def test_what_does_not(name: str) -> None:
    assert not may_pass(STAYS[name])


class Params(StepParams):
    """None."""


def run_with(*failures: FinelineError) -> tuple[int, int]:
    """(exit code, tries) of a step whose tries fail so, one after the other, and then succeed."""
    tries: list[int] = []

    def run(*, params: Params) -> str:
        tries.append(1)
        if len(tries) <= len(failures):
            raise failures[len(tries) - 1]
        return "done"

    step = Step(name="fetch", summary="fetches", load=lambda: (Params, run), outputs={})
    return main(step, ["--params", "{}"]), len(tries)


def test_a_step_tries_again_and_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    waits = patience_of_steps()
    assert waits[0] >= 20
    assert sum(waits) < 600
    monkeypatch.setattr(patience, "WAITS", (0.01, 0.02, 0.03))
    away = Unavailable("the store does not answer", "start it")
    assert run_with(away, away) == (0, 3)
    said = capsys.readouterr()
    assert said.out == "fetch: done\n"
    assert said.err.splitlines() == [
        f"fetch: the store does not answer; trying again in 0 s, {number} of 3" for number in (1, 2)
    ]
    assert run_with(*[away] * 9) == (4, 4)
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "fetch: error: the store does not answer",
        "fetch: to mend it: start it",
    ]
    assert run_with(ResourceError("the disk is full")) == (4, 1)
    assert run_with(UsageError("no such column")) == (2, 1)
    monkeypatch.setenv("WORLD_SIZE", "2")  # of torchrun's processes none begins again without the others
    assert run_with(away) == (4, 1)


def patience_of_steps() -> tuple[float, ...]:
    """WAITS as steps have it, which the tests do not."""
    import subprocess

    words = [sys.executable, "-c", "from fineline.process.patience import WAITS; print(*WAITS)"]
    return tuple(map(float, subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()))


@pytest.mark.slow
def test_a_step_waits_for_an_mlflow_server_that_starts(
    tmp_path: Path, rows, run_step: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = write_dataset(tmp_path / "clean", rows)
    server = Server(tmp_path, f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setattr(patience, "WAITS", (1.0,) * 120)
    start = threading.Thread(target=server.start)
    start.start()
    try:
        code, out, error = run_step("decide", {"name": "tiny"}, dataset=dataset, decision=tmp_path / "decision")
        start.join()
    finally:
        server.kill()
    assert (code, out) == (0, "decide: retrain: no champion yet, 150 rows\n"), error
    assert "does not answer (Connection refused); trying again in 1 s, 1 of 120" in error
