"""Asks every source which version it is now."""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.pin.params import Params
from fineline.artifacts import folders
from fineline.process.errors import ResourceError
from fineline.process.progress import progress
from fineline.sources import pinned
from fineline.sources import source_version as versions
from fineline.sources.locations import File, find_files, reachable, said_left_out
from fineline.sources.redaction import redacted

_SHORT = 12


def run(*, params: Params, source_version: Path) -> str:
    """Writes the version that the sources have at this moment; gives it for people.

    A folder that holds this version already stays as it is, so that nothing after it has to run again. Raises UsageError for
    a place that is not there, ResourceError for storage that does not answer and for a file that is being written.
    """
    locations = {"source": params.source, "test_source": params.test_source}
    files = {role: find_files(location) for role, location in locations.items() if location}
    version = {role: _pinned(locations[role], found) for role, found in files.items()}
    with folders.output(source_version, keep_equal=True) as folder:
        versions.write(folder, version)
    folders.note(source_version, **{versions.TEXT: versions.line(version)})  # the same bytes may lie elsewhere now
    return "; ".join(_said(role, source) + said_left_out(files[role]) for role, source in version.items())


def _pinned(location: str, files: Sequence[File]) -> versions.Source:
    read = sum(not pinned.known_by(file) for file in files)
    if read and "://" in location:
        print(
            f"pin: {redacted(location)} has no ETag or the like: its bytes are read to know them again", file=sys.stderr
        )
    known = [
        pinned.known_by(file) or pinned.by_bytes(_sha256(file))
        for file in progress(files, "pin", total=len(files), unit="files")
    ]
    return pinned.listed(location, files, known)


def _sha256(file: File) -> str:
    """The sha256 (hex) of a file's bytes. Raises ResourceError when it changes meanwhile."""
    with reachable(file.shown, listed=True):
        with file.filesystem.open(file.path, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        file.filesystem.invalidate_cache()
        after = file.filesystem.info(file.path)
    if _stamp(after) != _stamp(file.info):
        raise ResourceError(f"{file.shown} changed while it was read", "wait until it is written, then run again")
    return digest


def _stamp(info: Any) -> tuple[Any, Any]:
    return info.get("size"), info.get("mtime")


def _said(role: str, source: versions.Source) -> str:
    """Such as 'source: 1 file, sha256 0f3a5b7c9d1e'."""
    kind, _, value = source.version.partition(":")
    count = "1 file" if source.files == 1 else f"{source.files:,} files"
    return f"{role.replace('_', ' ')}: {count}, {'listing' if kind == 'files' else kind} {value[:_SHORT]}"
