"""ingest: what it reads, and what it makes of it."""

import gzip
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.ingest.params import Params
from fineline.artifacts import folders
from fineline.rows.dataset import DATA, row_schema
from tests.components.conftest import CSV, JSONL, ROWS, pairs, quarantined, write
from tests.conftest import REAL_DATA

TSV = CSV.replace(",", "\t")


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
        ("a.csv.gz", gzip.compress(CSV.encode(), mtime=0), {}),
        ("a.jsonl", JSONL, {}),
        ("a.jsonl", b"\xef\xbb\xbf" + JSONL.replace("\n", "\n\n").encode(), {}),
        ("a.ndjson.gz", gzip.compress(JSONL.encode(), mtime=0), {}),
        (
            "a.csv",
            CSV.replace("text,label", "utterance , intent"),
            {"columns": {"text": "utterance", "label": "intent"}},
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
            "label": pa.array([1.0, 2.0, 1.0, None]),  # as pandas writes whole numbers where one is missing, in CSV too
            "at": pa.array([0, 86_400, None, None], pa.timestamp("s")),
            "unused": pa.array([b"\0"] * 4),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    rows = read(tmp_path / "a.parquet", columns={"time": "at"})
    assert pairs(rows) == [("a", "1.0"), ("b", "2.0")]
    assert list(rows["time"]) == ["1970-01-01T00:00:00", "1970-01-02T00:00:00"]
    assert [(row["line"], row["reason"]) for row in quarantined(tmp_path / "dataset")] == [
        (3, "no text"),
        (4, "no label"),
    ]


@pytest.mark.parametrize(
    "labels",
    [[0.0, 1.0, None], pd.array([0, 1, None], "Int64"), ["007", "1e5", "None"], [10**18, 2, 3], [0.1, 1e22, 1e-7]],
    ids=["floats", "nullable", "text", "long", "small"],
)
def test_one_column_gives_one_set_of_labels_in_every_format(
    labels: Any, tmp_path: Path, read: Callable[..., pd.DataFrame]
) -> None:
    frame = pd.DataFrame({"text": ["a", "b", "c"], "label": labels})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    values = [None if pd.isna(value) else value for value in frame["label"].tolist()]
    lines = [json.dumps({"text": text, "label": value}) for text, value in zip("abc", values, strict=True)]
    write(tmp_path / "a.jsonl", "\n".join(lines))
    found = [pairs(read(tmp_path / f"a.{kind}", max_bad_rows=1)) for kind in ("csv", "jsonl", "parquet")]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 3 - values.count(None)


def test_labels_groups_and_annotators_lose_what_nobody_sees(tmp_path: Path, read: Callable[..., pd.DataFrame]) -> None:
    csv = (
        "text,label,who,a,b\nx,Billing,ann ,spam ,spam\ny,bill\u200bing,\u00a0ann,spam\ufeff, spam\n"
        "z,caf\u00e9,ben,,\u200b\nv,cafe\u0301\t,ben,x,x\nw,\U0001f468\u200d\U0001f469,ann,x,x\n"
    )
    source = write(tmp_path / "a.csv", csv)
    rows = read(source, columns={"group": "who", "annotators": ["a", "b"]})
    assert list(rows["label"]) == ["Billing", "billing", "caf\u00e9", "caf\u00e9", "\U0001f468\u200d\U0001f469"]
    assert list(rows["group"]) == ["ann", "ann", "ben", "ben", "ann"]
    assert [list(names) for names in rows["annotators"]] == [
        ["spam"] * 2,
        ["spam"] * 2,
        [None] * 2,
        ["x"] * 2,
        ["x"] * 2,
    ]
    assert folders.read_manifest(tmp_path / "dataset").figures["cleaned_labels"] == {
        "rows": 2,
        "list": [
            {"written": "bill\u200bing", "label": "billing", "rows": 1},
            {"written": "cafe\u0301\t", "label": "caf\u00e9", "rows": 1},
        ],
    }


def test_a_label_that_is_no_name_is_a_bad_row(tmp_path: Path, read: Callable[..., pd.DataFrame]) -> None:
    long = "a sentence that stands where a label should " * 3
    rows = read(write(tmp_path / "a.csv", f"{CSV}x,{long}\ny,{'l' * 100}\n"))
    assert len(rows) == 3
    (entry,) = quarantined(tmp_path / "dataset")
    assert (entry["line"], "the label has 131 characters, 100 are allowed" in entry["reason"]) == (4, True)


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
        columns={"id": "nr", "group": "who", "time": "at", "split": "part", "annotators": ["a", "b"]},
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
    os.utime(tmp_path / "cache" / "0f.csv", (1, 1))  # a link has a time of its own
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
    manifest = folders.read_manifest(tmp_path / "dataset")
    assert [entry["name"] for entry in manifest.figures["sources"]] == ["a.jsonl", "b.csv", "test.csv"]


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
    manifest = folders.read_manifest(tmp_path / "dataset")
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


def test_defaults_are_documented() -> None:
    assert all(field.description for field in Params.model_fields.values())


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
