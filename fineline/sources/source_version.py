"""What the sources were at one moment: the artifact that `pin` makes, and by which `ingest` reads.

Its file, version.json, says by role (source, test_source) the commit, or the files with what their storage or their bytes know
them by. Where they lie depends on the machine: the whole version with its locations, as one line of JSON, is therefore beside
it in run.json, and is what Kubeflow passes from task to task.
"""

import contextlib
import dataclasses
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fineline.artifacts import folders
from fineline.process.errors import UsageError
from fineline.sources.local_place import local_place

KIND = "source_version"
VERSION = "version.json"
TEXT = "version"
"""Name of the line of JSON in run.json, and of pin's output parameter on Kubeflow."""


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


def write(folder: Path, version: Version) -> None:
    """Writes the artifact into an empty folder: the same version gives the same bytes, wherever its files are."""
    content = {role: _content(source) for role, source in version.items()}
    folders.write_json(folder / VERSION, content)
    folders.write_manifest(
        folder,
        step="pin",
        kind=KIND,
        params={},
        inputs={},
        figures={role: {"version": source.version, "files": source.files} for role, source in version.items()},
    )


def local_places(given: str) -> dict[str, Path]:
    """The files and folders of this machine that the version `given` (as for `opened`) names, by role."""
    with opened(given) as (version, _):
        return {role: place for role, source in version.items() if (place := local_place(source.location))}


def line(version: Version) -> str:
    """The whole version, with its locations, as one line of JSON."""
    located = {role: {"location": source.location, **_content(source)} for role, source in version.items()}
    return json.dumps(located, separators=(",", ":"))


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
    manifest = folders.verify(folder)
    if manifest.kind != KIND:
        raise UsageError(f"{folder} is a {manifest.kind}, not a {KIND}", "give the folder that pin made")
    version = _parsed(folders.read_run(folder).get(TEXT, ""), str(folder / folders.RUN))
    content = {role: _content(source) for role, source in version.items()}
    if content != json.loads((folder / VERSION).read_text(encoding="utf-8")):
        raise UsageError(f"{folder / folders.RUN} was changed after it was made", "run pin again")
    return version


def in_lineage(ancestors: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """`Source.version` by role, from an artifact's ancestors; {} where pin is not among them."""
    pinned = next((entry for entry in ancestors if entry["kind"] == KIND), None)
    return {role: figures["version"] for role, figures in pinned["figures"].items()} if pinned else {}


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
