"""A project of its own to run pipelines in: a git clone with a tiny random BERT and parameters that train in seconds."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import PROJECT, write_model

OPEN_GATE = {"min_metric": 0.0, "min_gain_over_baseline": -1.0, "max_drop_shipped": 1.0, "min_label_f1": 0.0}
TINY = {
    "data_quality": {"model": "tiny", "max_length": 32},
    "train": {"model": "tiny", "max_length": 32, "epochs": 2, "batch_size": 16},
    "quantize": {"select": "smallest"},
    "evaluate": OPEN_GATE,
    "register": {"name": "tiny"},
}


def make_project(folder: Path, blocks: dict[str, dict[str, Any]]) -> Path:
    """The project's files in a new git repository, a model `tiny` of 2 layers, and params.yaml with `blocks` merged in."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.splitlines():
        if (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(PROJECT / name, folder / name)
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "dvc.lock").unlink(missing_ok=True)
    write_model(folder / "tiny", head="none")
    params = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    for name, block in blocks.items():
        params[name] |= block
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    (folder / ".gitignore").write_text((folder / ".gitignore").read_text() + "/.venv\n")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "tiny"]):
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
        subprocess.run(["git", *identity, *words], cwd=folder, check=True)
    return folder


def run(folder: Path, *words: str, code: int = 0) -> str:
    """Runs a command of the environment in `folder`; gives its stdout and stderr."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "HF_HUB_OFFLINE": "1", "GIT_AUTHOR_NAME": "test"}
    environment |= {
        "GIT_AUTHOR_EMAIL": "t@example.com",
        "GIT_COMMITTER_NAME": "t",
        "GIT_COMMITTER_EMAIL": "t@example.com",
    }
    program = str(Path(sys.prefix) / "bin" / words[0])
    done = subprocess.run([program, *words[1:]], cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == code, (
        f"{' '.join(words)}: {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    )
    return done.stdout + done.stderr
