"""What .ci/ does beside make: it waits for apt's locks, with a bound."""

import fcntl
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.conftest import PROJECT

LOCK = "state/lists/lock"


@pytest.fixture
def apt(tmp_path: Path) -> Path:
    """Folders of apt's own, without any source, in which apt-get is not told of the machine's."""
    if not shutil.which("apt-get"):
        pytest.skip("this is no Debian: there is no apt-get")
    for name in ("state/lists/partial", "cache/archives/partial", "etc", "dpkg"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "dpkg" / "status").touch()
    settings = {"Dir::State": "state", "Dir::State::status": "dpkg/status", "Dir::Cache": "cache", "Dir::Etc": "etc"}
    lines = [f'{name} "{tmp_path / place}";' for name, place in settings.items()]
    (tmp_path / "apt.conf").write_text("\n".join([*lines, 'APT::Sandbox::User "";', 'Debug::NoLocking "false";']))
    return tmp_path


def install(apt: Path, seconds: int) -> subprocess.CompletedProcess[str]:
    """.ci/apt-install of a package that does not exist."""
    environment = {**os.environ, "APT_CONFIG": str(apt / "apt.conf"), "APT_LOCK_SECONDS": str(seconds)}
    return subprocess.run([".ci/apt-install", "no-such"], cwd=PROJECT, env=environment, capture_output=True, text=True)


def test_it_waits_for_a_lock_that_is_let_go(apt: Path) -> None:
    with (apt / LOCK).open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        began = time.monotonic()
        threading.Timer(2, lambda: fcntl.lockf(lock, fcntl.LOCK_UN)).start()
        done = install(apt, seconds=60)
    assert time.monotonic() - began > 2
    assert done.returncode == 1
    assert done.stderr.count("waiting: Could not get lock") == 1
    assert "Unable to locate package no-such" in done.stderr


def test_it_gives_up_in_the_end_and_says_who_holds_the_lock(apt: Path) -> None:
    with (apt / LOCK).open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        done = install(apt, seconds=1)
    assert done.returncode == 1
    assert f"held by process {os.getpid()}" in done.stderr
