"""Which version the files of a source are, and whether they still are that version."""

import hashlib
import json
from collections.abc import Sequence

from fineline.process.errors import ResourceError, UsageError
from fineline.sources.locations import VERSION_MARKS, File, find_files
from fineline.sources.redaction import redacted
from fineline.sources.source_version import Source

_LONGEST_LISTING = 8_000  # characters: an argument of a command holds 128 KiB on Linux, and Kubeflow sends it twice
_KNOWN_BY = {
    **{"VersionId": "version", "generation": "generation", "blob_id": "blob"},
    **{"ETag": "etag", "etag": "etag", "Last-Modified": "modified"},
}
"""What storages call what changes with a file's content (S3, Google, Hugging Face, HTTP, Azure), the surest first."""


def known_by(file: File) -> str:
    """What the storage knows the file's content by, such as etag:9a0364b9; '' where only its bytes tell."""
    if file.revision:
        return f"commit:{file.revision}"
    found = ((name, str(file.info.get(key) or "").strip('"')) for key, name in _KNOWN_BY.items())
    # S3 calls the version of an object "null" that was written while its bucket kept none.
    return next((f"{name}:{value}" for name, value in found if value not in ("", "null")), "")


def by_bytes(sha256: str) -> str:
    """What a file is known by whose storage knows nothing of its content; `sha256` is hex."""
    return f"sha256:{sha256}"


def listed(location: str, files: Sequence[File], known: Sequence[str]) -> Source:
    """The source at `location`, whose `files`, one at least, are `known` by these."""
    text = json.dumps([(file.name, how) for file, how in zip(files, known, strict=True)])
    digest = hashlib.sha256(text.encode()).hexdigest()
    short = not files[0].revision and len(text) <= _LONGEST_LISTING
    listing = {file.name: how for file, how in zip(files, known, strict=True)} if short else {}
    return Source(location, len(files), digest, files[0].revision, listing)


def files_of(source: Source) -> list[File]:
    """The files of `source`: its commit's, its object's in that version, or those that are there now.

    Raises ResourceError when these are others than were pinned, as far as their storage says.
    """
    try:
        files = find_files(_at_version(source), source.revision)
    except UsageError as error:
        raise _changed(source, error.what) from error
    _compare(source, files, [known_by(file) for file in files])
    return files


def check(source: Source, files: Sequence[File], sha256: Sequence[str]) -> None:
    """Raises ResourceError unless what was read, `files` of these sha256 (hex), is what was pinned.

    Where bytes were not pinned the storage is asked again: it must not have changed a file while it was read.
    """
    stored = [known_by(file) for file in files]
    _compare(source, files, [how or by_bytes(digest) for how, digest in zip(stored, sha256, strict=True)])
    if any(stored) and not source.revision:
        files[0].filesystem.invalidate_cache()
        files_of(source)


def _compare(source: Source, files: Sequence[File], known: Sequence[str]) -> None:
    """Raises ResourceError when these files are not those of `source`; '' is known by nothing yet."""
    names = [file.name for file in files]
    if source.listing and (others := {*names} ^ source.listing.keys()):
        raise _changed(source, f"{', '.join(sorted(others)[:3])} came or went")
    for name, now in zip(names, known, strict=True) if source.listing else ():
        if now and now != source.listing[name]:
            raise _changed(source, f"{name} was {source.listing[name]}, and is {now}")
    if len(files) != source.files or (all(known) and listed("", files, known).digest != source.digest):
        raise _changed(source, f"its {source.files:,} files are not the same any more")


def _changed(source: Source, what: str) -> ResourceError:
    return ResourceError(
        f"{redacted(source.location)} changed since pin: {what}",
        "pin it again: dvc repro, or on Kubeflow start another run",
    )


def _at_version(source: Source) -> str:
    """The location, with the version of its object where that has one."""
    mark = VERSION_MARKS.get(source.location.partition("://")[0], "")
    kind, _, value = source.version.partition(":")
    versioned = kind in ("version", "generation") and mark and mark not in source.location
    return f"{source.location}{mark}{value}" if versioned else source.location
