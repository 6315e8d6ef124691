"""pin and ingest on storages that know versions: what is read when the source moves on between the two."""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fineline.artifacts import folders
from fineline.rows.dataset import DATA, read_rows
from fineline.sources import source_version
from tests.components.conftest import CSV, ROWS, RunStep, pairs
from tests.components.storages import Bucket, Website, etag, git

OTHER = CSV.replace("hello there", "hello again").encode()
SHA256 = hashlib.sha256(CSV.encode()).hexdigest()
ETAG = etag(CSV.encode()).strip('"')


@pytest.fixture
def pin(run_step: RunStep, tmp_path: Path) -> Callable[[str], tuple[str, str]]:
    """pin(source) must succeed -> (the source's version, stderr)."""

    def run(source: str) -> tuple[str, str]:
        code, _out, err = run_step("pin", {"source": source}, source_version=tmp_path / "source_version")
        assert code == 0, err
        return source_version.read(tmp_path / "source_version")["source"].version, err

    return run


@pytest.fixture
def ingest(run_step: RunStep, tmp_path: Path) -> Callable[[], tuple[int, str]]:
    """ingest() -> (exit code, stderr)."""

    def run() -> tuple[int, str]:
        paths = {"source_version": tmp_path / "source_version", "dataset": tmp_path / "dataset"}
        code, _out, err = run_step("ingest", {}, **paths)
        return code, err

    return run


def rows(folder: Path) -> list[tuple[str, str]]:
    return pairs(read_rows(folder / "dataset" / DATA))


def changed(outcome: tuple[int, str], *words: str) -> None:
    code, err = outcome
    assert (code, err.count("\n") in (2, 3)) == (4, True), err  # the third says where an earlier dataset is now
    for word in ("changed since pin: ", *words):
        assert word in err


def test_an_object_is_read_if_it_still_has_its_etag(tmp_path: Path, bucket: Bucket, pin: Any, ingest: Any) -> None:
    bucket.put("in/a.csv", CSV.encode())
    assert pin("s3://bucket/in/a.csv")[0] == f"etag:{ETAG}"
    assert ingest() == (0, "")
    assert rows(tmp_path) == ROWS
    bucket.put("in/a.csv", OTHER)
    forget()
    changed(ingest(), f"a.csv was etag:{ETAG}, and is etag:{etag(OTHER)[1:-1]}")
    bucket.files.clear()
    forget()
    changed(ingest(), "s3://bucket/in/a.csv does not exist")


def test_an_object_with_versions_is_read_in_its_own(tmp_path: Path, bucket: Bucket, pin: Any, ingest: Any) -> None:
    bucket.versions = {}
    bucket.put("in/a.csv", CSV.encode())
    assert pin("s3://bucket/in/a.csv")[0] == "version:v1"
    bucket.put("in/a.csv", OTHER)
    forget()
    assert ingest() == (0, "")
    assert rows(tmp_path) == ROWS
    assert folders.read_manifest(tmp_path / "dataset").figures["sources"][0]["name"] == "a.csv"
    del bucket.files["in/a.csv"]  # deleted, but its versions are kept
    forget()
    assert ingest() == (0, "")
    assert pin("s3://bucket/in/a.csv?versionId=v2")[0] == "version:v2"
    assert ingest() == (0, "")
    assert rows(tmp_path)[0] == ("hello again", "greeting")
    del bucket.versions["in/a.csv"]["v2"]
    forget()
    changed(ingest(), "does not exist")


def test_objects_are_known_by_their_listing(tmp_path: Path, bucket: Bucket, pin: Any, ingest: Any) -> None:
    bucket.put("in/a.csv", CSV.encode())
    bucket.put("in/b.csv", b"text,label\nmore,x\n")
    for source in ("s3://bucket/in", "s3://bucket/in/*.csv"):
        assert pin(source)[0].startswith("files:")
        assert ingest() == (0, "")
        assert rows(tmp_path) == [*ROWS, ("more", "x")]
    bucket.put("in/c.csv", CSV.encode())
    forget()
    changed(ingest(), "c.csv came or went")
    del bucket.files["in/c.csv"]
    bucket.put("in/b.csv", OTHER)
    forget()
    changed(ingest(), "b.csv was etag:")


