"""ingest: what it reads, what it refuses, where each refused row goes."""

import gzip
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.ingest.delimited import read_delimited
from components.ingest.locations import files_of_builder, redacted
from components.ingest.params import Params
from fineline import artifacts
from fineline.dataset import DATA, read_rows, row_schema
from tests.conftest import PROJECT, REAL_DATA, files_of

TSV = "text\tlabel\nhello there\tgreeting\nbye now\tfarewell\n"
CSV = TSV.replace("\t", ",")
JSONL = '{"text": "hello there", "label": "greeting"}\n{"text": "bye now", "label": "farewell"}\n'
ROWS = [("hello there", "greeting"), ("bye now", "farewell")]

Ingest = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ingest(run_step: Callable[..., tuple[int, str, str]], tmp_path: Path) -> Ingest:
    """ingest(source, **params) -> (exit code, stdout, stderr); the dataset is tmp_path / 'dataset'."""

    def call(source: Path | str, **params: Any) -> tuple[int, str, str]:
        return run_step("ingest", {"source": str(source), **params}, dataset=tmp_path / "dataset")

    return call


@pytest.fixture
def read(ingest: Ingest, tmp_path: Path) -> Callable[..., pd.DataFrame]:
    """read(source, **params) -> the rows of a run that must succeed and leave exactly the files it should."""

    def call(source: Path | str, **params: Any) -> pd.DataFrame:
        code, _out, err = ingest(source, **params)
        assert code == 0, err
        assert files_of(tmp_path / "dataset") == {"data.parquet", "quarantine.jsonl", "manifest.json", "run.json"}
        artifacts.verify(tmp_path / "dataset")
        return read_rows(tmp_path / "dataset" / DATA)

    return call


def pairs(rows: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(rows["text"], rows["label"], strict=True))


def quarantined(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()]


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "params"),
    [
        ("a.csv", CSV, {}),
        ("a.tsv", TSV, {}),
        ("a.CSV", CSV.replace(",", ";"), {"delimiter": ";"}),
        ("a.txt", TSV, {"delimiter": r"\t"}),
        ("a.csv", CSV.replace("\n", "\r\n"), {}),
        ("a.csv", CSV.replace("\n", "\r"), {}),
        ("a.csv", "\n" + CSV.replace("\n", "\n\n").rstrip("\n"), {}),
        ("a.csv", CSV.encode("utf-8-sig"), {}),
        ("a.csv", CSV.encode("utf-16"), {"encoding": "utf-16"}),
        ("a.csv.gz", gzip.compress(CSV.encode()), {}),
        ("a.jsonl", JSONL, {}),
        ("a.jsonl", b"\xef\xbb\xbf" + JSONL.replace("\n", "\n\n").encode(), {}),
        ("a.ndjson.gz", gzip.compress(JSONL.encode()), {}),
        (
            "a.csv",
            CSV.replace("text,label", "utterance , intent"),
            {"text_column": "utterance", "label_column": "intent"},
        ),
    ],
)
def test_reads_text_formats(
    tmp_path: Path, read: Callable[..., pd.DataFrame], name: str, content: str | bytes, params: dict[str, Any]
) -> None:
    rows = read(write(tmp_path / name, content), **params)
    assert pairs(rows) == ROWS
    assert list(rows.columns) == ["id", "text", "label"]


def test_values_stay_as_written(tmp_path: Path, read: Callable[..., pd.DataFrame]) -> None:
    csv = 'text,label,code\n001,NA,1.10\n"a, ""b""\r\nc",null,\n"",NaN,x\n'
    rows = read(write(tmp_path / "a.csv", csv), keep_columns=["code"])
    assert pairs(rows) == [("001", "NA"), ('a, "b"\r\nc', "null"), ("", "NaN")]
    assert list(rows["code"]) == ["1.10", "", "x"]
    jsonl = (
        '{"text": 1.10, "label": true}\n{"text": "1e5", "label": 12345678901234567890}\n{"text": "", "label": "x"}\n'
    )
    assert pairs(read(write(tmp_path / "a.jsonl", jsonl))) == [
        ("1.10", "true"),
        ("1e5", "12345678901234567890"),
        ("", "x"),
    ]


