"""data_quality on whole datasets: chains and templates of near-duplicates, small labels, a tokenizer of another language."""

import json
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from components.data_quality.check import Check, leaving
from components.data_quality.duplicates import check_near_duplicates
from components.data_quality.labels import check_small_labels
from components.data_quality.params import Params
from components.data_quality.tokens import check_tokens, main_script
from components.data_quality.twins import check_label_twins
from fineline.tasks import get_task
from fineline.texts.sameness import clean_name
from tests.components.conftest import CALM, Outcome, with_rows
from tests.conftest import PROJECT, REAL_DATA, make_rows

INPUTS = PROJECT / "tests" / "field_inputs"
WORDS = [f"word{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(200)]
TASK = get_task("single_label")


def found(examine: Any, rows: pd.DataFrame, **params: Any) -> Check:
    """The one check of `examine` on these rows."""
    (check,) = examine(rows.reset_index(drop=True), TASK, Params(**params))[1]
    return check


def left(check: Check, rows: pd.DataFrame) -> list[str]:
    return rows["id"].iloc[leaving(check, rows)].tolist()


def of_the_field(name: str) -> pd.DataFrame:
    rows = pd.read_csv(INPUTS / name, dtype=str, keep_default_na=False)
    return rows.assign(id=[f"r{number}" for number in range(len(rows))])


def test_a_chain_of_near_duplicates_does_not_leave_as_one() -> None:
    """60 texts, each near the next alone: every text that leaves has a near one that stays."""
    chain = [" ".join(WORDS[2 * n : 2 * n + 16]) for n in range(60)]
    rows = pd.DataFrame(
        {"id": [f"r{n}" for n in range(60)], "text": chain, "label": ["a"] * 60, "channel": ["app"] * 60}
    )
    check = found(check_near_duplicates, rows, on_near_duplicates="quarantine", near_duplicate_threshold=0.7)
    assert left(check, rows) == [f"r{n}" for n in range(1, 60, 2)]
    assert (check.details["groups"], check.details["largest_group"]) == (30, 2)


def test_near_texts_under_two_labels_are_a_finding_and_stay() -> None:
    text = "please help me, since yesterday my card does not work in any shop"
    rows = make_rows(30).assign(text=[f"{' '.join(WORDS[5 * n : 5 * n + 5])} end" for n in range(30)])
    rows = with_rows(
        rows, *({"text": text + tail, "label": label} for tail, label in (("", "card"), ("!", "card"), ("?", "login")))
    )
    check = found(check_near_duplicates, rows, on_near_duplicates="quarantine")
    assert left(check, rows) == ["extra1"]
    assert check.details["pairs_with_different_labels"] == 2
    assert check.details["examples"] == [["extra0", "extra1"], ["extra0", "extra2"], ["extra1", "extra2"]]


@pytest.mark.parametrize(("name", "share", "passed"), [("two-each.csv", 1.0, False), ("three-each-40.csv", 0.0, True)])
def test_labels_of_one_or_two_rows(name: str, share: float, passed: bool) -> None:
    check = found(check_small_labels, of_the_field(name))
    assert (check.figure, check.passed, check.details["swapped"]) == (share, passed, False)


def test_text_and_label_swapped() -> None:
    rows = make_rows(60)
    check = found(check_small_labels, rows.assign(text=rows["label"], label=rows["text"]))
    assert (check.passed, check.details["swapped"]) == (False, True)


@pytest.mark.parametrize("name", ["dollar-small.csv", "dollar-of-70.csv"])
def test_labels_of_dollars(name: str, check: Callable[..., Outcome]) -> None:
    outcome = check(of_the_field(name), **CALM, on_truncation="ignore", on_unknown_tokens="ignore", min_rows=1)
    assert (outcome.code, outcome.summary["labels"]["$$"] > 0) == (0, True)


def test_twins() -> None:
    """The invisible character is gone when ingest has read the label; case is left."""
    rows = of_the_field("twins-small.csv")
    check = found(check_label_twins, rows.assign(label=rows["label"].map(clean_name)))
    assert check.details["twins"] == [{"Billing": 1, "billing": 2}]


CHINESE = "今天天气很好我们去公园吧银行卡丢失了请帮忙冻结转账失败怎么办如何修改密码"


def test_a_tokenizer_of_another_language() -> None:
    rows = make_rows(90)
    texts = [f"{CHINESE[n % 20 : n % 20 + 12]}{CHINESE[n % 7 :: 3]}{n}" for n in range(30)]
    mixed = with_rows(rows, *({"text": text, "label": "card"} for text in texts))
    check = found(check_tokens, mixed, on_truncation="ignore", on_unknown_tokens="quarantine")
    assert left(check, mixed) == [f"extra{n}" for n in range(30)]
    assert list(check.details["scripts"]) == ["CJK", "LATIN"]
    assert check.figure == check.details["scripts"]["CJK"] > 0.4
    assert check.details["scripts"]["LATIN"] == 0
    assert next(iter(check.details["labels"])) == "card"
    assert found(check_tokens, rows, on_truncation="ignore").figure == 0


def test_the_script_of_most_letters() -> None:
    for text, script in (("今天 ok", "CJK"), ("ok 今", "LATIN"), ("วันนี้ a", "THAI"), ("12 !", "")):
        assert main_script(text) == script


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "lowest", "highest"), [("weibo_ner_zh", 0.5, 0.7), ("goemotions", 0.0, 0.01)])
def test_real_texts(name: str, lowest: float, highest: float) -> None:
    """Measured with the tokenizer of all-MiniLM-L6-v2: 0.61 of Chinese posts, 0.001 of English comments."""
    file = REAL_DATA / name / "test.jsonl"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    read = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    texts = [entry.get("text") or "".join(entry["tokens"]) for entry in read]
    check = found(check_tokens, pd.DataFrame({"text": texts, "label": "a"}), on_truncation="ignore")
    assert lowest < check.figure < highest


def test_masks_are_in_what_leaves_too(check: Callable[..., Outcome]) -> None:
    rows = with_rows(
        make_rows(60), {"text": "x", "label": "card"}, {"text": "mail me: a.b@example.com " + "so " * 2_000}
    )
    outcome = check(rows, **CALM, on_truncation="ignore", on_unknown_tokens="ignore", mask=True)
    left = pd.read_parquet(outcome.quality_folder / "quarantine.parquet")
    assert set(left["id"]) == {"extra0", "extra1"}
    assert left["text"].str.contains("<EMAIL>").sum() == 1
    assert not left["text"].str.contains("example").any()
