"""Checkpoints that survive a kill: one counts only when it is sealed, that is, when COMPLETE.json lists every file's sha256.

The Trainer writes a checkpoint file by file and takes the newest folder for the last one, so a kill during a save makes
it resume from half a checkpoint (transformers 5.23: 10 of 14 resumes failed). Here a checkpoint is sealed after its files
are on the disk, and what is not sealed is dropped at the next start.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fineline.artifacts import sha256_file, write_json
from fineline.errors import ResourceError

COMPLETE = "COMPLETE.json"
STATE = "trainer_state.json"

_PREFIX = "checkpoint-"


def key(**identity: Any) -> str:
    """The name of the folder for checkpoints of a training that `identity` (JSON values) determines: a sha256, hex."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def folder_for(name: str, parent: Path | None) -> Iterator[Path]:
    """The folder `parent`/`name`, removed when the block ends well and kept when it does not; a temporary one without `parent`.

    A lock keeps a second training of the same key out: raises ResourceError when there is one.
    """
    from filelock import FileLock, Timeout

    if parent is None:
        with tempfile.TemporaryDirectory(prefix="fineline-train-") as temporary:
            yield Path(temporary)
        return
    folder = parent.absolute() / name
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f".{name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ResourceError(
            f"another process trains the same model in {folder}", "wait for it to end, or stop it, then run again"
        ) from None
    try:
        yield folder
        shutil.rmtree(folder)
        Path(lock.lock_file).unlink(missing_ok=True)
    finally:
        lock.release()


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
            _remove(checkpoint)


def last(folder: Path) -> Path | None:
    """The last sealed checkpoint whose files are all there and unchanged; drops every other that is not."""
    for checkpoint in _checkpoints(folder):
        if not _whole(checkpoint):
            _remove(checkpoint)
    return max(_checkpoints(folder), key=_step, default=None)


def at(folder: Path, step: int) -> Path:
    """The folder of the checkpoint of that step."""
    return folder / f"{_PREFIX}{step}"


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


def _remove(checkpoint: Path) -> None:
    """Unseals first: what a kill in between leaves is then dropped as a whole."""
    (checkpoint / COMPLETE).unlink(missing_ok=True)
    shutil.rmtree(checkpoint)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
