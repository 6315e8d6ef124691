"""Artifact folders: written whole or not at all, with a manifest that says what made them and from what.

The digest of an artifact is the sha256 over the names and sha256 of its files. Files that depend on the clock, the host
or the server (`BESIDE`) lie in the folder but are not part of it: the same inputs give the same digest under every runner.
"""

import contextlib
import dataclasses
import errno
import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fineline import __version__
from fineline.process.errors import ResourceError, UsageError

MANIFEST = "manifest.json"
RUN = "run.json"
MEASUREMENTS = "measurements.json"
EVENTS = "events.jsonl"
REPORT = "report.html"
REGISTRATION = "registration.json"
PROMOTION = "promotion.json"
COMPARISON = "comparison.parquet"
BESIDE = frozenset({MANIFEST, RUN, MEASUREMENTS, EVENTS, REPORT, REGISTRATION, PROMOTION, COMPARISON})

_STARTED = time.monotonic()
_A_FOLDER_WITHIN = "give a folder within it"
_REMOVE_IT = "give another folder, or move it away yourself"


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a manifest.json holds. `ancestors` is a flat list of the manifests that led here, oldest first, without theirs."""

    step: str
    kind: str
    task: str
    digest: str
    params: dict[str, Any]
    inputs: dict[str, str]
    files: dict[str, dict[str, Any]]
    figures: dict[str, Any]
    ancestors: list[dict[str, Any]]
    version: str = __version__

    def without_ancestors(self) -> dict[str, Any]:
        """The manifest as a descendant lists it."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key != "ancestors"}


def check_outputs(outputs: Mapping[str, Path], inputs: Mapping[str, Path]) -> None:
    """Raises UsageError unless every output may be written, no two of them lie in one place, and none holds an input.

    Both map what a place is called to where it is. See `check_output`.
    """
    places = {name: place_of(path) for name, path in outputs.items()}
    for name, place in places.items():
        check_output(place)
        for other, taken in places.items():
            if other != name and place.is_relative_to(taken):
                raise UsageError(f"{name} and {other} are one place: {place}", "give each output a folder of its own")
        check_apart(place, inputs)
        for other, path in inputs.items():
            if (path / MANIFEST).is_file() and place.is_relative_to(path.resolve()):
                raise UsageError(f"{name} {place} lies inside {other}, which is read", "give another folder")


def check_apart(target: Path, read: Mapping[str, Path]) -> None:
    """Raises UsageError where the output `target` is, or holds, a place that is `read` (what it is called to where it is)."""
    place = place_of(target)
    for name, path in read.items():
        if path.resolve().is_relative_to(place):
            relation = "is" if path.resolve() == place else "holds"
            raise UsageError(f"{target} is to be written, and {relation} {name}", "give the output a folder of its own")


def check_output(target: Path) -> None:
    """Raises UsageError unless `target` may be written: nothing stands there, an empty folder, or what fineline made.

    What fineline made has a manifest.json, and no file that this does not name, but for those in `BESIDE`.
    """
    place = place_of(target)
    if place == place.parent or place.is_mount():
        raise UsageError(f"{target} is {'/' if place == place.parent else 'a mount point'}", _A_FOLDER_WITHIN)
    if place.is_symlink():
        raise UsageError(f"{target} is a symbolic link", "give the folder itself, or remove the link")
    if not place.exists():
        return
    if not place.is_dir():
        raise UsageError(f"{target} is a file", "give a folder that does not exist yet")
    files = {str(path.relative_to(place)) for path in place.rglob("*") if path.is_symlink() or not path.is_dir()}
    if not files:
        return
    named = _named_files(place)
    if named is None:
        raise UsageError(f"{target} exists and was not made by fineline: it has no manifest of it", _REMOVE_IT)
    if foreign := sorted(files - named - BESIDE):
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise UsageError(f"{target} holds files that fineline did not make: {', '.join(foreign[:3])}{more}", _REMOVE_IT)


def set_aside(target: Path) -> Path | None:
    """Moves the artifact at `target` to `.<name>.old` beside it, in place of an older one; gives where it is, None if none is.

    A step does so before it works: whatever ends it, nothing stands at `target` that could be taken for what it was to make.
    Raises ResourceError when another process is writing `target`.
    """
    target = place_of(target)
    old = _beside(target, "old")
    if (target / MANIFEST).is_file():
        check_output(old)
        with _disk_errors(target), _locked(target):
            if old.exists():
                _discard(old, target)
            target.rename(old)
    return old if (old / MANIFEST).is_file() else None


@contextlib.contextmanager
def output(target: Path, keep_equal: bool = False) -> Iterator[Path]:
    """Gives an empty folder beside `target` that becomes `target` when the block ends well, and vanishes when it does not.

    What stands at `target` is set aside for as long as the block runs, and stays so when it fails. With `keep_equal`, what
    was there comes back, with what lies beside its manifest, if it has the same manifest and the same bytes.
    A lock keeps a second writer out. Raises UsageError where `target` may not be written (`check_output`), ResourceError
    when another process holds it or when the disk is full.
    """
    check_output(target)
    target = place_of(target)
    with _disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        old = set_aside(target)
        staged = _beside(target, "partial")
        with _locked(target):
            try:
                shutil.rmtree(staged, ignore_errors=True)
                staged.mkdir()
                yield staged
                if old and keep_equal and _equal(staged, old):
                    old.rename(target)
                else:
                    staged.rename(target)
                    if old:
                        _discard(old, target)
            finally:
                shutil.rmtree(staged, ignore_errors=True)


