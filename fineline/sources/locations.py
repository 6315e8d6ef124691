"""From a location to the files behind it, and what the drivers of storages raise turned into messages."""

import contextlib
import dataclasses
import gzip
import json
import posixpath
import re
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fineline.process.errors import DataRejected, ResourceError, UsageError
from fineline.process.patience import kind_of
from fineline.sources.local_place import GLOB
from fineline.sources.redaction import redacted

FORMATS = {".csv": "delimited", ".tsv": "delimited", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
VERSION_MARKS = {"s3": "?versionId=", "s3a": "?versionId=", "gs": "#", "gcs": "#"}
"""What follows in the address of an object by its scheme, before the id of one version of it (s3fs, gcsfs)."""
_COMPRESSED = ".gz"
_NAMED = 3
_DVC = re.compile(r"dvc://(?P<repo>.+)@(?P<rev>[^@:]+):(?P<path>[^:]+)")
_HUB = re.compile(r"hf://(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[^:]+))?(:(?P<split>[\w.-]+))?")
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}

# What drivers raise beside OSError; a driver that was not imported cannot have raised.
_DRIVER_ERRORS = (
    ("aiohttp", "ClientError"),
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("dvc.exceptions", "DvcException"),
    ("dvc_data.index", "DataIndexError"),
    ("dvc_objects.fs.errors", "AuthError"),
    ("gcsfs.retry", "HttpError"),
    ("google.auth.exceptions", "GoogleAuthError"),
    ("pygit2", "GitError"),
    ("httpx", "HTTPError"),
    ("httpx2", "HTTPError"),
)


@dataclasses.dataclass(frozen=True)
class File:
    """One file to read from an fsspec `filesystem`.

    `name` has no folder but what a wildcard matched or a split is called; `shown` names the file to people. `info` is what
    the storage says of it: size, ETag and the like.
    """

    filesystem: Any
    path: str
    name: str
    shown: str
    info: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    format: str = ""
    """delimited, jsonl, parquet or arrow; '' where the name does not say it."""
    split: str = ""
    """Name of the split that the file is of, where its collection has named splits."""
    revision: str = ""
    """The commit that the location's revision meant."""
    class_names: Mapping[str, list[str]] = dataclasses.field(default_factory=dict)
    """Column to the names that its numbers stand for, where the collection says so."""
    left_out: Sequence[str] = ()
    """What lies in the same folder, or matches the same pattern, and is not read: folders, with a /, and files of other kinds."""

    @property
    def suffix(self) -> str:
        return _suffix(self.name)

    @property
    def compressed(self) -> bool:
        return self.name.endswith(_COMPRESSED)


def find_files(location: str, revision: str = "") -> list[File]:
    """The files behind `location`, in the order of their names; of a repository or hub dataset those of `revision`, when
    given, instead of the location's own.

    Raises UsageError when there is nothing to read, ResourceError when the storage cannot be reached or its driver is not
    installed.
    """
    import fsspec

    with _driver_of(location):
        if location.startswith("dvc://"):
            return _dvc_files(location, revision)
        if location.startswith("hf://") and not location.startswith("hf://datasets/"):
            return _hub_files(location, revision)
    with reachable(location), _driver_of(location):
        try:
            filesystem, path = fsspec.url_to_fs(location)
        except ValueError as error:
            raise UsageError(
                f"{redacted(location)} is no location: {error}", "give a path or a URL, see docs/parameters.md"
            ) from None
        return _expand(filesystem, path, redacted(location), VERSION_MARKS.get(location.partition("://")[0], ""))


@contextlib.contextmanager
def _driver_of(location: str) -> Iterator[None]:
    """Gives a driver that is not installed as ResourceError: the images hold those that their step is made for."""
    try:
        yield
    except ImportError as error:
        extra = _EXTRAS.get(location.partition("://")[0], "")
        raise ResourceError(
            f"{redacted(location)} needs a driver that is not installed: {error}",
            f"pip install 'fineline[{extra}]'" if extra else "install the package that this names",
        ) from None


