"""No program of fineline reaches for anything but this machine, or leaves a file in HOME: each is run where both would be seen.

Without a CI variable, which would hide what libraries do to their other users, and without any of the settings that the tests
switch telemetry off with.
"""

import dataclasses
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests import offline
from tests.conftest import PROJECT, files_of, make_rows
from tests.project import TINY, make_project

pytestmark = pytest.mark.slow

PARAMS = {
    **TINY,
    "train": {**TINY["train"], "epochs": 1},
    "pin": {"source": "data/tiny.csv"},
    "ingest": {"keep_columns": ["channel"], "columns": {"id": "id"}},
    "monitor": {"columns": {}},
}
BUNDLE = "artifacts/bundle"
SERVE = """
import contextlib, json, subprocess, sys, time, urllib.error, urllib.request

server = subprocess.Popen([*sys.argv[1:], "--port", "0", "--drain-seconds", "0"], stdout=subprocess.PIPE, text=True)
try:
    port = next(line["port"] for line in map(json.loads, server.stdout) if line["event"] == "listening")
    url, body = f"http://127.0.0.1:{port}/predict", b'{"texts": ["my card"]}'
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    answers = 0
    while answers < 6:
        with contextlib.suppress(urllib.error.URLError):  # it is not ready yet
            answers += bool(json.load(urllib.request.urlopen(request, timeout=60)))
        time.sleep(1)
finally:
    server.terminate()
sys.exit(server.wait())
"""
PYFUNC = """
import time
import mlflow  # with its own telemetry off, as docs/serving.md says: this is a program of the user's

model = mlflow.pyfunc.load_model("models:/tiny/1")
assert model.predict(["my card"])[0].label
time.sleep(3)
"""
FINELINE = [sys.executable, "-m", "cli"]
STAGES = yaml.safe_load((PROJECT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
PROGRAMS = {
    **{name: shlex.split(stage["cmd"].replace("${python}", sys.executable)) for name, stage in STAGES.items()},
    "monitor": f"{sys.executable} -m components.monitor --bundle {BUNDLE} --drift artifacts/drift --source data/tiny.csv "
    "--params params.yaml".split(),
    "decide": f"{sys.executable} -m components.decide --dataset artifacts/clean --decision artifacts/decision --name tiny "
    "--params params.yaml".split(),
    "predict": [
        *FINELINE,
        "predict",
        "--model",
        "models:/tiny@champion",
        "--file",
        "data/tiny.csv",
        "--out",
        "out.csv",
    ],
    "predict a text": [*FINELINE, "predict", "--model", BUNDLE, "my card"],
    "serve": [sys.executable, "-c", SERVE, *FINELINE, "serve", "--model", "models:/tiny@champion"],
    "serve with all": [
        *(
            sys.executable,
            "-c",
            SERVE,
            *FINELINE,
            "serve",
            "--model",
            "models:/tiny@champion",
            "--shadow",
            "artifacts/onnx",
        ),
        *("--canary", "50%", "--log-sample", "1", "--log-folder", "log", "--feedback-folder", "feedback"),
    ],
    "compare": [*FINELINE, "compare", "log", "--out", "compare.html"],
    "feedback": [*FINELINE, "feedback", "data/tiny.csv", "--folder", "feedback", "--out", "next.csv"],
    "pyfunc": [sys.executable, "-c", PYFUNC],
}

WITH_MOST_LIBRARIES = ("data_quality", "evaluate", "promote")
NO_HOME = "/dev/null/home"
ENVIRONMENT = {
    "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin:/usr/sbin:/sbin",
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
}


@dataclasses.dataclass
class Ran:
    """What one program did. `reached` says whom it tried to reach, `left` which files it left in HOME."""

    code: int
    output: str
    reached: list[str]
    left: set[str]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    """Every program, one after another, each in a namespace and with a HOME of its own."""
    try:
        unshared = offline.unshared()
    except OSError as error:
        pytest.skip(f"WHETHER ANYTHING PHONES HOME IS NOT TESTED: this machine makes no network namespace ({error})")
    folder = tmp_path_factory.mktemp("offline")
    project = folder / "project"
    (project / "data").mkdir(parents=True)
    make_rows(240).to_csv(project / "data" / "tiny.csv", index=False)
    make_project(project, PARAMS)
    found = {}
    for name, command in PROGRAMS.items():
        home, record = folder / "home" / name, folder / f"{name}.txt"
        home.mkdir(parents=True)
        environment = {**ENVIRONMENT, "HOME": str(home)}
        if name == "pyfunc":
            environment["MLFLOW_DISABLE_TELEMETRY"] = "true"
        within = [*unshared, sys.executable, offline.__file__, str(record), *command]
        done = subprocess.run(within, cwd=project, env=environment, capture_output=True, text=True)
        reached = record.read_text().splitlines() if record.exists() else ["unknown: it was not recorded"]
        found[name] = Ran(done.returncode, done.stdout + done.stderr, reached, files_of(home))
        if name in WITH_MOST_LIBRARIES:
            again = subprocess.run(
                command, cwd=project, env={**ENVIRONMENT, "HOME": NO_HOME}, capture_output=True, text=True
            )
            found[f"{name} without HOME"] = Ran(again.returncode, again.stdout + again.stderr, [], set())
    return found


def test_every_step_is_among_the_programs() -> None:
    assert {path.parent.name for path in (PROJECT / "components").glob("*/__main__.py")} <= set(PROGRAMS)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_it_reaches_nothing_and_leaves_nothing(ran: dict[str, Ran], name: str) -> None:
    found = ran[name]
    assert found.code == 0, found.output
    assert found.reached == []
    assert found.left == set()


@pytest.mark.parametrize("name", WITH_MOST_LIBRARIES)
def test_a_home_that_cannot_be_written_is_not_worth_a_word(ran: dict[str, Ran], name: str) -> None:
    found = ran[f"{name} without HOME"]
    assert found.code == 0, found.output
    assert not [word for word in ("Warning", "writable", "HOME", NO_HOME) if word in found.output], found.output


CALL_HOME = """
import socket

def tried(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        print(error)

tried(socket.getaddrinfo, "telemetry.example.com", 443)
for address in ("203.0.113.7", "2001:db8::7"):
    tried(socket.create_connection, (address, 443), 5)
datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for address in ("203.0.113.8", "224.0.0.251", "127.0.0.1"):
    tried(datagram.sendto, b"hello", (address, 5353))
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname())
"""


def test_what_is_caught(tmp_path: Path) -> None:
    try:
        unshared = offline.unshared()
    except OSError as error:
        pytest.skip(f"this machine makes no network namespace ({error})")
    record = tmp_path / "record"
    within = [*unshared, sys.executable, offline.__file__, str(record), sys.executable, "-c", CALL_HOME]
    done = subprocess.run(within, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert record.read_text().splitlines() == [
        "UDP to 192.0.2.53 port 53, asks for telemetry.example.com",
        "TCP to 203.0.113.7 port 443",
        "TCP to 2001:db8::7 port 443",
        "UDP to 203.0.113.8 port 5353",
        "UDP to 224.0.0.251 port 5353",
    ]
