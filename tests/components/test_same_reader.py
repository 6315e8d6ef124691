"""ingest, monitor and predict read the same files by the same parameters, and give the same hints.

tests/field_inputs holds what users of such tools met, after public bug reports.
"""

import datetime
import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.__main__ import main
from components.monitor import recent
from components.monitor.params import Params as MonitorParams
from fineline.process.errors import FinelineError
from tests.components.conftest import JSONL, Ingest, quarantined
from tests.conftest import PROJECT
from tests.word_bundle import LABELS, write_word_bundle

INPUTS = PROJECT / "tests" / "field_inputs"
EXCEL = {"delimiter": ";", "encoding": "cp1252"}
SMALL = ["first text", "second text", "third text"]
FILES: dict[str, tuple[dict[str, Any], str, list[str] | int]] = {
    "excel.CSV": (EXCEL, "label", 100),
    "sep-small.csv": ({}, "label", SMALL[:2]),
    "blank-small.csv": ({}, "label", ["message number 1", "message number 2", "message number 3"]),
    "binary.parquet": ({}, "label", 200),
    "emoji-labels.csv": ({}, "label", 200),
    "na-labels.csv": ({}, "label", 200),
    "typed-labels.csv": ({}, "label", 200),
    "monitor-mixed-small.jsonl": ({}, "order", ["first", "second"]),
    "json-numbers.jsonl": ({}, "price", ["hello", "bye"]),
    "dotted.parquet": ({"columns": {"text": "user.text"}}, "the label", 200),
    "int96-small.parquet": ({}, "label", SMALL),
    "infinity-date.parquet": ({}, "label", SMALL[:2]),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_word_bundle(tmp_path_factory.mktemp("model") / "bundle", {"text": LABELS[1]})


@pytest.fixture
def predict(model: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """predict(file, out, *flags, columns=..., **parameters) -> (exit code, stderr)."""

    def call(file: Path, out: Path, *flags: str, columns: Mapping[str, str] = {}, **params: str) -> tuple[int, str]:
        given = [part for name, value in params.items() for part in (f"--{name}", value)]
        given += [part for field, name in columns.items() for part in ("--columns", f"{field}={name}")]
        code = main(["predict", "--model", str(model), "--file", str(file), "--out", str(out), *flags, *given])
        return code, capfd.readouterr().err

    return call


def predicted(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def check_same(
    file: Path,
    params: dict[str, Any],
    label: str,
    read: Callable[..., pd.DataFrame],
    predict: Callable[..., tuple[int, str]],
    tmp_path: Path,
) -> list[str]:
    """Reads `file` with all three; gives its texts."""
    columns = params.get("columns", {})
    rows = read(file, **{**params, "columns": {**columns, "label": label}})
    found = recent.read(MonitorParams.model_validate({"source": str(file), **params}), [])
    out = tmp_path / "out.jsonl"
    code, error = predict(file, out, **params)
    assert code == 0, error
    texts = rows["text"].tolist()
    assert found.rows["text"].tolist() == texts
    assert [row[params.get("columns", {}).get("text", "text")] for row in predicted(out)] == texts
    assert found.bad == 0
    assert quarantined(tmp_path / "dataset") == []
    return texts


@pytest.mark.parametrize("name", FILES)
def test_inputs_from_the_field(
    name: str, read: Callable[..., pd.DataFrame], predict: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    params, label, expected = FILES[name]
    texts = check_same(INPUTS / name, params, label, read, predict, tmp_path)
    assert len(texts) == expected if isinstance(expected, int) else texts == expected


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv.gz", "text,label\nhello there,greeting\nbye now,farewell\n"),
        ("a.TSV", "text\tlabel\nhello there\tgreeting\nbye now\tfarewell\n"),
        ("a.ndjson", JSONL),
        ("A.NDJSON.gz", JSONL),
        ("a.csv", '"sep=|"\r\ntext|label\r\nhello there|greeting\r\n|\r\nbye now|farewell\r\n'),
    ],
)
def test_formats_and_endings(
    name: str,
    content: str,
    read: Callable[..., pd.DataFrame],
    predict: Callable[..., tuple[int, str]],
    tmp_path: Path,
) -> None:
    data = content.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert check_same(tmp_path / name, {}, "label", read, predict, tmp_path) == ["hello there", "bye now"]


HINTS = [
    (INPUTS / "excel.CSV", {}, "cells seem to be separated by ';': set {}delimiter"),
    (
        INPUTS / "excel.CSV",
        {"delimiter": ";"},
        "the file is in another encoding: set {}encoding, most likely to cp1252",
    ),
    (INPUTS / "array.json", {}, "write one object per line: jq -c '.[]' array.json > rows.jsonl"),
    (INPUTS / "sep-small.csv", {"columns": {"text": "txt"}}, "did you mean 'text'? name the columns in {}columns"),
    ("utf16.csv", {}, "set {}encoding: utf-16"),
    ("rows.xlsx", {}, "or set {}delimiter to read it as delimited text"),
    ("array.jsonl", {}, "write one object per line: jq -c '.[]' array.json > rows.jsonl"),
]


@pytest.mark.parametrize(("file", "params", "hint"), HINTS)
def test_the_same_hints(
    file: Path | str,
    params: dict[str, Any],
    hint: str,
    ingest: Ingest,
    predict: Callable[..., tuple[int, str]],
    tmp_path: Path,
) -> None:
    source = tmp_path / file
    for name, content in (
        ("utf16.csv", "text,label\na,b\n".encode("utf-16")),
        ("rows.xlsx", b"PK"),
        ("array.jsonl", (INPUTS / "array.json").read_bytes()),
    ):
        (tmp_path / name).write_bytes(content)
    code, _, error = ingest(source, max_bad_rows=0, **params)
    assert code in (2, 3)
    assert hint.format("ingest.") in error
    told, error = predict(source, tmp_path / "out.jsonl", **params)
    assert told == code
    assert hint.format("--") in error
    given = {"source": str(source), "max_bad_rows": 0, **params}
    with pytest.raises(FinelineError) as raised:
        recent.read(MonitorParams.model_validate(given), [])
    assert raised.value.code == code
    assert hint.format("monitor.") in raised.value.hint


def test_blank_rows_are_counted_and_not_bad(ingest: Ingest, tmp_path: Path) -> None:
    code, out, error = ingest(INPUTS / "blank-small.csv", max_bad_rows=0)
    assert (code, error) == (0, "")
    assert "3 rows, 1 labels from 1 file, 11 blank" in out
    figures = json.loads((tmp_path / "dataset" / "manifest.json").read_text())["figures"]
    assert (figures["quarantined"], figures["sources"][0]["blank"]) == (0, 11)


def test_numbered_labels_where_some_are_missing(read: Callable[..., pd.DataFrame], tmp_path: Path) -> None:
    rows = read(INPUTS / "nullable-int.parquet", max_bad_rows=100)
    assert set(rows["label"]) == set("0123")
    left = quarantined(tmp_path / "dataset")
    assert {row["reason"] for row in left} == {"no label"}
    assert len(rows) + len(left) == 200


def test_sparks_times_stay_themselves(
    read: Callable[..., pd.DataFrame], predict: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    rows = read(INPUTS / "int96-small.parquet", columns={"time": "at"})
    assert rows["time"].tolist() == ["2024-01-01T00:00:00", "9999-12-31T00:00:00", "1600-01-01T00:00:00"]
    assert predict(INPUTS / "int96-small.parquet", tmp_path / "out.parquet")[0] == 0
    times = pq.read_table(tmp_path / "out.parquet")["at"].to_pylist()
    assert times == [
        datetime.datetime(year, month, day) for year, month, day in ((2024, 1, 1), (9999, 12, 31), (1600, 1, 1))
    ]


def test_a_date_that_python_cannot_hold_costs_its_row_where_it_is_used(
    read: Callable[..., pd.DataFrame], predict: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    file = INPUTS / "infinity-date.parquet"
    assert read(file, keep_columns=["valid_to"])["valid_to"].tolist() == ["2022-01-08"]
    (entry,) = quarantined(tmp_path / "dataset")
    assert (entry["line"], entry["reason"][:42]) == (2, "valid_to is a date32[day] beyond what can ")
    assert predict(file, tmp_path / "out.parquet")[0] == 0
    before, after = pq.read_table(file)["valid_to"], pq.read_table(tmp_path / "out.parquet")["valid_to"]
    assert before.equals(after)
    assert predict(file, tmp_path / "out.csv")[0] == 0
    assert (tmp_path / "out.csv").read_text().splitlines()[1].startswith("first text,a,2022-01-08,")


@pytest.mark.parametrize("dictionary", [False, True])
def test_a_parquet_text_that_is_no_utf8_costs_its_row(
    dictionary: bool, ingest: Ingest, predict: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    """Writers in C++ and Rust do not check; a column `reason` is a column like others."""
    cells = pa.array([b"first text", b"caf\xe9 text", b"third text"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 3, cells.buffers())
    columns = {"text": text.dictionary_encode() if dictionary else text, "label": ["a", "b", "b"], "reason": ["x"] * 3}
    source = tmp_path / "broken.parquet"
    pq.write_table(pa.table(columns), source)
    code, _, error = ingest(source, keep_columns=["reason"])
    assert code == 0, error
    (entry,) = quarantined(tmp_path / "dataset")
    assert (entry["line"], entry["reason"]) == (2, "text is no UTF-8 (byte 0xe9 at 3)")
    assert json.loads(entry["content"])["reason"] == "x"
    found = recent.read(MonitorParams(source=str(source)), [])
    assert (found.rows["text"].tolist(), found.bad) == (SMALL[::2], 1)
    code, error = predict(source, tmp_path / "out.jsonl")
    assert code == 3
    assert "no UTF-8" in error


def test_binary_that_is_no_text_is_said(ingest: Ingest, tmp_path: Path) -> None:
    table = pq.read_table(INPUTS / "binary.parquet").slice(0, 2).to_pydict()
    table["text"][1] = b"\xff\xfe\x00"
    pq.write_table(
        pa.table({name: pa.array(cells, pa.binary()) for name, cells in table.items()}), tmp_path / "a.parquet"
    )
    assert ingest(tmp_path / "a.parquet")[0] == 0
    assert quarantined(tmp_path / "dataset")[0]["reason"] == "text is binary, not text"


def test_predict_passes_numbers_on_as_they_were_written(
    predict: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    numbers = '{"user_id":1225717802.1679841607,"price":1.10,"text":"hello","more":{"a":[1.50,1e400]}}\n'
    (tmp_path / "in.jsonl").write_text(numbers + '{"user_id":1e400,"price":2.00,"text":7.50,"more":null,"n":12}\n')
    assert predict(tmp_path / "in.jsonl", tmp_path / "out.jsonl")[0] == 0
    first, second = (tmp_path / "out.jsonl").read_text().splitlines()
    assert first.startswith(
        '{"user_id": 1225717802.1679841607, "price": 1.10, "text": "hello", "more": {"a": [1.50, 1e400]}, "label": '
    )
    assert second.startswith('{"user_id": 1e400, "price": 2.00, "text": 7.50, "more": null, "n": 12, "label": ')
    assert predict(tmp_path / "in.jsonl", tmp_path / "out.csv")[0] == 0
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[1].startswith('1225717802.1679841607,1.10,hello,"{""a"": [1.50, 1e400]}",,')
    assert lines[2].startswith("1e400,2.00,7.50,,12,")
    assert predict(tmp_path / "in.jsonl", tmp_path / "out.parquet")[0] == 0
    table = pq.read_table(tmp_path / "out.parquet")
    types = {field.name: str(field.type) for field in table.schema}
    assert types | {"score": "double"} == {
        **{"user_id": "string", "price": "double", "text": "string", "more": "string", "n": "int64"},
        **{"label": "string", "score": "double"},
    }
    assert table["user_id"].to_pylist() == ["1225717802.1679841607", "1e400"]


def test_json_that_is_none_is_not_written(predict: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    pd.DataFrame({"text": ["a", "b", "c"], "x": [float("nan"), float("inf"), 1.5]}).to_parquet(tmp_path / "in.parquet")
    assert predict(tmp_path / "in.parquet", tmp_path / "out.jsonl")[0] == 0

    def refused(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    rows = [json.loads(line, parse_constant=refused) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["x"] for row in rows] == [None, "Infinity", 1.5]
    (tmp_path / "nan.jsonl").write_text('{"text": "a", "x": NaN}\n')
    code, error = predict(tmp_path / "nan.jsonl", tmp_path / "nan.out.jsonl")
    assert (code, "nan.jsonl line 1: no JSON object: NaN is not JSON" in error) == (3, True)
