"""The folder in which a training keeps its checkpoints: for one process at a time, and found again by the next of the same key.

Two triggers may start the same training twice, in two processes or in two pods on one volume. The second waits, then finds
the checkpoints of the first and takes them to the end in seconds. Who owns a folder says a lease beside it, which the owner
renews: not a lock of the kernel, which a network volume may keep to one node, or hold long after its owner's node is gone
(docs/decisions/0008). A finished folder stays for an hour, without what only a training that goes on needs.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components.train import checkpoints
from fineline.artifacts.folders import write_json
from fineline.process.errors import ResourceError
from fineline.tracking.tags import PIPELINE_RUN

FINISHED = "FINISHED"

_SECONDS_OF_LEASE = 60.0
_SECONDS_BETWEEN_RENEWALS = 10.0
_SECONDS_BETWEEN_TRIES = 1.0
_SECONDS_BETWEEN_LINES = 60.0
_SECONDS_TO_KEEP = 3600.0


@dataclasses.dataclass(frozen=True)
class WorkFolder:
    """A folder that is ours. `kept`: it outlives this process, so that another can go on. `finished`: another run of the same
    training has ended well in it. `check` raises ResourceError when it is ours no longer, because we gave no sign of life
    for a minute and another process took it."""

    path: Path
    kept: bool = False
    finished: bool = False
    check: Callable[[], None] = lambda: None


@contextlib.contextmanager
def opened(name: str, parent: Path | None, waiting: Callable[[], Any]) -> Iterator[WorkFolder]:
    """The folder `parent`/`name`, kept when the block ends, for an hour when it ends well; a temporary one without `parent`.

    While another process owns it, says for whom it waits and calls `waiting` once a second. An owner that is gone is
    noticed at once in the same container or on the same machine, elsewhere after a minute without a sign of life.
    """
    if parent is None:
        with tempfile.TemporaryDirectory(prefix="fineline-train-") as temporary:
            yield WorkFolder(Path(temporary))
        return
    folder = parent.absolute() / name
    with _owned(folder, waiting) as check:
        folder.mkdir(exist_ok=True)
        _forget_finished(folder.parent)
        yield WorkFolder(folder, True, (folder / FINISHED).is_file(), check)
        check()
        checkpoints.end(folder)
        (folder / FINISHED).touch()


@contextlib.contextmanager
def _owned(folder: Path, waiting: Callable[[], Any]) -> Iterator[Callable[[], None]]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    lease = _lease(folder)
    owner = folder.with_name(f".{folder.name}.owner.json")
    _take(lease, owner, waiting)

    def check() -> None:
        if not _is_ours(lease):
            time.sleep(_SECONDS_BETWEEN_TRIES)  # a process that looks whether we live moves the file for an instant
            if not _is_ours(lease):
                raise ResourceError(
                    f"another process has taken over {folder}, as this one gave no sign of life for a minute",
                    "run the same command again: it waits for the other and goes on with its checkpoints",
                )

    try:
        staged = owner.with_name(f"{owner.name}.partial")
        write_json(staged, _ourselves())
        staged.replace(owner)
        yield check
    finally:
        if _is_ours(lease):
            owner.unlink(missing_ok=True)
        lease.release()


def _lease(folder: Path) -> Any:
    from filelock import SoftFileLease

    return SoftFileLease(
        folder.with_name(f".{folder.name}.lease"),
        lease_duration=_SECONDS_OF_LEASE,
        heartbeat_interval=_SECONDS_BETWEEN_RENEWALS,
        thread_local=False,
    )


def _take(lease: Any, owner: Path, waiting: Callable[[], Any]) -> None:
    """Waits until `lease` is ours, and says for whom."""
    from filelock import Timeout

    began = now = changed = time.monotonic()
    said, sign = -_SECONDS_BETWEEN_LINES, 0
    other: dict[str, Any] = {}
    while True:
        try:
            lease.acquire(timeout=0)
            break
        except Timeout:
            pass
        now = time.monotonic()
        if (latest := _sign_of_life(Path(lease.lock_file))) != sign:
            sign, changed = latest, now
        elif now - changed > 2 * _SECONDS_OF_LEASE:  # filelock takes nothing over where names cannot be exchanged: NFS
            lease.force_break()
        other = _read(owner) or other
        if now - began - said >= _SECONDS_BETWEEN_LINES:
            said = now - began
            print(
                f"train: waits for the same training{_told(other)}; then goes on with its checkpoints", file=sys.stderr
            )
            sys.stderr.flush()
        waiting()
        time.sleep(_SECONDS_BETWEEN_TRIES)
    if said >= 0:
        gone = owner.is_file()
        how = "is gone without an end: takes over its checkpoints" if gone else "has ended"
        print(f"train: the other training{_told(other)} {how}", file=sys.stderr, flush=True)


def _is_ours(lease: Any) -> bool:
    owner = lease.owner
    return owner is not None and owner.token == lease.token


def _sign_of_life(path: Path) -> int:
    """When the owner renewed its lease, by the file system's clock: opened first, so that NFS does not answer from memory."""
    try:
        with path.open("rb") as stream:
            return os.fstat(stream.fileno()).st_mtime_ns
    except OSError:
        return 0


def _ourselves() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "pipeline_run": os.environ.get(PIPELINE_RUN, ""),
        "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
    }


def _read(owner: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(owner.read_text(encoding="utf-8")))
    except (OSError, ValueError):  # not there yet or no longer
        return {}


def _told(other: dict[str, Any]) -> str:
    if not other:
        return ""
    run = f", pipeline run {other['pipeline_run']}" if other["pipeline_run"] else ""
    return f" (process {other['pid']} on {other['host']}{run}, since {other['since']})"


def _forget_finished(parent: Path) -> None:
    """Removes the folders of trainings that ended well over an hour ago and that nobody uses."""
    from filelock import Timeout

    for mark in parent.glob(f"*/{FINISHED}"):
        folder = mark.parent
        with contextlib.suppress(Timeout, FileNotFoundError), _lease(folder).acquire(timeout=0):
            if time.time() - mark.stat().st_mtime > _SECONDS_TO_KEEP:
                mark.unlink()
                shutil.rmtree(folder)
