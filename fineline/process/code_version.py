"""Which code ran: the git commit of this checkout, or what the image says."""

import os
import subprocess
from pathlib import Path

UNKNOWN = "unknown"


def git_state() -> tuple[str, str]:
    """(commit, 'true' or 'false' for changed files) of this code; in an image from FINELINE_GIT_COMMIT ('<commit>[-dirty]').

    Both are 'unknown' without git, without a repository and without a commit. dvc.lock does not count: DVC writes it while the
    pipeline runs, and no step reads it.
    """
    if described := os.environ.get("FINELINE_GIT_COMMIT"):
        return described.removesuffix("-dirty"), str(described.endswith("-dirty")).lower()
    try:
        _git("ls-files", "--error-unmatch", Path(__file__).name)  # else the repository is one that has .venv in it
        commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--", ":/", ":(top,exclude)dvc.lock")
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN, UNKNOWN
    return commit, str(bool(changes)).lower()


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
