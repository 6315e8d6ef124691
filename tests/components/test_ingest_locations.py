"""ingest: saved datasets, the hub, buckets, DVC repositories."""

import hashlib
import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pytest

from fineline import artifacts
from fineline.locations import files_of_builder, redacted
from tests.components.conftest import CSV, ROWS, Ingest, pairs, quarantined, write


def test_saved_datasets(tmp_path: Path, read: Callable[..., pd.DataFrame], ingest: Ingest) -> None:
    import datasets

    datasets.disable_progress_bars()
    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["neg", "pos"]))
    one = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, -1]}, features=features)
    one.save_to_disk(tmp_path / "one", num_shards=2)
    datasets.DatasetDict(
        train=one, test=datasets.Dataset.from_dict({"text": ["t"], "label": [1]}, features=features)
    ).save_to_disk(tmp_path / "both")
    one.to_parquet(tmp_path / "one.parquet")
    expected = [("a", "pos"), ("b", "neg")]
    assert pairs(read(tmp_path / "one")) == expected
    assert pairs(read(tmp_path / "one.parquet")) == expected
    rows = read(tmp_path / "both")
    assert pairs(rows) == [*expected, ("t", "pos")]
    assert rows["split"].tolist()[2] == "test"
    assert [row["file"] for row in quarantined(tmp_path / "dataset")] == ["train/data-00000-of-00001.arrow"]
    assert pairs(read(tmp_path / "one", test_source=str(tmp_path / "both" / "test"))) == [*expected, ("t", "pos")]
    code, _out, err = ingest(tmp_path / "one", test_source=str(tmp_path / "both"))
    assert (code, "several splits: test, train" in err) == (2, True)


def test_files_of_a_hub_dataset(tmp_path: Path) -> None:
    """`datasets` finds splits, files and class names the same way in a folder as on the hub."""
    write(tmp_path / "set" / "train.csv", "text,label\na,0\n")
    write(tmp_path / "set" / "test.csv", "text,label\nb,1\n")
    classes = "{class_label: {names: {'0': neg, '1': pos}}}"
    fields = f"[{{name: text, dtype: string}}, {{name: label, dtype: {classes}}}]"
    write(tmp_path / "set" / "README.md", f"---\ndataset_info:\n  features: {fields}\n---\n")
    files = files_of_builder(str(tmp_path / "set"), "", "", "hf://owner/set")
    assert [(file.name, file.split) for file in files] == [("train/train.csv", "train"), ("test/test.csv", "test")]
    assert files[0].class_names == {"label": ["neg", "pos"]}
    assert len(files_of_builder(str(tmp_path / "set"), "", "test", "hf://owner/set:test")) == 1


def test_memory_filesystem(read: Callable[..., pd.DataFrame]) -> None:
    import fsspec

    filesystem = fsspec.filesystem("memory")
    filesystem.pipe({"/ingest/a.csv": CSV.encode(), "/ingest/b.csv": b"text,label\nmore,x\n"})
    try:
        assert pairs(read("memory://ingest/a.csv")) == ROWS
        assert pairs(read("memory://ingest")) == pairs(read("memory://ingest/*.csv")) == [*ROWS, ("more", "x")]
    finally:
        filesystem.rm("/ingest", recursive=True)


