"""Slow, silent and broken clients: each part of a request has a deadline, and whoever waits for nothing costs nothing."""

import json
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.serving import Server, command, serving, until

HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
BODY = b'{"texts": ["card"]}'
WHOLE = HEAD % len(BODY) + BODY
LEAST_FILES = 256


def connected(server: Server) -> socket.socket:
    """A connection to the server."""
    return socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=30)


def ended(connection: socket.socket) -> bytes:
    """What the server sends until it ends the connection, which must be soon."""
    found = b""
    try:
        while piece := connection.recv(65536):
            found += piece
    except ConnectionResetError:
        pass
    return found


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


@pytest.fixture(scope="module")
def server(fp32: Path) -> Iterator[Server]:
    """Deadlines of a second, and one thread, which is busy for as long as it waits to fill a batch."""
    arguments = ("--head-seconds", 1, "--body-seconds", 1, "--answer-seconds", 2, "--max-wait-ms", 1000)
    with serving(fp32, "--name", "tiny", *arguments, "--max-batch", 1024, "--threads", 1) as running:
        yield running


@pytest.mark.parametrize("sent", [b"", b"G", b"GET /v2 HTTP/1.1\r\nHost: x\r\n", WHOLE + b"GET /v2"])
def test_a_head_that_does_not_come_ends_the_connection(server: Server, sent: bytes) -> None:
    with connected(server) as connection:
        connection.sendall(sent)
        begun = time.monotonic()
        answer = ended(connection)
        assert time.monotonic() - begun < 10
        assert status_of(answer) == (200 if sent.startswith(b"POST") else 0)


@pytest.mark.parametrize(("first", "drop"), [(b"", b"G"), (HEAD % 10_000_000, b" ")])
def test_drop_by_drop_is_no_way_to_hold_a_connection(server: Server, first: bytes, drop: bytes) -> None:
    """Each byte of a head begins no new deadline; nor does what is sent on of a body that was refused."""

    def drip(connection: socket.socket) -> None:
        for _ in range(100):
            connection.sendall(drop)
            time.sleep(0.1)

    with connected(server) as connection:
        connection.sendall(first)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            drip(connection)


def test_a_body_that_does_not_come_is_408(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(HEAD % 100 + BODY)
        answer = ended(connection)
    assert status_of(answer) == 408
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"error": "the body did not come within 1 s"}


def test_an_answer_that_takes_too_long_is_504_and_waits_no_more(fp32: Path) -> None:
    arguments = ("--answer-seconds", 0.3, "--max-wait-ms", 1000, "--max-batch", 1024, "--threads", 1)
    with serving(fp32, "--name", "tiny", *arguments) as slow:
        answer = slow.post("/predict", {"texts": ["card"]})
        assert (answer.status_code, answer.json()) == (504, {"error": "there was no answer within 0.3 s"})
        assert slow.metric("fineline_queue_texts") == 0
        time.sleep(1)
        assert "fineline_texts_total{" not in slow.get("/metrics").text
        assert slow.metric("fineline_batch_size_count") == 0


def test_who_goes_away_costs_no_run_of_the_model(server: Server) -> None:
    before = server.metric("fineline_batch_size_sum")
    with connected(server) as connection:
        connection.sendall(WHOLE)
        until(lambda: server.metric("fineline_queue_texts") == 1)
    until(lambda: server.metric("fineline_queue_texts") == 0, seconds=0.9)
    assert len(server.predict("pin")["predictions"]) == 1
    assert server.metric("fineline_batch_size_sum") == before + 1
    assert [line["status"] for line in server.events("request")].count(499) == 1


def test_who_goes_away_within_its_body_is_no_failure(fp32: Path) -> None:
    with serving(fp32, "--name", "tiny") as server:
        for _ in range(3):
            with connected(server) as connection:
                connection.sendall(HEAD % 100 + BODY)
                time.sleep(0.1)
        until(lambda: len(server.events("request")) == 3)
        assert {line["status"] for line in server.events("request")} == {499}
        assert not [line for line in server.log if line["level"] == "error"]


def test_beyond_the_limit_probes_are_answered_and_nothing_else(fp32: Path) -> None:
    with serving(fp32, "--name", "tiny", "--max-connections", 8, "--head-seconds", 3) as server:
        held = [connected(server) for _ in range(8)]
        try:
            for path in ("/v2/health/live", "/v2/health/ready", "/metrics"):
                answer = server.get(path)
                assert (answer.status_code, answer.headers["connection"]) == (200, "close")
            refused = server.post("/predict", {"texts": ["card"]})
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert refused.json() == {"error": "too many connections: try again later"}
            flood = [connected(server) for _ in range(100)]  # held for a second, or not at all
            until(lambda: _lives(server), seconds=10)
            for connection in flood:
                connection.close()
        finally:
            for connection in held:
                ended(connection)
                connection.close()
        assert server.predict("card")


def _lives(server: Server) -> bool:
    try:
        return requests.get(f"{server.url}/v2/health/live", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


def test_the_limit_is_below_that_of_files(fp32: Path) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (LEAST_FILES, LEAST_FILES))

    words = command("--model", fp32, "--port", 0, "--max-connections", 200)
    done = subprocess.run(words, capture_output=True, text=True, preexec_fn=few)
    assert done.returncode == 2
    assert "--max-connections needs 392 open files, and this process may have 256 (ulimit -n)" in done.stderr
    assert f"give --max-connections {LEAST_FILES - 192} at most" in done.stderr


def test_half_sent_bodies_do_not_keep_it_from_ending(fp32: Path) -> None:
    with serving(fp32, "--name", "tiny", "--shutdown-seconds", 1) as server:
        held = [connected(server) for _ in range(5)]
        for connection in held:
            connection.sendall(HEAD % 100 + BODY)
        half = connected(server)
        half.sendall(b"GET /v2 HT")
        until(lambda: len(held) + 1 <= _connections(server))
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=30) == 0
        assert time.monotonic() - begun < 5
        assert status_of(ended(held[0])) == 503
        until(lambda: server.events("stopped"))
        assert [line["status"] for line in server.events("request")] == [503] * 5
        assert not [line for line in server.log if "traceback" in line]
        for connection in [*held, half]:
            connection.close()


def _connections(server: Server) -> int:
    """How many connections the process holds: its sockets but for the one that listens."""
    links = Path(f"/proc/{server.process.pid}/fd").iterdir()
    return sum("socket:" in str(link.readlink()) for link in links) - 1