@pytest.mark.parametrize("location", ["bucket", "website"])
def test_storage_that_knows_nothing_of_the_content_is_known_by_its_bytes(
    tmp_path: Path, bucket: Bucket, website: Website, pin: Any, ingest: Any, location: str
) -> None:
    storage, address = {"bucket": (bucket, "s3://bucket/a.csv"), "website": (website, f"{website.url}/a.csv")}[location]
    storage.headers = ()
    storage.put("a.csv", CSV.encode())
    version, said = pin(address)
    assert version == f"sha256:{SHA256}"
    assert said == f"pin: {address} has no ETag or the like: its bytes are read to know them again\n"
    assert ingest() == (0, "")
    storage.put("a.csv", OTHER)
    forget()
    changed(ingest(), f"a.csv was sha256:{SHA256}, and is sha256:{hashlib.sha256(OTHER).hexdigest()}")


@pytest.mark.parametrize(("header", "version"), [("ETag", f"etag:{ETAG}"), ("Last-Modified", "modified:Thu, 01 Jan")])
def test_a_page_is_known_by_what_its_server_says(
    website: Website, pin: Any, ingest: Any, header: str, version: str
) -> None:
    website.headers = (header,)
    website.put("a.csv", CSV.encode())
    assert pin(f"{website.url}/a.csv")[0].startswith(version)
    assert ingest() == (0, "")
    website.after_read = lambda path: website.put(path, OTHER)  # after it was read, before its server is asked again
    changed(ingest(), f"a.csv was {version}")
    changed(ingest(), f"a.csv was {version}")


def test_an_object_that_changes_while_it_is_read(bucket: Bucket, pin: Any, ingest: Any) -> None:
    bucket.put("in/a.csv", CSV.encode())
    pin("s3://bucket/in/a.csv")
    bucket.after_read = lambda path: bucket.put(path, OTHER)
    changed(ingest(), f"a.csv was etag:{ETAG}")


def test_storage_that_refuses_says_so_in_both(
    bucket: Bucket, run_step: RunStep, tmp_path: Path, pin: Any, ingest: Any
) -> None:
    bucket.put("in/a.csv", CSV.encode())
    pin("s3://bucket/in/a.csv")
    bucket.forbidden = True
    forget()
    assert ingest()[0] == 4
    code, _out, err = run_step("pin", {"source": "s3://bucket/in/a.csv"}, source_version=tmp_path / "source_version")
    assert (code, "s3://bucket/in/a.csv cannot be read: " in err, "credentials" in err) == (4, True, True), err


@pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")
def test_a_branch_is_its_commit_whatever_becomes_of_it(tmp_path: Path, dvc_repo: Path, pin: Any, ingest: Any) -> None:
    git(dvc_repo, "branch", "labels", "v1")
    commit = git(dvc_repo, "rev-parse", "v1")
    assert pin(f"dvc://{dvc_repo}@labels:data.csv")[0] == f"commit:{commit}"
    git(dvc_repo, "branch", "--force", "labels", "v2")
    assert ingest() == (0, "")
    assert rows(tmp_path) == ROWS
    git(dvc_repo, "branch", "--delete", "--force", "labels")
    assert ingest() == (0, "")
    assert pin(f"dvc://{dvc_repo}@v1:folder")[0] == f"commit:{commit}"
    assert ingest() == (0, "")


@pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")
def test_a_commit_that_a_force_push_took_away(tmp_path: Path, dvc_repo: Path, pin: Any, ingest: Any) -> None:
    """Cloned, as from a server: what no branch holds does not come with it."""
    git(dvc_repo, "checkout", "-q", "-b", "labels", "v1")
    git(dvc_repo, "commit", "-q", "--allow-empty", "-m", "more")
    pin(f"dvc://file://{dvc_repo}@labels:data.csv")
    git(dvc_repo, "commit", "-q", "--amend", "--allow-empty", "-m", "again")
    forget()
    changed(ingest(), "unknown Git revision")


def forget() -> None:
    """What a new process would not know: the listings that s3fs keeps, the clones that DVC keeps."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    if dvc := sys.modules.get(
        "dvc.repo.open_repo"
    ):  # imported here, DVC would log into this test's captured output for ever
        dvc.clean_repos()
