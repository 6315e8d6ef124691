"""The embedded sample is what its README says: large, varied, not from templates, with the listed defects."""

import re
from collections import Counter

import pandas as pd
import pytest

from tests.conftest import PROJECT


@pytest.fixture(scope="module")
def sample() -> pd.DataFrame:
    return pd.read_csv(PROJECT / "data" / "sample" / "messages.csv", dtype=str, keep_default_na=False)


def test_size_and_columns(sample: pd.DataFrame) -> None:
    assert list(sample) == ["id", "text", "label", "annotator_a", "annotator_b", "channel", "created_at"]
    assert len(sample) >= 1500
    assert sample["label"].nunique() == 10
    assert sample["id"].is_unique
    assert f"{len(sample):,}" in (PROJECT / "data" / "sample" / "README.md").read_text(encoding="utf-8")


def test_no_template_explains_more_than_two_percent_of_the_rows(sample: pd.DataFrame) -> None:
    words = [re.findall(r"\w+", text.lower()) for text in sample["text"].str.strip().drop_duplicates()]
    prefixes = Counter(tuple(row[:4]) for row in words if len(row) >= 4)
    suffixes = Counter(tuple(row[-4:]) for row in words if len(row) >= 8)
    runs = Counter(run for row in words for run in {tuple(row[i : i + 6]) for i in range(len(row) - 5)})
    skeletons = Counter(tuple(word for word in row if len(word) <= 3) for row in words if len(row) >= 9)
    assert max(prefixes.values()) <= 0.01 * len(sample)
    assert max(suffixes.values()) <= 0.01 * len(sample)
    assert max(runs.values()) <= 0.01 * len(sample)
    assert max(skeletons.values()) <= 0.01 * len(sample)


def test_defects_are_there(sample: pd.DataFrame) -> None:
    text = sample["text"]
    same = sample[text.str.strip() != ""].groupby("text")["label"]
    assert (same.nunique() > 1).sum() == 9
    assert ((same.nunique() == 1) & (same.size() > 1)).sum() == 16
    assert (text.str.strip(" -\u00a0") == "").sum() == 6
    assert (text.str.len() > 1000).sum() == 4
    assert text.str.contains("\ufffd").sum() >= 4
    assert text.str.contains(r"â€|Â£|Ã").sum() >= 10
    assert text.str.contains(r"@example\.(?:com|org|net)").sum() >= 8
    assert sample["label"].value_counts().min() < 0.5 * sample["label"].value_counts().iloc[-2]
