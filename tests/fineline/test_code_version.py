"""fineline/process/code_version.py in a real git repository, outside of one, and in an image."""

import os
import subprocess
from pathlib import Path

import pytest

from fineline.process import code_version
from fineline.process.code_version import git_state


def test_git_state_of_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FINELINE_GIT_COMMIT", raising=False)
    monkeypatch.setattr(code_version, "__file__", str(tmp_path / "checkout" / "code_version.py"))
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        command = ["git", *identity, "-C", str(tmp_path / "checkout"), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    (tmp_path / "checkout").mkdir()
    assert git_state() == ("unknown", "unknown")
    git("init", "-q")
    (tmp_path / "checkout" / "code_version.py").write_text("1")
    (tmp_path / "checkout" / "other.py").write_text("1")
    git("add", "other.py")
    git("commit", "-q", "-m", "a project that has fineline in its .venv")
    assert git_state() == ("unknown", "unknown")
    git("add", "code_version.py")
    git("commit", "-q", "-m", "first")
    commit = git("rev-parse", "HEAD")
    assert git_state() == (commit, "false")
    (tmp_path / "checkout" / "dvc.lock").write_text("written by dvc repro")
    assert git_state() == (commit, "false")
    git("add", "dvc.lock")
    assert git_state() == (commit, "false")
    (tmp_path / "checkout" / "more.py").write_text("not added yet")
    assert git_state() == (commit, "true")
    (tmp_path / "checkout" / "more.py").unlink()
    (tmp_path / "checkout" / "code_version.py").write_text("2")
    assert git_state() == (commit, "true")


def test_an_image_says_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINELINE_GIT_COMMIT", "abc-dirty")
    assert git_state() == ("abc", "true")