@contextlib.contextmanager
def reachable(shown: str, listed: bool = False) -> Iterator[None]:
    """Gives what a storage raises as UsageError (it is not there), ResourceError (it cannot be had) or DataRejected.

    What was `listed` and is then not there was lost by its storage: DVC lists files that were never pushed.
    """
    shown = redacted(shown)
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataRejected(
            f"{shown} is no whole gzip file: {error}", "compress it again, or give it uncompressed"
        ) from None
    except FileNotFoundError as error:
        if listed:
            raise _unreachable(shown, error) from error
        raise UsageError(f"{shown} does not exist ({error})", "check the path or URL") from None
    except OSError as error:
        raise _unreachable(shown, error) from error
    except _driver_errors() as error:
        raise _unreachable(shown, error) from error


def _unreachable(shown: str, error: BaseException) -> ResourceError:
    reason = " ".join(str(error.__cause__ or error).split()) or type(error).__name__
    return kind_of(error)(
        f"{shown} cannot be read: {reason}",
        "check the network, the storage's credentials (its usual environment variables) and your rights",
    )


def _driver_errors() -> tuple[type[BaseException], ...]:
    return tuple(getattr(sys.modules[module], name) for module, name in _DRIVER_ERRORS if module in sys.modules)


def _expand(filesystem: Any, path: str, shown: str, mark: str = "", **facts: Any) -> list[File]:
    """A file, a folder or a glob of `filesystem` as files. `mark` is that of its scheme; `facts` are fields that all share."""
    info: Mapping[str, Any] = {}
    try:
        info = filesystem.info(path)
        kind = info["type"]
    except FileNotFoundError as error:
        # fsspec's HTTP driver says the same of a page that is not there and of a server that does not answer.
        if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, FileNotFoundError):
            raise error.__cause__ from None
        if not GLOB.search(shown.partition(mark)[0] if mark else shown):
            raise UsageError(f"{shown} does not exist", "check the path or URL") from None
        kind = "glob"
    if kind not in ("directory", "glob"):
        name = posixpath.basename(path.partition(mark)[0] if mark else path)
        return [File(filesystem, path, name, shown, info, format_of(name), **facts)]
    if kind == "directory":
        if filesystem.exists(f"{path}/dataset_dict.json"):
            splits = json.loads(filesystem.cat_file(f"{path}/dataset_dict.json"))["splits"]
            return [file for split in splits for file in _saved(filesystem, path, shown, {**facts, "split": split})]
        if all(filesystem.exists(f"{path}/{name}") for name in ("state.json", "dataset_info.json")):
            return _saved(filesystem, path, shown, facts)
        entries, root = filesystem.ls(path, detail=True), path
    else:
        entries = list(filesystem.glob(path, detail=True).values())
        root, shown = (posixpath.dirname(GLOB.split(place, maxsplit=1)[0]) for place in (path, shown))
    # Links to files (DVC and Kubernetes make them) have a type of their own, and in a listing their own time.
    found = {
        entry["name"]: filesystem.info(entry["name"]) if entry.get("islink") else entry
        for entry in entries
        if entry["type"] != "directory"
    }
    root = root.strip("/")
    names = {posixpath.relpath(name.strip("/"), root) if root else name.strip("/"): name for name in found}
    chosen = {n: p for n, p in names.items() if format_of(n) and not posixpath.basename(n).startswith((".", "_"))}
    if not chosen:
        raise UsageError(
            f"{shown if kind == 'directory' else path} names no data file ({', '.join(FORMATS)})",
            "give a file, a folder that holds some itself, or a glob such as 'folder/**/*.csv'",
        )
    left_out = sorted(names.keys() - chosen.keys())
    if kind == "directory":
        folders = [posixpath.basename(entry["name"]) + "/" for entry in entries if entry["name"] not in found]
        left_out = [*sorted(folders), *left_out]
    return [
        File(
            *(filesystem, chosen[n], n, posixpath.join(shown, n), found[chosen[n]], format_of(n)),
            **facts,
            left_out=left_out,
        )
        for n in sorted(chosen)
    ]


def said_left_out(files: Sequence[File]) -> str:
    """Such as '; 4 left out: archive/, README.md, rows.xlsx, ...'; '' when all that is there is read."""
    names = files[0].left_out if files else ()
    shown = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    return f"; {len(names):,} left out: {shown}" if names else ""


