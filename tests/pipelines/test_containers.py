"""A step's container: files of any name reach it, and none is left behind when Docker loses sight of it."""

import contextlib
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines import containers
from pipelines.local import Runner, Task, _Handler

IMAGE = "python:3.11-slim"
NAMES = ["plain.csv", "at 10:30, by hand.csv", 'say "hello":ro,x.csv', "日本:語.csv"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.csv", "type=bind,source=/in/a.csv,target=/in/a.csv"),
        ("10:30.csv", "type=bind,source=/in/10:30.csv,target=/in/10:30.csv"),
        ("a,b.csv", 'type=bind,"source=/in/a,b.csv","target=/in/a,b.csv"'),
    ],
)
def test_a_mount_is_a_line_of_csv(name: str, expected: str) -> None:
    assert containers.mount(Path("/in") / name) == expected
    assert containers.mount(Path("/in") / name, read_only=True) == f"{expected},readonly"


@pytest.fixture
def engine() -> None:
    try:
        answers = subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True).returncode == 0
    except FileNotFoundError:
        answers = False
    if not answers:
        pytest.skip(f"NO DOCKER ENGINE WITH {IMAGE} ANSWERS: .ci/docker starts one")


@pytest.mark.docker
def test_files_of_any_name_are_seen(engine: None, tmp_path: Path) -> None:
    mounts = []
    for name in NAMES:
        (tmp_path / name).write_text(name)
        mounts.append(containers.mount(tmp_path / name, Path("/app") / name, read_only=True))
    program = (
        "import json, sys, pathlib; print(json.dumps([pathlib.Path('/app', n).read_text() for n in sys.argv[1:]]))"
    )
    command = containers.command("fineline-test-names", IMAGE, ["python3", "-c", program, *NAMES], [], mounts)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == NAMES


class Line:
    """A socket between Docker's client and its engine that can be cut, and mended."""

    def __init__(self, path: Path) -> None:
        self.path, self.open = path, False
        self._ends: list[socket.socket] = []

    def mend(self) -> None:
        self.path.unlink(missing_ok=True)
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(self.path))
        self._server.listen(20)
        self.open = True
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def cut(self) -> None:
        self.open = False
        for end in [self._server, *self._ends]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self.path.unlink(missing_ok=True)

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, far = server.accept()[0], socket.socket(socket.AF_UNIX)
                far.connect("/var/run/docker.sock")
                self._ends += [near, far]
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=_copy, args=(source, target), daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(65_536):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def line(engine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    if "DOCKER_HOST" in os.environ or not Path("/var/run/docker.sock").exists():
        pytest.skip("the engine is not at /var/run/docker.sock")
    made = Line(tmp_path / "engine")
    made.mend()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{made.path}")
    yield made
    if made.open:
        made.cut()


def running(name: str) -> bool:
    listed = ["docker", "--host", "unix:///var/run/docker.sock", "ps", "--all", "--quiet", "--filter", f"name={name}"]
    return bool(subprocess.run(listed, capture_output=True, text=True, check=True).stdout)


@pytest.mark.docker
@pytest.mark.parametrize("comes_back", [True, False])
def test_a_lost_engine_leaves_no_container_or_says_which(
    line: Line, comes_back: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / f"run{comes_back}".lower()
    (folder / "logs").mkdir(parents=True)
    if not comes_back:
        monkeypatch.setattr(containers, "_SECONDS_TO_REMOVE", 1.0)
    container = f"fineline-{folder.name}-server"

    def cut(task: Task) -> None:
        if task.line.startswith("Serving") and line.open:
            assert running(container)
            line.cut()
            if comes_back:
                threading.Timer(2, line.mend).start()

    program = ["python3", "-m", "http.server", "--bind", "127.0.0.1", "0"]
    runner = Runner(docker=True, environment={"PYTHONUNBUFFERED": "1"}, mounts={})
    tasks: dict[str, Task] = {}
    _Handler(IMAGE, program, {}, folder, runner, tasks, cut).run()
    assert tasks["server"].code == containers.LOST
    log = tasks["server"].log.read_text()
    try:
        if comes_back:
            assert f"no container is left: {container} was removed" in log
            assert not running(container)
        else:
            assert f"the container may still run: docker rm --force {container}" in log
            assert running(container)
    finally:
        subprocess.run(
            ["docker", "--host", "unix:///var/run/docker.sock", "rm", "--force", container], capture_output=True
        )