def test_parquet_types_become_text(tmp_path: Path, read: Callable[..., pd.DataFrame]) -> None:
    table = pa.table(
        {
            "text": pa.array(["a", "b", None, "d"]),
            "label": pa.array([1.0, 2.0, 1.0, None]),  # what pandas makes of whole numbers where one is missing
            "at": pa.array([0, 86_400, None, None], pa.timestamp("s")),
            "unused": pa.array([b"\0"] * 4),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    rows = read(tmp_path / "a.parquet", time_column="at")
    assert pairs(rows) == [("a", "1"), ("b", "2")]
    assert list(rows["time"]) == ["1970-01-01T00:00:00", "1970-01-02T00:00:00"]
    assert [(row["line"], row["reason"]) for row in quarantined(tmp_path / "dataset")] == [
        (3, "no text"),
        (4, "no label"),
    ]


def test_optional_columns(tmp_path: Path, read: Callable[..., pd.DataFrame]) -> None:
    csv = (
        "nr,text,label,who,at,part,a,b,channel\n"
        "7,x,one,anna,2026-01-02,train,one,two,app\n"
        "8,y,two,,,Test,,two,\n"
        "9,z,two,ben,2026-01-03,validation,two,two,mail\n"
        "10,z,two,ben,2026-01-03,holdout,two,two,mail\n"
    )
    rows = read(
        write(tmp_path / "a.csv", csv),
        id_column="nr",
        group_column="who",
        time_column="at",
        split_column="part",
        annotator_columns=["a", "b"],
        keep_columns=["channel"],
        max_bad_rows=1.0,
    )
    records = [[value.tolist() if hasattr(value, "tolist") else value for value in row] for row in rows.to_numpy()]
    assert list(rows.columns) == ["id", "text", "label", "group", "annotators", "time", "split", "channel"]
    assert [[None if value != value else value for value in row] for row in records] == [
        ["7", "x", "one", "anna", ["one", "two"], "2026-01-02", None, "app"],
        ["8", "y", "two", None, [None, "two"], None, "test", ""],
        ["9", "z", "two", "ben", ["two", "two"], "2026-01-03", None, "mail"],
    ]
    assert quarantined(tmp_path / "dataset")[0]["reason"] == "the split is 'holdout', none of train, validation, test"
    types = {field.name: str(field.type) for field in row_schema(tmp_path / "dataset" / DATA)}
    assert types.pop("annotators").startswith("list<")
    assert set(types.values()) == {"string"}


def test_folder_glob_and_test_source(tmp_path: Path, read: Callable[..., pd.DataFrame]) -> None:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    (folder / "b.csv").symlink_to(write(tmp_path / "cache" / "0f.csv", "text,label\nfrom b,x\n"))
    write(folder / "a.jsonl", '{"label": "y", "text": "from a"}\n')
    write(folder / "_c.csv", "not,data\n")
    write(folder / "README.md", "about")
    write(folder / "deep" / "d.csv", "text,label\nfrom d,x\n")
    test = write(tmp_path / "test.csv", "text,label\nheld out,x\n")
    assert list(read(folder)["text"]) == ["from a", "from b"]
    assert list(read(f"{folder}/**/*.csv")["text"]) == ["from b", "from d"]
    rows = read(f"{folder}/[ab].*", test_source=str(test))
    assert list(rows["text"]) == ["from a", "from b", "held out"]
    assert rows["split"].tolist()[2] == "test"
    assert rows["split"].isna().tolist() == [True, True, False]
    manifest = artifacts.read_manifest(tmp_path / "dataset")
    assert [entry["name"] for entry in manifest.figures["sources"]] == ["a.jsonl", "b.csv", "test.csv"]


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
    commit = subprocess.run(["git", "rev-parse", "v1"], cwd=dvc_repo, capture_output=True, text=True, check=True)
    assert source == {
        "name": "data.csv",
        "revision": commit.stdout.strip(),
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


def test_ids_do_not_depend_on_the_order(tmp_path: Path, read: Callable[..., pd.DataFrame]) -> None:
    lines = ["a,x", "b,x", "a,y", "a,x", "a,x"]
    first = read(write(tmp_path / "a.csv", "\n".join(["text,label", *lines])))
    again = read(write(tmp_path / "b.csv", "\n".join(["text,label", *reversed(lines)])))
    assert first["id"].is_unique
    assert sorted(zip(first["id"], pairs(first), strict=True)) == sorted(zip(again["id"], pairs(again), strict=True))
    copies = first[(first["text"] == "a") & (first["label"] == "x")]["id"]
    base = hashlib.sha256(b'{"label": "x", "text": "a"}').hexdigest()[:16]
    assert list(copies) == [base, f"{base}-2", f"{base}-3"]


def test_same_source_same_digest(tmp_path: Path, read: Callable[..., pd.DataFrame]) -> None:
    source = write(tmp_path / "one" / "a.csv", CSV + "ragged\n")
    copy = write(tmp_path / "other" / "place" / "a.csv", CSV + "ragged\n")
    read(source)
    manifest = artifacts.read_manifest(tmp_path / "dataset")
    text = (tmp_path / "dataset" / "manifest.json").read_text()
    read(copy)
    assert (tmp_path / "dataset" / "manifest.json").read_text() == text
    assert str(tmp_path) not in text
    assert manifest.task == "single_label"
    assert manifest.kind == "dataset"
    assert manifest.figures == {
        "rows": 2,
        "quarantined": 1,
        "labels": {"farewell": 1, "greeting": 1},
        "sources": [
            {
                "name": "a.csv",
                "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
                "rows": 2,
                "quarantined": 1,
            }
        ],
    }


BAD_LINES = {
    "ragged, too long": (b"one,two,three", "3 cells where the header has 2"),
    "ragged, too short": (b"one", "1 cells where the header has 2"),
    "NUL": (b"one\0,two", "a NUL byte"),
    "bad UTF-8": (b"caf\xe9,two", "byte 0xe9 is not valid in the file's encoding"),
    "cell of 5 MB": (b"x" * 5_000_000 + b",two", "text has 5,000,000 bytes, 1,000,000 are allowed"),
    "label of 5 MB": (b"two," + b"x" * 5_000_000, "label has 5,000,000 bytes"),
    "no label": (b"one, ", "no label"),
    "quote in quotes": (b'"one" two,three', "broken quotes"),
    "over two lines": (b'"one\ntwo",three,four', "3 cells"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_bad_row_is_quarantined(tmp_path: Path, read: Callable[..., pd.DataFrame], ingest: Ingest, case: str) -> None:
    line, reason = BAD_LINES[case]
    start, end = CSV.encode().split(b"bye")
    source = write(tmp_path / "a.csv", start + line + b"\nbye" + end)
    assert pairs(read(source)) == ROWS
    (entry,) = quarantined(tmp_path / "dataset")
    assert (entry["file"], entry["line"]) == ("a.csv", 3)
    assert reason in entry["reason"]
    assert 0 < len(entry["content"]) <= 2_000
    code, _out, err = ingest(source, max_bad_rows=0)
    assert code == 3
    assert "a.csv line 3: " in err
    assert reason in err


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('["no object"]', "not a JSON object"),
        ('{"text": "a", "label": "b"', "no JSON object"),
        ('{"text": "a", "text": "b", "label": "c"}', "a key occurs twice"),
        ('{"text": NaN, "label": "c"}', "NaN is not JSON"),
        ('{"label": "c"}', "no text"),
        ('{"text": null, "label": "c"}', "no text"),
        ('{"text": "a", "label": ["b", "c"]}', "the label is a list"),
        ('{"text": {"a": 1}, "label": "c"}', "text is a dict"),
        (r'{"text": "a\u0000", "label": "c"}', "text: a NUL byte"),
        (r'{"text": "\ud83d", "label": "c"}', "half of a surrogate pair"),
        ("[" * 100_000, "no JSON object"),
    ],
)
def test_bad_json_row_is_quarantined(tmp_path: Path, read: Callable[..., pd.DataFrame], line: str, reason: str) -> None:
    first, second = JSONL.splitlines()
    assert pairs(read(write(tmp_path / "a.jsonl", f"{first}\n{line}\n{second}\n"))) == ROWS
    (entry,) = quarantined(tmp_path / "dataset")
    assert entry["line"] == 2
    assert reason in entry["reason"]


def test_duplicate_own_id_is_quarantined(tmp_path: Path, read: Callable[..., pd.DataFrame]) -> None:
    source = write(tmp_path / "a.csv", "id,text,label\n01,a,x\n1,b,x\n01,c,x\n,d,x\n")
    assert list(read(source, id_column="id")["id"]) == ["01", "1"]
    assert [row["reason"] for row in quarantined(tmp_path / "dataset")] == [
        "the id '01' is already that of a.csv line 2",
        "no id",
    ]


def test_too_many_bad_rows_keep_the_quarantine(
    tmp_path: Path, read: Callable[..., pd.DataFrame], ingest: Ingest
) -> None:
    good = write(tmp_path / "good.csv", CSV)
    bad = write(tmp_path / "bad.csv", CSV + "only one cell\n" * 11)
    read(good)
    kept = files_of(tmp_path / "dataset")
    digest = artifacts.read_manifest(tmp_path / "dataset").digest
    code, _out, err = ingest(bad)
    rejected = tmp_path / "dataset.rejected.jsonl"
    assert code == 3
    assert (
        "11 rows cannot be read, 10 are allowed: bad.csv line 4: 1 cells where the header has 2; bad.csv line 5" in err
    )
    assert str(rejected) in err
    assert len(rejected.read_text().splitlines()) == 11
    assert files_of(tmp_path / "dataset") == kept
    assert artifacts.verify(tmp_path / "dataset").digest == digest
    assert len(read(bad, max_bad_rows=11)) == 2
    assert not rejected.exists()


def test_reading_stops_when_all_is_wrong(tmp_path: Path, ingest: Ingest) -> None:
    source = write(tmp_path / "a.csv", CSV.encode() + b"caf\xe9,x\n" * 5_000)
    code, _out, err = ingest(source)
    assert code == 3
    assert "reading stopped there" in err
    assert "set ingest.encoding" in err
    assert len((tmp_path / "dataset.rejected.jsonl").read_text().splitlines()) == 1_010


BAD_FILES: dict[str, tuple[dict[str, bytes | str], dict[str, Any], int, list[str]]] = {
    "missing file": ({}, {"source": "none.csv"}, 2, ["none.csv does not exist"]),
    "missing test file": ({"a.csv": CSV}, {"test_source": "none.csv"}, 2, ["none.csv does not exist"]),
    "folder without data": ({"in/README.md": "x"}, {"source": "in"}, 2, ["in names no data file", ".parquet"]),
    "glob without match": ({}, {"source": "*.csv"}, 2, ["no data file", "*.csv"]),
    "unknown suffix": ({"a.xlsx": "x"}, {"source": "a.xlsx"}, 2, ["a.xlsx", "must end in .csv"]),
    "wrong column": ({"a.csv": "Text,label\na,b\n"}, {}, 2, ["a.csv has no column 'text'", "did you mean 'Text'"]),
    "wrong kept column": ({"a.csv": CSV}, {"keep_columns": ["channel"]}, 2, ["no column 'channel'", "'text', 'label'"]),
    "wrong column in JSONL": ({"a.jsonl": '{"label": "x"}'}, {"source": "a.jsonl"}, 2, ["no column 'text'"]),
    "wrong delimiter": ({"a.csv": "text;label\na;b\n"}, {}, 2, ["separated by ';': set ingest.delimiter"]),
    "empty file": ({"a.csv": ""}, {}, 3, ["a.csv is empty"]),
    "empty JSONL": ({"a.jsonl": "\n\n"}, {"source": "a.jsonl"}, 3, ["a.jsonl is empty"]),
    "header only": ({"a.csv": "text,label\n"}, {}, 3, ["ingest.source has no row"]),
    "test without rows": (
        {"a.csv": CSV, "t.csv": "text,label\n"},
        {"test_source": "t.csv"},
        3,
        ["ingest.test_source has no row"],
    ),
    "no good row": ({"a.csv": "text,label\na\n"}, {}, 3, ["no row", "a.csv line 2: 1 cells", "dataset.rejected.jsonl"]),
    "UTF-16": ({"a.csv": CSV.encode("utf-16")}, {}, 3, ["a.csv is UTF-16", "set ingest.encoding: utf-16"]),
    "UTF-32": ({"a.csv": CSV.encode("utf-32")}, {}, 3, ["a.csv is UTF-32", "set ingest.encoding: utf-32"]),
    "UTF-16 without mark": ({"a.csv": CSV.encode("utf-16-le")}, {}, 3, ["a.csv line 1", "NUL", "ingest.encoding"]),
    "not UTF-16": ({"a.csv": CSV}, {"encoding": "utf-16"}, 3, ["a.csv cannot be read as utf-16"]),
    "bad header": ({"a.csv": b"text,l\xe9bel\na,b\n"}, {}, 3, ["a.csv line 1", "0xe9", "ingest.encoding"]),
    "duplicate header": ({"a.csv": "text,label,text\na,b,c\n"}, {}, 3, ["a.csv line 1: two columns are named text"]),
    "unclosed quote": ({"a.csv": CSV + '"open,x\nb,y\nc,z\n'}, {}, 3, ["a.csv line 4: a quote opens here"]),
    "unclosed second quote": (
        {"a.csv": CSV + '"closed\n""here""","open\nb,y\nc,z\n'},
        {},
        3,
        ["a.csv line 5: a quote opens here"],
    ),
    "quote closed by the next": (
        {"a.csv": CSV + '"open,x\nb,y\n"c, d",z\n'},
        {},
        3,
        ["a.csv line 4: a quote opens here and is not closed properly"],
    ),
    "text instead of Parquet": ({"a.parquet": CSV}, {"source": "a.parquet"}, 3, ["a.parquet is no whole Parquet file"]),
    "text instead of gzip": ({"a.csv.gz": CSV}, {"source": "a.csv.gz"}, 3, ["a.csv.gz is no whole gzip file"]),
    "half a gzip": (
        {"a.csv.gz": gzip.compress((CSV + "a,b\n" * 5_000).encode())[:-20]},
        {"source": "a.csv.gz"},
        3,
        ["a.csv.gz is no whole gzip file"],
    ),
    "pretty JSON": ({"a.jsonl": "[\n" + "{\n" * 20}, {"source": "a.jsonl"}, 3, ["no JSON object", "a.jsonl line 1"]),
    "label as number and as text": (
        {"a.csv": "text,label\na,0\nb,1\n", "t.csv": "text,label\na,no\nb,yes\n"},
        {"test_source": "t.csv"},
        3,
        ["every label is a number in a.csv (such as '0') and text in t.csv (such as 'no')"],
    ),
    "hub without network": (
        {},
        {"source": "hf://owner/name@main:train"},
        4,
        ["hf://owner/name@main:train cannot be read"],
    ),
    "server that does not answer": (
        {},
        {"source": "http://127.0.0.1:9/a.csv"},
        4,
        ["127.0.0.1:9/a.csv cannot be read"],
    ),
    "hub id without owner": ({}, {"source": "hf://imdb"}, 2, ["hf://owner/name"]),
    "unknown protocol": ({}, {"source": "foo://x/a.csv"}, 2, ["foo://x/a.csv is no location"]),
    "unknown parameter": ({"a.csv": CSV}, {"text_colum": "x"}, 2, ["text_colum: unknown parameter", "text_column?"]),
    "several wrong parameters": (
        {"a.csv": CSV},
        {"max_bad_rows": -1, "delimiter": "ab", "encoding": "utf-9", "task": "poetry", "max_cell_bytes": 0.5},
        2,
        ["5 parameters are wrong", "max_bad_rows", "delimiter", "encoding", "unknown task 'poetry'", "max_cell_bytes"],
    ),
    "no source": ({}, {"source": ""}, 2, ["ingest.source"]),
    "text and label the same": ({"a.csv": CSV}, {"label_column": "text"}, 2, ["name the same column"]),
    "test is the source": ({"a.csv": CSV}, {"test_source": "a.csv"}, 2, ["the same place as source"]),
    "reserved name": ({"a.csv": CSV}, {"keep_columns": ["group"]}, 2, ["keep_columns cannot keep group"]),
    "column twice": ({"a.csv": CSV}, {"annotator_columns": ["a", "a"]}, 2, ["annotator_columns holds"]),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ingest: Ingest, case: str) -> None:
    files, params, expected, words = BAD_FILES[case]
    monkeypatch.chdir(tmp_path)
    for name, content in files.items():
        write(tmp_path / name, content)
    code, out, err = ingest(**{"source": "a.csv", **params})
    assert code == expected, err
    assert out == ""
    for word in words:
        assert word in err
    assert "Traceback" not in err
    assert "to mend it: " in err
    assert not (tmp_path / "dataset").exists()
    assert not (tmp_path / ".dataset.partial").exists()


def test_missing_driver_names_the_extra(ingest: Ingest) -> None:
    import importlib.util

    if importlib.util.find_spec("gcsfs"):
        pytest.skip("gcsfs is installed")
    code, _out, err = ingest("gs://bucket/a.csv")
    assert code == 4
    assert "pip install 'fineline[gcs]'" in err


def test_damaged_parquet(tmp_path: Path, ingest: Ingest) -> None:
    source = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"text {i}" for i in range(5_000)], "label": ["x"] * 5_000}), source)
    whole = source.read_bytes()
    source.write_bytes(whole[:100] + bytes(2_000) + whole[2_100:])
    code, _out, err = ingest(source)
    assert code == 3
    assert "a.parquet is no whole Parquet file" in err