def format_of(name: str) -> str:
    """What a file of that name holds: delimited, jsonl or parquet; '' when its ending is none of FORMATS."""
    return FORMATS.get(_suffix(name), "")


def _saved(filesystem: Any, path: str, shown: str, facts: Mapping[str, Any]) -> list[File]:
    """The Arrow files of one dataset that `datasets` saved to disk."""
    if split := facts.get("split"):
        path, shown = f"{path}/{split}", f"{shown}/{split}"
    state = json.loads(filesystem.cat_file(f"{path}/state.json"))
    names = [entry["filename"] for entry in state["_data_files"]]
    prefix = f"{split}/" if split else ""
    return [
        File(
            filesystem, f"{path}/{n}", f"{prefix}{n}", f"{shown}/{n}", filesystem.info(f"{path}/{n}"), "arrow", **facts
        )
        for n in names
    ]


def _suffix(name: str) -> str:
    return posixpath.splitext(name.removesuffix(_COMPRESSED))[1].lower()


def _dvc_files(location: str, revision: str) -> list[File]:
    match = _DVC.fullmatch(location)
    if not match:
        raise UsageError(
            f"{redacted(location)} is not dvc://repo@rev:path",
            "name the repository, a tag, branch or commit, and the path inside it: dvc://../data@v1.2:labels.csv",
        )
    repo, rev, path = match["repo"], revision or match["rev"], match["path"]
    if "://" not in repo and "@" not in repo and not Path(repo).is_dir():
        raise UsageError(f"{location}: there is no repository {repo}", "give the path or the URL of a git repository")
    from dvc.api import DVCFileSystem
    from dvc.scm import RevError

    with reachable(location):
        try:
            filesystem = DVCFileSystem(repo, rev=rev)
            commit = filesystem.repo.get_rev()
        except RevError as error:
            raise UsageError(f"{redacted(location)}: {error}", "give a tag, branch or commit of it") from None
        return _expand(filesystem, path, redacted(location), revision=commit)


def _hub_files(location: str, revision: str) -> list[File]:
    match = _HUB.fullmatch(location)
    if not match:
        raise UsageError(
            f"{location} is not hf://owner/name[@revision][:split]",
            "for single files of a hub dataset write hf://datasets/owner/name@revision/path.csv",
        )
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    with reachable(location):
        try:
            commit = HfApi().dataset_info(match["name"], revision=revision or match["revision"], timeout=30).sha or ""
        except (RepositoryNotFoundError, RevisionNotFoundError) as error:
            raise UsageError(
                f"{location} is not on the hub, or not for you: {str(error).splitlines()[0]}",
                "check the name and the revision; for a private dataset set HF_TOKEN",
            ) from None
        return files_of_builder(match["name"], commit, match["split"] or "", location)


def files_of_builder(name: str, commit: str, split: str, shown: str) -> list[File]:
    """The data files of a dataset as `datasets` resolves them: `name` on the hub at `commit`, or a local folder.

    The files are then read here, not by `datasets`: it reads CSV with pandas, which turns 001 into 1.
    """
    import fsspec
    from datasets import ClassLabel, load_dataset_builder

    try:
        builder = load_dataset_builder(name, revision=commit or None)
    except ValueError as error:  # several configurations, or no data files at all
        raise UsageError(
            f"{shown}: {' '.join(str(error).split())}",
            "name its files instead: hf://datasets/owner/name@revision/folder/*.parquet",
        ) from None
    by_split = {str(key): list(files) for key, files in (builder.config.data_files or {}).items()}
    if split and split not in by_split:
        raise UsageError(f"{shown} has no split '{split}'", f"its splits: {', '.join(by_split) or 'none'}")
    features = (builder.info.features or {}).items()
    class_names = {column: list(kind.names) for column, kind in features if isinstance(kind, ClassLabel)}
    result = []
    for key in [split] if split else by_split:
        for url in by_split[key]:
            filesystem, path = fsspec.url_to_fs(url)
            name = f"{key}/{posixpath.basename(path)}"
            form = format_of(name)
            result.append(File(filesystem, path, name, redacted(url), {}, form, key, commit, class_names))
    if not result:
        raise UsageError(f"{shown} has no data files", "name its files: hf://datasets/owner/name@revision/*.parquet")
    return result
