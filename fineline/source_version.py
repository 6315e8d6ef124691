"""What the sources were at one moment: the artifact that `pin` makes, and by which `ingest` reads.

Its file, version.json, says by role (source, test_source) the commit, or the files with what their storage or their bytes know
them by. Where they lie depends on the machine: the whole version with its locations, as one line of JSON, is therefore beside
it in run.json, and is what Kubeflow passes from task to task.
"""

import contextlib
import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fineline import artifacts
from fineline.errors import ResourceError, UsageError
from fineline.locations import VERSION_MARKS, File, find_files, redacted

KIND = "source_version"
VERSION = "version.json"
TEXT = "version"
"""Name of the line of JSON in run.json, and of pin's output parameter on Kubeflow."""

_LONGEST_LISTING = 8_000  # characters: an argument of a command holds 128 KiB on Linux, and Kubeflow sends it twice
_KNOWN_BY = {
    **{"VersionId": "version", "generation": "generation", "blob_id": "blob"},
    **{"ETag": "etag", "etag": "etag", "Last-Modified": "modified"},
}
"""What storages call what changes with a file's content (S3, Google, Hugging Face, HTTP, Azure), the surest first."""


@dataclasses.dataclass(frozen=True)
class Source:
    """One location as it was. `digest` is the sha256 (hex) over all of its files: name, and what each is known by.

    `listing` says that by name where it is short: a commit needs none, and of thousands of files the digest is enough to see
    a change.
    """

    location: str
    files: int
    digest: str
    revision: str = ""
    """The commit of a DVC repository or of a hub dataset."""
    listing: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def version(self) -> str:
        """For people and the lineage: commit:<hex>; of one file sha256:<hex>, etag:<text> and the like; else files:<digest>."""
        if self.revision:
            return f"commit:{self.revision}"
        only, *others = self.listing.values() or [f"files:{self.digest}"]
        return f"files:{self.digest}" if others else only


Version = Mapping[str, Source]
"""The sources by role: source, and test_source where there is one."""


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


def write(folder: Path, version: Version) -> None:
    """Writes the artifact into an empty folder: the same version gives the same bytes, wherever its files are."""
    content = {role: _content(source) for role, source in version.items()}
    artifacts.write_json(folder / VERSION, content)
    artifacts.write_manifest(
        folder,
        step="pin",
        kind=KIND,
        params={},
        inputs={},
        figures={role: {"version": source.version, "files": source.files} for role, source in version.items()},
    )
    located = {role: {"location": version[role].location, **entry} for role, entry in content.items()}
    artifacts.note(folder, **{TEXT: json.dumps(located, separators=(",", ":"))})


@contextlib.contextmanager
def opened(given: str) -> Iterator[tuple[Version, Path]]:
    """The version and its artifact folder. `given` is that folder, or the line of JSON, of which the same folder is made.

    Raises UsageError when it is neither.
    """
    if not given.lstrip().startswith("{"):
        yield read(Path(given)), Path(given)
        return
    version = _parsed(given, "--source_version")
    with tempfile.TemporaryDirectory(prefix="fineline-") as temporary:
        write(Path(temporary), version)
        yield version, Path(temporary)


def read(folder: Path) -> Version:
    """The version in the artifact `folder`. Raises UsageError when it is another artifact, or was changed."""
    manifest = artifacts.verify(folder)
    if manifest.kind != KIND:
        raise UsageError(f"{folder} is a {manifest.kind}, not a {KIND}", "give the folder that pin made")
    version = _parsed(artifacts.read_run(folder).get(TEXT, ""), str(folder / artifacts.RUN))
    content = {role: _content(source) for role, source in version.items()}
    if content != json.loads((folder / VERSION).read_text(encoding="utf-8")):
        raise UsageError(f"{folder / artifacts.RUN} was changed after it was made", "run pin again")
    return version


def in_lineage(ancestors: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """`Source.version` by role, from an artifact's ancestors; {} where pin is not among them."""
    pinned = next((entry for entry in ancestors if entry["kind"] == KIND), None)
    return {role: figures["version"] for role, figures in pinned["figures"].items()} if pinned else {}


def pinned_files(source: Source) -> list[File]:
    """The files of `source`: its commit's, its object's in that version, or those that are there now.

    Raises ResourceError when these are others than were pinned, as far as their storage says.
    """
    try:
        files = find_files(_at_version(source), source.revision)
    except UsageError as error:
        raise _changed(source, error.what) from error
    _compare(source, files, [known_by(file) for file in files])
    return files


def check_read(source: Source, files: Sequence[File], sha256: Sequence[str]) -> None:
    """Raises ResourceError unless what was read, `files` of these sha256 (hex), is what was pinned.

    Where bytes were not pinned the storage is asked again: it must not have changed a file while it was read.
    """
    stored = [known_by(file) for file in files]
    _compare(source, files, [how or by_bytes(digest) for how, digest in zip(stored, sha256, strict=True)])
    if any(stored) and not source.revision:
        files[0].filesystem.invalidate_cache()
        pinned_files(source)


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


def _content(source: Source) -> dict[str, Any]:
    """What version.json says of a source."""
    content = dataclasses.asdict(source)
    del content["location"]
    return content


def _parsed(text: str, where: str) -> Version:
    try:
        version = {role: Source(**entry) for role, entry in json.loads(text).items()}
        return {"source": version.pop("source"), **version}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{where} holds no source version: {error}", "give the folder that pin made") from None