def test_unreadable_file(tmp_path: Path, ingest: Ingest) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    source = write(tmp_path / "a.csv", CSV)
    source.chmod(0)
    code, _out, err = ingest(source)
    assert (code, "Permission denied" in err) == (4, True)


def test_full_disk(tmp_path: Path) -> None:
    """On a real file system of 300 kB, mounted in a name space of its own."""
    lines = "".join(f"{hashlib.sha256(str(i).encode()).hexdigest()},x\n" for i in range(20_000))
    source = write(tmp_path / "a.csv", "text,label\n" + lines)
    small = tmp_path / "small"
    small.mkdir()
    private = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=300k tmpfs '{small}'"
    if not shutil.which("unshare") or subprocess.run([*private, mount], capture_output=True).returncode:
        pytest.skip("this user may not mount a small file system")
    step = (
        f"'{sys.executable}' -m components.ingest --dataset '{small}/dataset' --params '{{\"source\": \"{source}\"}}'"
    )
    done = subprocess.run(
        [*private, f"{mount} && {{ {step}; code=$?; ls -A '{small}'; exit $code; }}"],
        capture_output=True,
        text=True,
        cwd=PROJECT,
    )
    assert done.returncode == 4, done.stderr
    assert "the disk is full while writing" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.split() == [".dataset.lock"]


