"""What the data steps make of rows with several labels: strata are bags, and no row counts twice."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.augment.growth import grow
from components.data_quality.params import Params as Quality
from components.data_quality.step import Inspection, inspect
from components.split.params import Params as Split
from components.split.step import divide
from fineline.artifacts import folders
from fineline.process.errors import DataRejected
from fineline.rows.dataset import DATA, SPLITS, schema, write_rows
from fineline.tasks import get_task

TASK = get_task("multi_label")


def made_up(count: int, seed: int = 0) -> pd.DataFrame:
    """Rows with none to four of 12 labels, each rarer than the one before it."""
    rng = np.random.default_rng(seed)
    has = rng.random((count, 12)) < 0.4 * 0.75 ** np.arange(12)
    names = np.array([f"l{number:02}" for number in range(12)])
    sets = [sorted(names[row].tolist())[:4] for row in has]
    return pd.DataFrame(
        {"id": [f"r{n:05}" for n in range(count)], "text": [f"text {n}" for n in range(count)], "labels": sets}
    )


def test_every_label_has_its_share_of_every_split() -> None:
    rows = made_up(2_000)
    parts, account = divide(rows, Split(near_duplicate_threshold=0.0), TASK)
    assert sum(map(len, parts.values())) == 2_000
    whole = Counter(TASK.strata(rows))
    for name, share in zip(SPLITS, (0.7, 0.1, 0.2), strict=True):
        counts = Counter(TASK.strata(parts[name]))
        for label, number in whole.items():
            assert counts[label] == pytest.approx(share * number, abs=max(2, 0.015 * number)), (name, label)
        assert len(parts[name]) == pytest.approx(share * 2_000, abs=20)
    assert account["labels"]["l00"]["train"]["rows"] == Counter(TASK.strata(parts["train"]))["l00"]
    again = divide(rows, Split(near_duplicate_threshold=0.0), TASK)[0]
    assert parts["test"]["id"].tolist() == again["test"]["id"].tolist()


@pytest.mark.parametrize("policy", ["train", "drop", "spread"])
def test_labels_of_too_few_rows(policy: str) -> None:
    rows = made_up(400)
    rows.loc[[3, 50], "labels"] = pd.Series([["l00", "rare"], ["rare"]], index=[3, 50])
    parts, account = divide(rows, Split(near_duplicate_threshold=0.0, rare_label=policy), TASK)
    assert list(account["rare_labels"]["labels"]) == ["rare"]
    where = {name: set(part["id"]) & {"r00003", "r00050"} for name, part in parts.items()}
    if policy == "drop":
        assert account["rare_labels"]["dropped"] == 2
        assert not any(where.values())
    elif policy == "train":
        assert where["train"] == {"r00003", "r00050"}
    else:
        assert where["train"]
    with pytest.raises(DataRejected, match="rare"):
        divide(rows, Split(near_duplicate_threshold=0.0, rare_label="reject"), TASK)


def test_rows_without_any_label_are_rejected(run_step: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    rows = made_up(50).assign(labels=[[] for _ in range(50)])
    (tmp_path / "clean").mkdir()
    write_rows(rows, tmp_path / "clean" / DATA, schema(TASK))
    made = {"kind": "dataset", "params": {}, "inputs": {}, "figures": {}, "task": TASK.name}
    folders.write_manifest(tmp_path / "clean", step="data_quality", **made)
    code, _, said = run_step("split", {}, dataset=tmp_path / "clean", splits=tmp_path / "splits")
    assert code == 3
    assert "all 50 rows have no label" in said


def inspected(rows: pd.DataFrame, **params: object) -> Inspection:
    quiet = dict.fromkeys(("on_near_duplicates", "on_truncation", "on_unknown_tokens", "on_mojibake"), "ignore")
    return inspect(rows, TASK, Quality(**{**quiet, "min_characters": 1, **params}))  # type: ignore[arg-type]


def test_quality_checks_look_at_each_label() -> None:
    rows = made_up(200)
    rows.loc[7, "text"] = rows.loc[6, "text"]
    rows.at[6, "labels"], rows.at[7, "labels"] = ["l00"], ["l00", "l01"]
    rows.at[9, "labels"] = ["L00", "l02"]
    rows.at[11, "labels"] = ["l00", "odd"]
    known = [f"l{number:02}" for number in range(12)]
    found = inspected(
        rows, labels=known, on_unknown_label="quarantine", on_label_twins="unify", on_rare_label="quarantine"
    )
    checks = {check.name: check for check in found.checks}
    assert checks["conflicts"].rows == [6, 7]
    assert checks["unknown_label"].rows == [11]
    assert checks["label_twins"].rows == [9]
    assert found.rows.loc[9, "labels"] == ["l00", "l02"]
    assert set(TASK.labels_of(found.rows)) <= set(known)
    assert "label_errors" not in checks
    assert found.reasons == {6: ["conflicts"], 7: ["conflicts"], 11: ["unknown_label"]}


def test_a_new_row_counts_for_each_of_its_labels() -> None:
    labels = [["a", "b"], ["a"], ["c"], ["c"], ["c"], ["c"]]
    new, _ = grow(
        list("uvwxyz"),
        [f"text {name}" for name in "uvwxyz"],
        labels,
        [],
        targets={"b": 4, "a": 4, "c": 4},
        makers={"more": lambda texts, rngs: [f"{text} {rng.random()}" for text, rng in zip(texts, rngs, strict=True)]},
        max_new_per_row=5,
        threshold=0,
        seed=1,
    )
    after = Counter(label for bag in [*labels, *(labels[row.parent] for row in new)] for label in bag)
    assert after["b"] == 4
    assert after["a"] >= 4
    assert after["c"] == 4
