"""train started twice with the same inputs: the second waits, says for whom, and takes what the first leaves to the end."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from components.train import work_folder
from fineline.artifacts import folders
from fineline.process.errors import ResourceError
from tests.components.conftest import FAST
from tests.components.test_train_survival import Interrupted, logged
from tests.conftest import PROJECT

pytestmark = pytest.mark.usefixtures("one_thread", "ready_store")

PARAMS = {**FAST, "epochs": 3, "batch_size": 1, "logging_steps": 1, "early_stopping_patience": 0, "save_minutes": 0.02}


class Pair:
    """Two processes with the same training and outputs of their own. The first stands still, at `step`, until the second
    says that it waits: `line`."""

    def __init__(self, splits: Path, pretrained: Path, folder: Path, step: int):
        self.first = Interrupted(splits, pretrained, folder, PARAMS, "first", FINELINE_PIPELINE_RUN="run-a")
        is_there = logged(step)
        while not any(is_there(folder) for folder in self.first.kept.glob("[!.]*")):
            assert self.first.process.poll() is None, self.first.process.communicate()
            time.sleep(0.01)
        self.first.process.send_signal(signal.SIGSTOP)
        self.second = Interrupted(splits, pretrained, folder, PARAMS, "second", FINELINE_PIPELINE_RUN="run-b")
        said = self.second.process.stderr
        assert said is not None
        self.line = next(line for line in said if "waits for the same training" in line)

    def end_of_second(self) -> str:
        """Its stderr, after it ended well."""
        error = self.second.process.communicate(timeout=600)[1]
        assert self.second.process.returncode == 0, error
        return error


@pytest.mark.slow
def test_the_second_waits_and_takes_what_the_first_made(splits: Path, pretrained: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    pair = Pair(splits, pretrained, tmp_path, step=1)
    first, second = pair.first, pair.second
    assert f"(process {first.process.pid} on {socket.gethostname()}, pipeline run run-a, since 20" in pair.line
    first.process.send_signal(signal.SIGCONT)
    error = first.process.communicate(timeout=600)[1]
    assert first.process.returncode == 0, error
    error = pair.end_of_second()
    assert f"the other training (process {first.process.pid} on" in error
    assert "has ended" in error
    assert "epoch" not in error, f"it trained again: {error}"
    assert folders.verify(first.model) == folders.verify(second.model)

    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    one, other = (client.get_run(folders.read_run_id(folder)) for folder in (first.model, second.model))
    assert one.info.run_id != other.info.run_id
    assert (one.info.status, other.info.status) == ("FINISHED", "FINISHED")
    assert [run.data.tags["fineline.pipeline_run"] for run in (one, other)] == ["run-a", "run-b"]
    assert other.data.tags["fineline.trained_by"] == one.info.run_id
    assert one.data.metrics == other.data.metrics
    assert one.data.params == other.data.params


@pytest.mark.slow
def test_a_killed_owner_is_noticed_at_once(train: Callable, splits: Path, pretrained: Path, tmp_path: Path) -> None:
    whole = train("whole", **PARAMS)
    pair = Pair(splits, pretrained, tmp_path, step=120)
    pair.first.process.kill()
    error = pair.end_of_second()
    pair.first.process.wait()
    assert f"the other training (process {pair.first.process.pid} on" in error
    assert "is gone without an end: takes over its checkpoints" in error
    assert "train: goes on at step" in error
    assert folders.verify(pair.second.model) == whole
    assert not pair.first.model.exists()


OWNER = """
import sys, time
from pathlib import Path
from components.train import work_folder
work_folder._SECONDS_OF_LEASE, work_folder._SECONDS_BETWEEN_RENEWALS = 4.0, 0.2
with work_folder.opened("key", Path(sys.argv[1]), waiting=lambda: None):
    print("has it", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def pod(tmp_path: Path) -> Callable[[], subprocess.Popen[str]]:
    """pod() -> a process that owns tmp_path / 'key' in a pid and host namespace of its own, as another pod does."""
    if subprocess.run(["unshare", "--pid", "--uts", "--fork", "true"], capture_output=True).returncode:
        pytest.skip("needs the right to make namespaces")

    def run() -> subprocess.Popen[str]:
        inside = 'hostname pod-of-the-first; exec "$@"'
        command = ["unshare", "--pid", "--uts", "--fork", "--kill-child", "sh", "-c", inside, "sh"]
        owner = subprocess.Popen(
            [*command, sys.executable, "-c", OWNER, str(tmp_path)],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert owner.stdout is not None
        assert owner.stdout.readline() == "has it\n"
        return owner

    return run


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work_folder, "_SECONDS_OF_LEASE", 4.0)
    monkeypatch.setattr(work_folder, "_SECONDS_BETWEEN_RENEWALS", 0.2)
    monkeypatch.setattr(work_folder, "_SECONDS_BETWEEN_TRIES", 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("volume", ["exchanges names", "does not, as NFS"])
def test_another_pod_keeps_its_checkpoints_while_it_lives_and_no_longer(
    volume: str,
    pod: Callable[[], subprocess.Popen[str]],
    short_lease: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if volume != "exchanges names":  # renameat2(RENAME_EXCHANGE) is EINVAL on NFS: linux/fs/nfs/dir.c, nfs_rename
        monkeypatch.setattr("filelock._soft.exchange_names", lambda *_: False)
    owner = pod()
    began, killed = time.monotonic(), 0.0

    def waiting() -> None:
        nonlocal killed
        if not killed and time.monotonic() - began > 10:  # more than two leases: only its renewals keep us out
            killed = time.monotonic()
            owner.kill()

    with work_folder.opened("key", tmp_path, waiting) as mine:
        assert killed, "a living owner lost its checkpoints"
        assert time.monotonic() - killed < 30
        mine.check()
    said = capsys.readouterr().err
    assert "waits for the same training (process " in said
    assert "on pod-of-the-first" in said
    assert "is gone without an end" in said


def test_who_was_taken_for_gone_writes_no_more(tmp_path: Path, short_lease: None) -> None:
    def lose() -> None:
        with work_folder.opened("key", tmp_path, lambda: None) as mine:
            mine.check()
            lease = tmp_path / ".key.lease"
            lease.write_text(lease.read_text().replace("token=", "token=another"))
            mine.check()

    with pytest.raises(ResourceError, match="taken over"):
        lose()
    assert not (tmp_path / "key" / work_folder.FINISHED).exists()


@pytest.mark.slow
def test_a_training_that_was_taken_over_ends(splits: Path, pretrained: Path, tmp_path: Path) -> None:
    params = {**PARAMS, "epochs": 20}
    process = Interrupted(splits, pretrained, tmp_path, params)

    def taken(folder: Path) -> bool:
        lease = folder.with_name(f".{folder.name}.lease")
        if not logged(20)(folder) or not lease.exists():
            return False
        lease.write_text(lease.read_text().replace("token=", "token=another"))
        return True

    error = process.stop(taken, signal.SIGCONT)
    assert process.process.returncode == 4, error
    assert "another process has taken over" in error
    assert "Traceback" not in error


def test_finished_checkpoints_are_removed_after_an_hour(tmp_path: Path) -> None:
    kept = tmp_path / "kept"

    def one(name: str) -> None:
        with work_folder.opened(name, kept, lambda: None):
            pass

    one("old")
    one("recent")
    with work_folder.opened("in-use", kept, lambda: None):
        for name in ("old", "in-use"):
            (kept / name / work_folder.FINISHED).touch()
            hour_ago = time.time() - 3700
            os.utime(kept / name / work_folder.FINISHED, (hour_ago, hour_ago))
        (kept / "unfinished").mkdir()
        one("new")
        assert {path.name for path in kept.glob("[!.]*")} == {"recent", "in-use", "unfinished", "new"}
