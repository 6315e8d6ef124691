"""One place tries again: MLflow's client what a server answered with 429 or 5xx, a step's patience all that takes longer."""

import contextlib
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cli.__main__ import main
from fineline.process import patience
from tests.conftest import write_dataset

HANG, CUT = "hang", "cut"
NOT_FOUND = 404
HOURS = "3600"


@contextlib.contextmanager
def answering(*answers: str | int) -> Iterator[tuple[str, list[str]]]:
    """The address of a server that is healthy, and gives each request for more the next of `answers`, the last for ever: a
    status, silence, or the end of the connection. The requests that it got, as a list that grows."""
    asked: list[str] = []
    over = threading.Event()

    class Slow(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/health":
                return self.reply(200)
            asked.append(self.path.partition("?")[0])
            answer = answers[min(len(asked), len(answers)) - 1]
            if isinstance(answer, int):
                return self.reply(answer)
            if answer == HANG:
                over.wait(60)
            self.close_connection = True
            return None

        def reply(self, status: int) -> None:
            body = b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none"}'
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Retry-After", HOURS)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        over.set()
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("answers", "requests", "code", "said"),
    [
        ((HANG,), 1, 4, "does not answer (no answer in time)"),
        ((CUT,), 1, 4, "does not answer (the connection was cut)"),
        ((503, 429, NOT_FOUND), 3, 2, "models:/tiny@champion is not in the registry"),
    ],
)
def test_a_command_asks_once_what_does_not_answer(
    answers: tuple[str | int, ...], requests: int, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    with answering(*answers) as (address, asked):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        begun = time.monotonic()
        assert main(["predict", "--model", "models:/tiny@champion", "a"]) == code
        assert time.monotonic() - begun < 20
    assert len(asked) == requests, asked
    assert said in capfd.readouterr().err


def test_in_a_step_only_its_patience_asks_again(
    tmp_path: Path, rows: pd.DataFrame, run_step: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = write_dataset(tmp_path / "clean", rows)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setattr(patience, "WAITS", (0.1, 0.1))
    with answering(HANG) as (address, asked):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        code, _, error = run_step("decide", {"name": "tiny"}, dataset=dataset, decision=tmp_path / "decision")
    assert code == 4
    assert len(asked) == 3, asked
    assert [line.count("trying again") for line in error.splitlines()] == [1, 1, 0, 0]
