"""Checkpoints that survive a kill: one counts only when it is sealed, that is, when COMPLETE.json lists every file's sha256.

The Trainer writes a checkpoint file by file and takes the newest folder for the last one, so a kill during a save makes
it resume from half a checkpoint (transformers 5.23: 10 of 14 resumes failed). Here a checkpoint is sealed after its files
are on the disk, and what is not sealed is dropped at the next start.
"""

import hashlib
import json
import os
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import fineline
from fineline.artifacts.folders import sha256_file, write_json

COMPLETE = "COMPLETE.json"
STATE = "trainer_state.json"

_PREFIX = "checkpoint-"
_LIBRARIES = ("torch", "transformers", "tokenizers", "peft", "accelerate", "numpy")


def key(**identity: Any) -> str:
    """The name of the folder for checkpoints of a training that `identity` (JSON values), this code and its libraries
    determine: a sha256, hex."""
    identity |= {"code": _code(), "libraries": {name: version(name) for name in _LIBRARIES}}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def seal(checkpoint: Path) -> None:
    """Brings every file of a checkpoint to the disk, then names them with their sha256 in COMPLETE.json."""
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file())
    for path in files:
        _sync(path)
    staged = checkpoint / f".{COMPLETE}"
    write_json(staged, {str(path.relative_to(checkpoint)): sha256_file(path) for path in files})
    _sync(staged)
    staged.rename(checkpoint / COMPLETE)
    _sync(checkpoint)


def prune(folder: Path, *keep: int) -> None:
    """Removes the checkpoints of all steps but `keep`."""
    for checkpoint in _checkpoints(folder):
        if _step(checkpoint) not in keep:
            drop(checkpoint)


def last(folder: Path) -> Path | None:
    """The last sealed checkpoint whose files are all there and unchanged; drops every other that is not."""
    for checkpoint in _checkpoints(folder):
        if not _whole(checkpoint):
            drop(checkpoint)
    return max(_checkpoints(folder), key=_step, default=None)


def at(folder: Path, step: int) -> Path:
    """The folder of the checkpoint of that step."""
    return folder / f"{_PREFIX}{step}"


def end(folder: Path) -> None:
    """Reduces the checkpoints of a training that has ended to the models and the log."""
    for checkpoint in _checkpoints(folder):
        (checkpoint / COMPLETE).unlink(missing_ok=True)
        for path in (*checkpoint.glob("*.pt"), *checkpoint.glob("*.pth")):
            path.unlink()
        seal(checkpoint)


def is_sealed(folder: Path, step: int) -> bool:
    """Whether there is a sealed checkpoint of that step; what is in it is not looked at."""
    return (at(folder, step) / COMPLETE).is_file()


def drop(checkpoint: Path) -> None:
    """Removes a checkpoint if it is there; unseals it first, so that what a kill in between leaves is dropped as a whole."""
    (checkpoint / COMPLETE).unlink(missing_ok=True)
    if checkpoint.exists():
        shutil.rmtree(checkpoint)


def _code() -> dict[str, str]:
    """sha256 of each Python file that trains."""
    folders = (Path(__file__).parent, Path(fineline.__file__).parent)
    files = {f"{folder.name}/{path.relative_to(folder)}": path for folder in folders for path in folder.rglob("*.py")}
    return {name: sha256_file(path) for name, path in files.items()}


def _checkpoints(folder: Path) -> list[Path]:
    return [path for path in folder.glob(f"{_PREFIX}*") if path.is_dir()]


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix(_PREFIX))


def _whole(checkpoint: Path) -> bool:
    manifest = checkpoint / COMPLETE
    if not manifest.is_file():
        return False
    files = json.loads(manifest.read_text(encoding="utf-8"))
    return all(
        (checkpoint / name).is_file() and sha256_file(checkpoint / name) == digest for name, digest in files.items()
    )


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
