"""data_quality and Great Expectations: the suite it keeps, a team's own, fineline's expectations about texts."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from components.data_quality.suites import read_suite, validate
from tests.components.conftest import CALM, CARD, Outcome, with_rows
from tests.conftest import PROJECT, make_rows

QUIET = {**CALM, "on_truncation": "ignore", "on_unknown_tokens": "ignore"}
JSON_BLOCK, PYTHON_BLOCK, DOCS_BLOCK = re.findall(
    r"```(?:json|python)\n(.*?)```", (PROJECT / "docs" / "expectations.md").read_text(encoding="utf-8"), re.DOTALL
)


def written(folder: Path, content: object, name: str = "suite.json") -> str:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


def suite(*entries: dict) -> dict:
    return {"name": "own", "expectations": list(entries)}


def test_what_was_asked_is_kept_as_files_of_gx(check: Callable[..., Outcome]) -> None:
    from great_expectations.core.expectation_suite import ExpectationSuite, expectationSuiteSchema

    outcome = check(
        with_rows(make_rows(60), {"text": "x"}, {"text": f"pay {CARD} a.b@example.org"}), mask=True, **QUIET
    )
    kept = json.loads((outcome.quality_folder / "suite.json").read_text())
    found = json.loads((outcome.quality_folder / "validation.json").read_text())
    loaded = ExpectationSuite(**expectationSuiteSchema.load(kept))
    assert len(loaded.expectations) == len(kept["expectations"]) == found["statistics"]["evaluated_expectations"] > 6
    assert {entry["meta"]["check"] for entry in kept["expectations"]} >= {
        "missing_text",
        "text_length",
        "classes",
        "few_rows",
    }
    (length,) = [each for each in found["results"] if each["expectation_config"]["meta"]["check"] == "text_length"]
    assert (length["success"], length["result"]["unexpected_count"]) == (False, 1)
    assert length["expectation_config"]["severity"] == "warning"
    assert found["statistics"]["unsuccessful_expectations"] == 1
    again = validate(make_rows(60).assign(row=range(60), stratum="card"), list(loaded.expectations))
    assert [result["success"] for result in again].count(False) == 1  # one stratum: the classes


def test_the_pages_suite_and_its_data_docs(
    check: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = with_rows(make_rows(60), {"text": " begins with a space"}, {"text": "привет, где мои деньги"})
    outcome = check(rows, suite=written(tmp_path, JSON_BLOCK), **QUIET)
    assert outcome.code == 3
    assert "suite:expect_column_values_to_be_in_script:text (1, bound 0" in outcome.err
    space = outcome.checks["suite:expect_column_values_to_match_regex:text"]
    assert (space["outcome"], space["examples"]) == ("quarantined", ["extra0"])
    whole = outcome.checks["suite:expect_table_row_count_to_be_between"]
    assert (whole["outcome"], whole["rows"], whole["figure"]) == ("warning", 0, 1)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "artifacts").mkdir()
    outcome.quality_folder.rename(tmp_path / "artifacts" / "quality")
    exec(compile(DOCS_BLOCK, "docs/expectations.md", "exec"), {})
    page = (tmp_path / "data_docs.html").read_text()
    assert "Failed" in page
    assert "привет" not in page


def test_the_pages_python_suite(check: Callable[..., Outcome], tmp_path: Path) -> None:
    rows = with_rows(make_rows(60), {"text": "WHERE IS MY MONEY"})
    outcome = check(rows, suite=written(tmp_path, PYTHON_BLOCK, "own.py"), **QUIET)
    assert outcome.code == 0, outcome.err
    assert outcome.left == {"extra0": "suite:expect_column_values_to_not_be_shouted:text"}
    assert "own.py" not in (outcome.quality_folder / "manifest.json").read_text()


TEXTS = {
    "expect_column_values_to_fit_the_model": ({"max_length": 12}, ["hello there", "one two three " * 9], [1]),
    "expect_column_values_to_hold_no_personal_data": (
        {"kinds": ["email", "card"]},
        ["hello", "a.b@example.org", f"pay {CARD}", "call +44 20 7946 0958"],
        [1, 2],
    ),
    "expect_column_values_to_be_in_script": (
        {"scripts": ["LATIN", "CJK"]},
        ["hello", "привет", "今天 ok", "12 !", "ok привет всем"],
        [1, 4],
    ),
    "expect_column_values_to_be_no_template": (
        {"max_share": 0.5},
        ["Order 12 of a.b@example.org", "order 7  of c@example.org", "ORDER 99 of d.e@example.org", "hello", "bye"],
        [0, 1, 2],
    ),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_expectations_about_texts(kind: str, tmp_path: Path) -> None:
    kwargs, texts, wrong = TEXTS[kind]
    expectations = read_suite(written(tmp_path, suite({"type": kind, "kwargs": {"column": "text", **kwargs}})))
    frame = pd.DataFrame({"row": range(len(texts) + 1), "id": "a", "text": [*texts, None]})
    (result,) = validate(frame, expectations)
    assert [entry["row"] for entry in result["unexpected_index_list"]] == wrong
    assert result["success"] is False
    (kept,) = validate(frame.drop(index=wrong), expectations)
    assert kept["success"] is True


def test_values_of_rows_are_in_none_of_its_files(check: Callable[..., Outcome], tmp_path: Path) -> None:
    """GX names what it observed; fineline keeps figures."""
    own = {"type": "expect_column_distinct_values_to_be_in_set", "kwargs": {"column": "text", "value_set": ["x"]}}
    rows = with_rows(make_rows(60), {"text": f"pay {CARD} now"})
    outcome = check(rows, suite=written(tmp_path, suite(own)), on_suite="warn", mask=True, **QUIET)
    assert outcome.checks["suite:expect_column_distinct_values_to_be_in_set:text"]["outcome"] == "warning"
    assert not any(b"4111" in path.read_bytes() for path in outcome.quality_folder.iterdir())


def test_mostly_lets_some_pass(check: Callable[..., Outcome], tmp_path: Path) -> None:
    own = {
        "type": "expect_column_values_to_be_in_script",
        "kwargs": {"column": "text", "scripts": ["LATIN"], "mostly": 0.9},
    }
    rows = with_rows(make_rows(60), {"text": "где мои деньги"})
    outcome = check(rows, suite=written(tmp_path, suite(own)), on_suite="quarantine", **QUIET)
    assert (outcome.code, outcome.left) == (0, {})


BAD = {
    "not there": (None, "cannot be read: No such file"),
    "no JSON": ("{", "is no suite: JSONDecodeError"),
    "no expectations": ({"name": "x"}, "is no suite: KeyError 'expectations'"),
    "a list": ([1], "is no suite: TypeError"),
    "unknown": (
        suite({"type": "expect_nonsense", "kwargs": {}}),
        "expectation 1, expect_nonsense: expect_nonsense not found",
    ),
    "unknown argument": (
        suite({"type": "expect_column_values_to_be_unique", "kwargs": {"column": "text", "mist": 3}}),
        "mist extra fields not permitted",
    ),
    "unknown severity": (
        suite({"type": "expect_column_values_to_be_unique", "kwargs": {"column": "id"}, "meta": {"on_failure": "cry"}}),
        "on_failure is 'cry'",
    ),
    "unknown column": (
        suite({"type": "expect_column_values_to_be_unique", "kwargs": {"column": "nope"}}),
        "suite:expect_column_values_to_be_unique:nope cannot be run",
    ),
    "unknown metric": (
        suite({"type": "expect_column_values_to_fit_the_model", "kwargs": {"column": "text", "model": "/no"}}),
        "/no",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_suite_that_cannot_be_used(case: str, check: Callable[..., Outcome], tmp_path: Path) -> None:
    content, words = BAD[case]
    path = str(tmp_path / "none.json") if content is None else written(tmp_path, content)
    outcome = check(make_rows(60), suite=path, **QUIET)
    assert outcome.code == 2
    assert words in outcome.err
    assert "Traceback" not in outcome.err
    assert not outcome.wrote_clean


@pytest.mark.parametrize(
    ("code", "words"),
    [("suite = 1", "makes no ExpectationSuite"), ("1 / 0", "fails: ZeroDivisionError"), ("suite = (", "SyntaxError")],
)
def test_a_python_suite_that_cannot_be_used(code: str, words: str, tmp_path: Path) -> None:
    from fineline.process.errors import UsageError

    with pytest.raises(UsageError, match=words):
        read_suite(written(tmp_path, code, "own.py"))