def place_of(path: Path) -> Path:
    """`path` as an absolute one without links in its parents; it may be a link itself."""
    return path.parent.resolve() / path.name if path.name not in ("", "..") else path.resolve()


def write_manifest(
    folder: Path,
    *,
    step: str,
    kind: str,
    params: dict[str, Any],
    inputs: Mapping[str, Path],
    figures: dict[str, Any],
    task: str = "",
    run_id: str = "",
) -> Manifest:
    """Writes manifest.json over every file in `folder`, and run.json beside it; gives the manifest.

    `params` are the recorded ones, `inputs` the artifact folders read, `figures` plain JSON numbers and strings that
    depend on nothing but the inputs and parameters. `task` and the MLflow run id are inherited from the inputs when empty.
    """
    parents = {name: read_manifest(path) for name, path in inputs.items()}
    files = {
        str(path.relative_to(folder)): {"sha256": sha256_file(path), "bytes": path.stat().st_size}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in BESIDE
    }
    ancestors: dict[tuple[str, str], dict[str, Any]] = {}
    for parent in parents.values():
        for entry in [*parent.ancestors, parent.without_ancestors()]:
            ancestors.setdefault((entry["step"], entry["digest"]), entry)
    manifest = Manifest(
        step=step,
        kind=kind,
        task=task or next((parent.task for parent in parents.values()), ""),
        digest=digest_of(files),
        params=params,
        inputs={name: parent.digest for name, parent in parents.items()},
        files=files,
        figures=figures,
        ancestors=list(ancestors.values()),
    )
    write_json(folder / MANIFEST, dataclasses.asdict(manifest))
    run = {"seconds": round(time.monotonic() - _STARTED, 2)}
    run_id = run_id or next((found for path in inputs.values() if (found := read_run_id(path))), "")
    write_json(folder / RUN, {**run, "mlflow_run_id": run_id} if run_id else run)
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an artifact folder. Raises UsageError when the folder is none, is incomplete, or was changed."""
    path = folder / MANIFEST
    if not path.is_file():
        state = "has no manifest.json" if folder.is_dir() else "does not exist"
        raise UsageError(f"{folder} {state}", "it must be the output of a step: run that step first (dvc repro)")
    try:
        manifest = Manifest(**json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, TypeError) as error:
        raise UsageError(f"{path} is not a fineline manifest: {error}", "run the step that made it again") from None
    if digest_of(manifest.files) != manifest.digest:
        raise UsageError(f"{path} was changed after it was made", "run the step that made it again")
    for name, entry in manifest.files.items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != entry["bytes"]:
            raise UsageError(f"{file} is missing or was changed", "run the step that made it again")
    return manifest


def verify(folder: Path) -> Manifest:
    """`read_manifest`, and every file hashed again. Raises UsageError on the first that differs."""
    manifest = read_manifest(folder)
    for name, entry in manifest.files.items():
        if sha256_file(folder / name) != entry["sha256"]:
            raise UsageError(f"{folder / name} was changed after it was made", "run the step that made it again")
    return manifest


def read_run(folder: Path) -> dict[str, Any]:
    """What run.json beside the manifest says of the run that made `folder`: seconds, mlflow_run_id, line."""
    path = folder / RUN
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def read_run_id(folder: Path) -> str:
    """The MLflow run id kept beside the manifest of `folder`, or ''."""
    return read_run(folder).get("mlflow_run_id", "")


def note(folder: Path, **more: Any) -> None:
    """Adds to run.json of a finished artifact folder."""
    partial = folder.with_name(f".{folder.name}.run.partial")
    write_json(partial, {**read_run(folder), **more})
    partial.replace(folder / RUN)


def digest_of(files: Mapping[str, Mapping[str, Any]]) -> str:
    """sha256 over the sorted names and sha256 of `files`, as 'sha256:<hex>'."""
    lines = "".join(f"{name}\0{files[name]['sha256']}\n" for name in sorted(files))
    return "sha256:" + hashlib.sha256(lines.encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """The sha256 of a file, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Writes JSON that is the same bytes for the same value: sorted keys, two spaces, NaN refused."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _named_files(folder: Path) -> set[str] | None:
    """Names of the files that the manifest in `folder` lists, also where they are gone or changed; None when it has none."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return set(manifest["files"]) if {"step", "kind", "digest"} <= manifest.keys() else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # absent, or of another program
        return None


def _beside(target: Path, state: str) -> Path:
    return target.with_name(f".{target.name}.{state}")


def _discard(old: Path, target: Path) -> None:
    """Removes `old` under a name that is rubbish wherever a kill leaves it; `.old` is always whole."""
    rubbish = _beside(target, "discarded")
    shutil.rmtree(rubbish, ignore_errors=True)
    old.rename(rubbish)
    shutil.rmtree(rubbish)


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock = FileLock(_beside(target, "lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ResourceError(
            f"another process is writing {target}", "wait for it to end, or stop it, then run again"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _equal(staged: Path, old: Path) -> bool:
    try:
        return read_manifest(staged) == verify(old)
    except UsageError:  # what was there is damaged
        return False


@contextlib.contextmanager
def _disk_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(f"the disk is full while writing {target}", "free space and run again") from error
        if error.errno in (errno.EEXIST, errno.ENOTDIR):
            raise UsageError(f"{error.filename} is no folder", "move it away, or write elsewhere") from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise ResourceError(
                f"{error.filename or target}: {error.strerror}", "give the step a place it may write"
            ) from error
        raise
