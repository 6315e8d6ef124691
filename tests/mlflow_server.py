"""A real MLflow server process for a test or a benchmark, on SQLite or PostgreSQL, which can be killed and started again."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

POSTGRESQL = sorted(Path("/usr/lib/postgresql").glob("*/bin"))

_SECONDS_TO_START = 120


class Server:
    """`mlflow server` of one process on a port of its own; `uri` is its address."""

    def __init__(self, folder: Path, store: str, workers: int = 1) -> None:
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._command = [
            *(sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store, "--workers", str(workers)),
            *("--artifacts-destination", str(folder / "files"), "--host", "127.0.0.1", "--port", str(self.port)),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and waits until it answers."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
        # Nothing here runs MLflow's jobs, whose ten processes take most of the time that a server needs to start.
        environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, cwd=self.folder, env=environment, start_new_session=True
            )
        ends = time.monotonic() + _SECONDS_TO_START
        while time.monotonic() < ends:
            with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                if urllib.request.urlopen(f"{self.uri}/health", timeout=2).status == 200:
                    return
            if self._process.poll() is not None:
                break
            time.sleep(0.2)
        raise RuntimeError(f"no MLflow server: {(self.folder / 'server.log').read_text()[-2000:]}")

    def kill(self) -> None:
        """kill -9 of it and of its workers, as when its machine dies."""
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@contextlib.contextmanager
def running(folder: Path, store: str = "", workers: int = 1) -> Iterator[Server]:
    """A server that is up inside the block; its store is SQLite in `folder` unless `store` names another."""
    folder.mkdir(parents=True, exist_ok=True)
    server = Server(folder, store or f"sqlite:///{folder}/mlflow.db", workers)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """The address of an empty PostgreSQL database, made for the block. Debian's package, run as postgres."""
    programs = POSTGRESQL[-1]
    folder = Path(tempfile.mkdtemp(prefix="fineline-postgresql-"))
    as_user: list[str] = []
    if os.getuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]

    def run(program: str, *arguments: str) -> None:
        subprocess.run([*as_user, str(programs / program), *arguments], check=True, capture_output=True, cwd="/")

    port = free_port()
    data = str(folder / "data")
    try:
        run("initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        run("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql+psycopg2://postgres@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
