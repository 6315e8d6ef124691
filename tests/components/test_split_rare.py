"""split where labels have few rows: asked against got is said, and a rule decides what they may take from training."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.split.rare import one_group_each, overdrawn, rare_labels
from fineline.rows.dataset import read_splits
from tests.components.conftest import RunStep
from tests.conftest import PROJECT, make_rows, write_dataset

INPUTS = PROJECT / "tests" / "field_inputs"


@pytest.fixture
def split(run_step: RunStep, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """split(rows, **params) -> (exit code, stdout, stderr); the splits are tmp_path / 'splits'."""

    def call(rows: pd.DataFrame, **params: object) -> tuple[int, str, str]:
        dataset = tmp_path / "dataset"
        if not dataset.exists():
            write_dataset(dataset, rows)
        return run_step("split", params, dataset=dataset, splits=tmp_path / "splits")

    return call


def of_the_field(name: str) -> pd.DataFrame:
    rows = pd.read_csv(INPUTS / name, dtype=str)
    return rows.assign(id=[f"r{number}" for number in range(len(rows))])


def counts(folder: Path) -> dict[str, int]:
    return json.loads((folder / "split.json").read_text())["rows"]


def test_labels_of_three_rows(split: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """20 labels of 3 rows: in every split they would take training from 70 % to 33 %."""
    rows = of_the_field("three-each-40.csv")
    code, out, _ = split(rows, rare_take=1)
    assert code == 0
    assert (
        "asked 70.0 : 10.0 : 20.0, got 33.3 : 33.3 : 33.3, because 20 of 20 labels have so few rows that one in each split is "
        "more than was asked" in out
    )
    code, out, _ = split(rows)  # 0.1 of 60 rows: 5 labels may take 1.1 rows each
    assert code == 0
    assert "15 labels of few rows spread over the splits" in out
    parts = read_splits(tmp_path / "splits")
    train, validation, test = ({*part["label"]} for part in parts.values())
    assert train == {*rows["label"]}
    assert len(validation & test) >= 5
    assert abs(counts(tmp_path / "splits")["train"] - 42) <= 6
    code, out, _ = split(rows, rare_take=0)
    assert (code, "asked" in out) == (0, False)
    assert counts(tmp_path / "splits") == {"train": 42, "validation": 6, "test": 12}


def test_labels_of_two_rows(split: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    rows = of_the_field("two-each.csv")
    code, _, error = split(rows)
    assert code == 3
    assert "validation and test would have no rows: 100 labels have fewer rows than there are splits to fill" in error
    assert "(split.rare_label: train), such as intent_0, intent_1, intent_10" in error
    assert "label more rows of them, merge them, or set rare_label: spread; where nearly every row has a label" in error
    code, out, _ = split(rows, rare_label="spread")
    assert (code, "asked" in out) == (0, False)
    assert counts(tmp_path / "splits") == {"train": 140, "validation": 20, "test": 40}
    assert {*read_splits(tmp_path / "splits")["train"]["label"]} == {*rows["label"]}


def test_what_is_as_asked_is_not_said(split: Callable[..., tuple[int, str, str]]) -> None:
    _, out, _ = split(make_rows(600), near_duplicate_threshold=0)
    assert "asked" not in out
    assert "because" not in out


def test_a_large_group_is_named(split: Callable[..., tuple[int, str, str]]) -> None:
    rows = make_rows(100)
    rows["group"] = ["all" if number < 80 else None for number in range(100)]
    _, out, _ = split(rows, near_duplicate_threshold=0)
    assert "asked 70.0 : 10.0 : 20.0, got 80.0 : " in out
    assert "because the largest group of rows that stay together has 80" in out


def test_which_labels_take_more_than_they_may() -> None:
    """Of 100 rows: a has 3 groups and takes 1.1 rows, b has 6 and takes 0.4, c has 91 and takes none."""
    labels = np.array(["a"] * 3 + ["b"] * 6 + ["c"] * 91, dtype=object)
    groups, shares = np.arange(100), [0.7, 0.1, 0.2]
    assert rare_labels(groups, labels, 4) == {"a": {"rows": 3, "groups": 3}}
    for may_take, spread, takers in ((0.02, [], 2), (0.014, ["a"], 1), (0.003, ["b", "a"], 0), (0.0, ["b", "a"], 0)):
        found, fit = overdrawn(groups, labels, shares, may_take)
        assert (list(found), fit) == (spread, takers)
    kept = one_group_each(
        np.array([0, 1, 1, 2, 2, 2, 3]), np.array(list("aaabbbb"), dtype=object), ["a", "b"], np.arange(7)
    )
    assert kept.tolist() == [False, True, True, True, True, True, False]
