"""fineline retrain: trains again with DVC on this machine, when there is a reason. For cron: it may be called at any time.

One at a time, under a lock that its programs hold too: it lasts until the last of them has ended, also when this process was
killed. What failed, was stopped or killed goes on when it is called again.
"""

import argparse
import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cli import summary
from fineline.artifacts import folders
from fineline.process.errors import FinelineError
from fineline.tracking.tags import PIPELINE_RUN
from pipelines import blocks

FOLDER = Path(".fineline")
ARTIFACTS = Path("artifacts")

_EXITED = re.compile(r"exited with (\d+)")


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="read and check the data, look for drift, and say what would be done: nothing is trained or recorded",
    )
    parser.epilog = (
        "example, in a crontab: 0 3 * * * cd /srv/project && .venv/bin/fineline retrain >> retrain.log 2>&1\n"
        "What counts is the block `decide` of params.yaml. Exit code 0 also when there is no reason to train."
    )


def run(flags: argparse.Namespace) -> int:
    """Ingests, checks, watches, decides, and trains if there is a reason. Raises FinelineError when a step fails."""
    steps, _ = blocks.read()
    with _alone() as lock:
        if lock is None:
            print("retrain: another retrain is under way here; nothing to do")
            return 0
        with _pipeline_run(keep=not flags.dry_run):
            _dvc(lock, "data_quality")
            drift = _watched(lock, steps)
            if flags.dry_run:
                print(f"retrain: would be {_would(steps, drift)}")
                return 0
            trains = _decided(lock, steps, drift)
            with _recorded():
                if trains:
                    _dvc(lock)
            if trains:
                for line in summary.summary(ARTIFACTS, summary.width()):
                    print(line)
    return 0


def _would(steps: blocks.Blocks, drift: Path | None) -> str:
    from components.decide.params import Params
    from components.decide.step import asked
    from fineline.registry.model_versions import server_errors

    params = Params.model_validate({**steps["decide"], "name": steps["register"]["name"]})
    with server_errors():
        return asked(params, ARTIFACTS / "clean", drift)[2].reason


def _watched(lock: int, steps: blocks.Blocks) -> Path | None:
    """What monitor says of the champion and the recent texts; None where nobody wants to know."""
    recent = steps["decide"]["recent"]
    if not recent:
        return None
    drift = ARTIFACTS / "drift"
    _step(lock, "monitor.watch", "--name", steps["register"]["name"], "--source", recent, "--drift", str(drift))
    return drift


def _decided(lock: int, steps: blocks.Blocks, drift: Path | None) -> bool:
    decision = ARTIFACTS / "decision"
    given = ["--drift", str(drift)] if drift else []
    name = steps["register"]["name"]
    _step(lock, "decide", "--name", name, "--dataset", str(ARTIFACTS / "clean"), *given, "--decision", str(decision))
    return bool(folders.read_manifest(decision).figures["retrain"])


@contextlib.contextmanager
def _recorded() -> Iterator[None]:
    """Records in MLflow how the block ended, as for a pipeline on Kubeflow; also ends what a killed retrain left open."""
    from fineline.runs.finish import FAILED, SUCCEEDED, End, record

    try:
        yield
    except FinelineError as error:
        record(End(FAILED, error.what))
        raise
    record(End(SUCCEEDED))


@contextlib.contextmanager
def _alone() -> Iterator[int | None]:
    """The file descriptor of a lock on this folder, for programs to hold too; None when a retrain is under way here."""
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / "retrain.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield file.fileno()


@contextlib.contextmanager
def _pipeline_run(keep: bool) -> Iterator[None]:
    """Gives all MLflow runs inside the block the id of one pipeline run: that of the retrain that was stopped here, if any.

    With `keep`, the id stays on disk until the block ends well.
    """
    file = FOLDER / "retrain.json"
    run_id = (
        json.loads(file.read_text(encoding="utf-8"))["run"] if file.is_file() else f"retrain-{uuid.uuid4().hex[:12]}"
    )
    os.environ[PIPELINE_RUN] = run_id
    if keep:
        folders.write_json(file, {"run": run_id})
    yield
    if keep:
        file.unlink(missing_ok=True)


def _step(lock: int, name: str, *flags: str) -> None:
    _program(lock, [sys.executable, "-m", f"components.{name}", *flags, "--params", str(blocks.PARAMS)])


def _dvc(lock: int, *targets: str) -> None:
    _program(lock, [sys.executable, "-m", "dvc", "repro", *targets])


def _program(lock: int, command: list[str]) -> None:
    """Runs a program, showing what it says. Raises FinelineError with the exit code of the step that failed."""
    said: list[str] = []
    # dvc.yaml of a project says `python`, and cron knows no activated environment.
    path = os.pathsep.join(filter(None, [str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    # A session of its own: dvc and its step are ended as one group, with the signal that lets a training save itself.
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
        pass_fds=[lock],
        env={**os.environ, "PATH": path},
    ) as process:
        assert process.stderr
        try:
            for line in process.stderr:
                said.append(line)
                print(line, end="", file=sys.stderr, flush=True)
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            sys.stderr.write(process.stderr.read())  # until all of them have ended
            raise
    if process.returncode:
        raise _failed(command, process.returncode, "".join(said))


def _failed(command: list[str], code: int, said: str) -> Any:
    """The failure of a program; dvc says in words with which exit code its step ended."""
    found = _EXITED.findall(said)
    error = FinelineError(f"{' '.join(command[1:])} failed", "mend what is said above, then run the same command again")
    error.code = int(found[-1]) if found else code if code in (2, 3, 4, 5, 143) else 4
    return error
