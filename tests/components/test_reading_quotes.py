"""Delimited files whose quotes are lost, are text, or are written in another way: no row is swallowed or changed unseen."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from components.monitor import recent
from components.monitor.params import Params as MonitorParams
from tests.components.conftest import Ingest, pairs, quarantined, write


@pytest.mark.parametrize(
    ("content", "kept", "line", "lines"),
    [
        ('text,label\nok,a\n"lost here,b\nfine,a\nhe said hi",b\nend,a\n', [("ok", "a"), ("end", "a")], 3, 3),
        ('text,label\nok,a\n"lost here,b\nit measures 5",b\nend,a\n', [("ok", "a"), ("end", "a")], 3, 2),
        ('label,text\na,ok\nb,"lost here\na,fine\nb,he said hi"\na,end\n', [("ok", "a"), ("end", "a")], 3, 3),
        ('n,text,label\n1,ok,a\n2,"lost,b\n3,,\n4,it is 5",b\n5,end,a\n', [("ok", "a"), ("end", "a")], 3, 3),
        ('text,label\r\n"lost here,b\r\nfine,a\r\nit is 5",b\r\nend,a\r\n', [("end", "a")], 2, 3),
    ],
)
def test_rows_inside_a_cell_are_a_bad_row(
    content: str, kept: list[tuple[str, str]], line: int, lines: int, read: Callable[..., pd.DataFrame], tmp_path: Path
) -> None:
    assert pairs(read(write(tmp_path / "a.csv", content))) == kept
    (entry,) = quarantined(tmp_path / "dataset")
    assert entry["line"] == line
    assert entry["reason"].startswith(f"a quote seems to be lost: the {lines} lines from here on look like rows")
    assert "ingest.quoting: none where quotes are text, quoted where such cells are right" in entry["reason"]
    swallowed = content.splitlines()[line - 1 : line - 1 + lines]
    assert entry["content"].splitlines() == swallowed


def test_the_ways_that_the_hint_names(read: Callable[..., pd.DataFrame], tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", 'text,label\nok,a\n"lost here,b\nfine,a\nhe said hi",b\n')
    assert pairs(read(source, quoting="quoted")) == [("ok", "a"), ("lost here,b\nfine,a\nhe said hi", "b")]
    assert pairs(read(source, quoting="none")) == [
        *(("ok", "a"), ('"lost here', "b"), ("fine", "a"), ('he said hi"', "b"))
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Dear all,\nthanks, and bye",
        "Hello,\nI am here",
        "one, two\nthree",
        "a list:\n- one\n- two\n",
        "one line\n\nand, another\n",
        "Line one, Line two\nLine three, Line four\nLine five",
    ],
)
def test_texts_of_several_lines_are_texts(text: str, read: Callable[..., pd.DataFrame], tmp_path: Path) -> None:
    pd.DataFrame({"text": [text, "short"], "label": ["a", "b"]}).to_csv(tmp_path / "a.csv", index=False)
    assert pairs(read(tmp_path / "a.csv", max_bad_rows=0)) == [(text, "a"), ("short", "b")]


TSV: list[tuple[str, str, list[tuple[str, str]], bool]] = [
    ("a quote that is never closed", 'text\tlabel\n"hello\ta\nbye\tb\n', [('"hello', "a"), ("bye", "b")], True),
    (
        "quotes that close on a later row",
        'text\tlabel\n"hello\ta\nnice\tb\nsaid he"\ta\n',
        [('"hello', "a"), ("nice", "b"), ('said he"', "a")],
        True,
    ),
    ("a quoted word", 'text\tlabel\n"Go" he said\ta\nbye\tb\n', [('"Go" he said', "a"), ("bye", "b")], True),
    ("quotes that nobody needed", 'text\tlabel\n"Go on"\ta\nbye\tb\n', [('"Go on"', "a"), ("bye", "b")], True),
    ("a lone quote", 'text\tlabel\n"\ta\n"\tb\n', [('"', "a"), ('"', "b")], True),
    ("quotes inside", 'text\tlabel\nhe said "go"\ta\nbye\tb\n', [('he said "go"', "a"), ("bye", "b")], False),
    ("all cells quoted", '"text"\t"label"\n"Go on"\t"a"\n"bye"\t"b"\n', [("Go on", "a"), ("bye", "b")], False),
    ("a comma, as Excel quotes", 'text\tlabel\n"yes, no"\ta\nbye\tb\n', [("yes, no", "a"), ("bye", "b")], False),
    ("as pandas quotes", 'text\tlabel\n"a\tb\t""c""\nd"\ta\nbye\tb\n', [('a\tb\t"c"\nd', "a"), ("bye", "b")], False),
]


@pytest.mark.parametrize(("content", "expected", "bare"), [case[1:] for case in TSV], ids=[case[0] for case in TSV])
def test_the_quotes_of_a_tsv(
    content: str,
    expected: list[tuple[str, str]],
    bare: bool,
    read: Callable[..., pd.DataFrame],
    ingest: Ingest,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    source = write(tmp_path / "a.tsv", content)
    assert pairs(read(source, max_bad_rows=0)) == expected
    figures = json.loads((tmp_path / "dataset" / "manifest.json").read_text())["figures"]
    assert figures["sources"][0].get("quoting") == ("none" if bare else None)
    assert ("; quotes are text in a.tsv" in ingest(source)[1]) == bare
    found = recent.read(MonitorParams(source=str(source), max_bad_rows=0, count_repeats=True), [])
    assert found.rows["text"].tolist() == [text for text, _ in expected]
    assert ("monitor: quotes are text in a.tsv" in capfd.readouterr().err) == bare


def test_a_long_text_at_the_end_of_what_is_looked_at(
    read: Callable[..., pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quoted cell that goes on beyond the beginning of the file is no reason to read its quotes as text."""
    from fineline.rows import delimited

    monkeypatch.setattr(delimited, "_PEEKED", 400)
    text = "\n".join(f"line {number}, of a long text" for number in range(50))
    pd.DataFrame({"text": ["short", text], "label": ["a", "b"]}).to_csv(tmp_path / "a.tsv", sep="\t", index=False)
    assert pairs(read(tmp_path / "a.tsv", max_bad_rows=0)) == [("short", "a"), (text, "b")]
    rows = "".join(f"text {number}\ta\n" for number in range(100))
    write(tmp_path / "b.tsv", f'text\tlabel\n"open\tb\n{rows}')
    assert len(read(tmp_path / "b.tsv", max_bad_rows=0)) == 101


