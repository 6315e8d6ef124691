"""ingest: what it refuses, where each refused row goes."""

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fineline.artifacts import folders
from fineline.rows.delimited import read_delimited
from fineline.rows.settings import Reading
from tests.components.conftest import CSV, JSONL, ROWS, Ingest, RunStep, pairs, quarantined, write
from tests.conftest import PROJECT, files_of

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
    text, written = entry["content"], line.decode("utf-8", "backslashreplace")
    assert (",".join(json.loads(text).values()) if text.startswith("{") else text).rstrip() == written.rstrip()
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
    assert list(read(source, columns={"id": "id"})["id"]) == ["01", "1"]
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
    digest = folders.read_manifest(tmp_path / "dataset").digest
    code, _out, err = ingest(bad)
    rejected = tmp_path / "dataset.rejected.jsonl"
    assert code == 3
    assert (
        "11 rows cannot be read, 10 are allowed: bad.csv line 4: 1 cells where the header has 2; bad.csv line 5" in err
    )
    assert str(rejected) in err
    assert len(rejected.read_text().splitlines()) == 11
    assert not (tmp_path / "dataset").exists()
    assert files_of(tmp_path / ".dataset.old") == kept
    assert folders.verify(tmp_path / ".dataset.old").digest == digest
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
    "header only": ({"a.csv": "text,label\n"}, {}, 3, ["pin.source has no row"]),
    "test without rows": (
        {"a.csv": CSV, "t.csv": "text,label\n"},
        {"test_source": "t.csv"},
        3,
        ["pin.test_source has no row"],
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
    "pretty JSON": (
        {"a.jsonl": "[\n" + "{\n" * 20},
        {"source": "a.jsonl"},
        3,
        ["a.jsonl is a JSON array", "jq -c '.[]'"],
    ),
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
    "unknown field": (
        {"a.csv": CSV},
        {"columns": {"labels": "label"}},
        2,
        ["ingest.columns: there is no field labels, did you mean label?; the fields are text, label, id, group"],
    ),
    "old name": ({"a.csv": CSV}, {"label_column": "x"}, 2, ["label_column: it is ingest.columns.label now"]),
    "old name of annotators": ({"a.csv": CSV}, {"annotator_columns": []}, 2, ["it is ingest.columns.annotators now"]),
    "no column for a field": ({"a.csv": CSV}, {"columns": {"label": ""}}, 2, ["label needs a column"]),
    "columns for a field of one": (
        {"a.csv": CSV},
        {"columns": {"id": ["a", "b"]}},
        2,
        ["id is ['a', 'b'], not the name"],
    ),
    "one column for annotators": ({"a.csv": CSV}, {"columns": {"annotators": "a"}}, 2, ["'a', not a list of columns"]),
    "unknown parameter": ({"a.csv": CSV}, {"max_bad_row": 1}, 2, ["max_bad_row: unknown parameter", "max_bad_rows?"]),
    "several wrong parameters": (
        {"a.csv": CSV},
        {"max_bad_rows": -1, "delimiter": "ab", "encoding": "utf-9", "task": "poetry", "max_cell_bytes": 0.5},
        2,
        ["5 parameters are wrong", "max_bad_rows", "delimiter", "encoding", "unknown task 'poetry'", "max_cell_bytes"],
    ),
    "no source": ({}, {"source": ""}, 2, ["pin.source"]),
    "text and label the same": (
        {"a.csv": CSV},
        {"columns": {"label": "text"}},
        2,
        ["text and label name the same column"],
    ),
    "test is the source": ({"a.csv": CSV}, {"test_source": "a.csv"}, 2, ["the same place as source"]),
    "reserved name": ({"a.csv": CSV}, {"keep_columns": ["group"]}, 2, ["ingest.keep_columns", "cannot keep group"]),
    "column twice": ({"a.csv": CSV}, {"columns": {"annotators": ["a", "a"]}}, 2, ["annotators holds"]),
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


def test_full_disk(tmp_path: Path, run_step: RunStep) -> None:
    """On a real file system of 300 kB, mounted in a name space of its own."""
    lines = "".join(f"{hashlib.sha256(str(i).encode()).hexdigest()},x\n" for i in range(20_000))
    source = write(tmp_path / "a.csv", "text,label\n" + lines)
    small = tmp_path / "small"
    small.mkdir()
    private = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=300k tmpfs '{small}'"
    if not shutil.which("unshare") or subprocess.run([*private, mount], capture_output=True).returncode:
        pytest.skip("this user may not mount a small file system")
    version = tmp_path / "source_version"
    assert run_step("pin", {"source": str(source)}, source_version=version)[0] == 0
    step = f"'{sys.executable}' -m components.ingest --source_version '{version}' --dataset '{small}/dataset' --params {{}}"
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


def test_endless_record_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fineline.process.errors import DataRejected
    from fineline.rows import delimited

    monkeypatch.setattr(delimited, "RECORD_LIMIT", 1_000)
    path = write(tmp_path / "a.csv", CSV + '"open\n' + "row,x\n" * 500)
    with path.open(newline="") as stream, pytest.raises(DataRejected, match="a quote may be open since line 4"):
        list(read_delimited(stream, ",", "a.csv", Reading("ingest."))[1])