def test_password_is_not_shown() -> None:
    assert redacted("https://me:secret@host/a.csv") == "https://***@host/a.csv"
    assert redacted("dvc://git@host:o/r.git@v1:a.csv") == "dvc://git@host:o/r.git@v1:a.csv"


def test_endless_record_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from components.ingest import delimited
    from fineline.errors import DataRejected

    monkeypatch.setattr(delimited, "RECORD_LIMIT", 1_000)
    path = write(tmp_path / "a.csv", CSV + '"open\n' + "row,x\n" * 500)
    with path.open(newline="") as stream, pytest.raises(DataRejected, match="a quote may be open since line 4"):
        list(read_delimited(stream, ",", "a.csv")[1])


def test_defaults_are_documented() -> None:
    assert all(field.description for field in Params.model_fields.values())
    places = [name for name, field in Params.model_fields.items() if field.json_schema_extra]
    assert places == ["source", "test_source"]


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "rows", "labels"), [("banking77/train.csv", 10_003, 77), ("sms_spam/all.csv", 5_574, 2)]
)
def test_real_data(tmp_path: Path, read: Callable[..., pd.DataFrame], name: str, rows: int, labels: int) -> None:
    if not (REAL_DATA / name).is_file():
        pytest.skip(f"{name} is not in ../shared/data")
    found = read(REAL_DATA / name)
    assert len(found) == rows
    assert found["label"].nunique() == labels
    assert quarantined(tmp_path / "dataset") == []
    expected = pd.read_csv(REAL_DATA / name, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    assert list(found["text"]) == list(expected["text"])