@pytest.mark.parametrize(
    ("content", "params", "expected"),
    [
        ("text,label\n'a, b',x\n'it''s \"so\"',y\n", {"quotechar": "'"}, [("a, b", "x"), ('it\'s "so"', "y")]),
        ('text,label\n"a \\"b\\", c",x\n', {"escapechar": "\\"}, [('a "b", c', "x")]),
        ("text,label\na\\, b,x\n", {"escapechar": "\\", "quoting": "none"}, [("a, b", "x")]),
        ('text,label\n"a,x\nb",y\n', {"quoting": "none"}, [('"a', "x"), ('b"', "y")]),
    ],
)
def test_other_quotes(
    content: str,
    params: dict[str, Any],
    expected: list[tuple[str, str]],
    read: Callable[..., pd.DataFrame],
    tmp_path: Path,
) -> None:
    source = write(tmp_path / "a.csv", content)
    assert pairs(read(source, max_bad_rows=0, **params)) == expected
    found = recent.read(MonitorParams.model_validate({"source": str(source), "max_bad_rows": 0, **params}), [])
    assert found.rows["text"].tolist() == [text for text, _ in expected]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"delimiter": ";", "quotechar": ";"}, "delimiter, quotechar and escapechar must be different characters"),
        ({"quotechar": ""}, "quotechar must be one character; quoting: none takes quotes as text"),
        ({"escapechar": "ab"}, "escapechar = 'ab': must be one character"),
        ({"quoting": "some"}, "quoting"),
        ({"max_bad_rows": 1.5}, "max_bad_rows = 1.5: must be a whole number of rows, or a share below 1"),
    ],
)
def test_settings_that_cannot_be(params: dict[str, Any], said: str, ingest: Ingest, tmp_path: Path) -> None:
    code, _, error = ingest(write(tmp_path / "a.csv", "text,label\na,b\n"), **params)
    assert (code, said in error) == (2, True), error


def test_the_header_again_is_no_row(read: Callable[..., pd.DataFrame], tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "text,label\nhello,a\n\ufefftext, label\nbye,b\ntext,label\ntext,a\n")
    assert pairs(read(source)) == [("hello", "a"), ("bye", "b"), ("text", "a")]
    assert [(row["line"], row["reason"]) for row in quarantined(tmp_path / "dataset")] == [
        (line, "the column names again, as in files that were joined end to end") for line in (3, 5)
    ]


def test_bad_rows_as_a_share(read: Callable[..., pd.DataFrame], ingest: Ingest, tmp_path: Path) -> None:
    bad = "one cell\n" * 1_200
    source = write(tmp_path / "a.csv", "text,label\n" + bad + "".join(f"text {n},a\n" for n in range(4_800)))
    assert len(read(source, max_bad_rows=0.2)) == 4_800
    code, _, error = ingest(source, max_bad_rows=0.19)
    assert code == 3
    assert "1,200 of 6,000 rows cannot be read, 19.00% are allowed: a.csv line 2: 1 cells" in error
    with pytest.raises(Exception, match=r"1,200 of 6,000 rows cannot be read, 19\.00% are allowed"):
        recent.read(MonitorParams(source=str(source), max_bad_rows=0.19), [])