class _Bucket(http.server.BaseHTTPRequestHandler):
    """As much of S3 as reading needs: HEAD, GET with ranges, list-objects-v2. One bucket, `files`."""

    files: dict[str, bytes] = {"in/a.csv": CSV.encode(), "in/b.csv": b"text,label\nmore,x\n"}  # noqa: RUF012

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        key, query = url.path.strip("/").partition("/")[2], parse_qs(url.query)
        if "list-type" in query:
            self._answer(200, self._listing(query.get("prefix", [""])[0]).encode(), "application/xml")
        elif key not in self.files:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>", "application/xml")
        elif span := self.headers.get("Range"):
            first, last = span.removeprefix("bytes=").split("-")
            self._answer(206, self.files[key][int(first) : int(last) + 1], "text/csv")
        else:
            self._answer(200, self.files[key], "text/csv")

    def _listing(self, prefix: str) -> str:
        entries = "".join(
            f"<Contents><Key>{key}</Key><Size>{len(data)}</Size><LastModified>2026-01-01T00:00:00Z</LastModified></Contents>"
            for key, data in self.files.items()
            if key.startswith(prefix)
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.send_header("ETag", '"x"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        pass


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    pytest.importorskip("s3fs", reason="s3fs is not installed: pip install 'fineline[s3]'")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Bucket)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield "s3://bucket"
    server.shutdown()
    server.server_close()


def test_s3(bucket: str, read: Callable[..., pd.DataFrame], ingest: Ingest) -> None:
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    assert pairs(read(f"{bucket}/in/a.csv")) == ROWS
    assert pairs(read(f"{bucket}/in/*.csv")) == [*ROWS, ("more", "x")]
    code, _out, err = ingest(f"{bucket}/in/none.csv")
    assert (code, "does not exist" in err) == (2, True)
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def dvc_repo(tmp_path: Path) -> Path:
    """A git repository with DVC: data.csv and folder/ in two versions, v1 and v2, pushed to a local remote."""
    from dvc.repo import Repo

    path = tmp_path / "repo"
    path.mkdir()
    identity = {
        f"GIT_{role}_{key}": "test@example.org" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")
    }

    def git(*command: str) -> None:
        subprocess.run(["git", *command], cwd=path, env={**os.environ, **identity}, check=True, capture_output=True)

    git("init", "-q")
    with Repo.init(str(path)) as repo:
        with repo.config.edit() as config:
            config["remote"]["store"] = {"url": str(tmp_path / "store")}
            config["core"]["remote"] = "store"
        for version, text in (("v1", "hello there"), ("v2", "hello again")):
            write(path / "data.csv", CSV.replace("hello there", text))
            write(path / "folder" / "part.csv", CSV.replace("hello there", text))
            repo.add([str(path / "data.csv"), str(path / "folder")])
            git("add", "-A")
            git("commit", "-qm", version)
            git("tag", version)
            repo.push()
    return path


@pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")
def test_dvc(dvc_repo: Path, tmp_path: Path, read: Callable[..., pd.DataFrame], ingest: Ingest) -> None:
    assert pairs(read(f"dvc://{dvc_repo}@v1:data.csv")) == ROWS
    (source,) = artifacts.read_manifest(tmp_path / "dataset").figures["sources"]
    assert source == {
        "name": "data.csv",
        "rows": 2,
        "quarantined": 0,
        "sha256": hashlib.sha256(CSV.encode()).hexdigest(),
    }
    assert pairs(read(f"dvc://{dvc_repo}@v2:folder"))[0] == ("hello again", "greeting")
    assert pairs(read(f"dvc://{dvc_repo}@v1:folder/*.csv")) == ROWS
    for location, code, words in (
        (f"dvc://{dvc_repo}@v9:data.csv", 2, "unknown Git revision 'v9'"),
        (f"dvc://{dvc_repo}@v1:none.csv", 2, "does not exist"),
        (f"dvc://{dvc_repo}:data.csv", 2, "dvc://repo@rev:path"),
        (f"dvc://{tmp_path}/none@v1:data.csv", 2, "there is no repository"),
    ):
        found, _out, err = ingest(location)
        assert (found, words in err) == (code, True), err
    shutil.rmtree(tmp_path / "store")
    shutil.rmtree(dvc_repo / ".dvc" / "cache")
    code, _out, err = ingest(f"dvc://{dvc_repo}@v1:data.csv")
    assert (code, "cannot be read" in err) == (4, True), err


def test_missing_driver_names_the_extra(ingest: Ingest) -> None:
    import importlib.util

    if importlib.util.find_spec("gcsfs"):
        pytest.skip("gcsfs is installed")
    code, _out, err = ingest("gs://bucket/a.csv")
    assert code == 4
    assert "pip install 'fineline[gcs]'" in err


def test_password_is_not_shown() -> None:
    assert redacted("https://me:secret@host/a.csv") == "https://***@host/a.csv"
    assert redacted("dvc://git@host:o/r.git@v1:a.csv") == "dvc://git@host:o/r.git@v1:a.csv"
