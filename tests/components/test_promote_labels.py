"""Labels that changed: which are compared, and the report on the rest."""

from pathlib import Path

import numpy as np
import pytest

from components.promote import labels
from fineline.process.errors import UsageError
from fineline.tasks import get_task

TASK = get_task("single_label")


def test_chains_are_followed_and_removed_ones_end_them() -> None:
    renamed = {"a": "b", "b": "c", "old": None, "older": "old"}
    assert [labels.now(renamed, label) for label in ("a", "b", "c", "other", "old", "older")] == [
        "c",
        "c",
        "c",
        "other",
        None,
        None,
    ]
    assert labels.shared(renamed, ["a", "x", "old"], ["c", "x", "new"]) == ["c", "x"]


def test_a_map_is_a_yaml_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.yaml"
    path.write_text("refund: return\ncomplaint: null\n")
    assert labels.read_map(str(path)) == {"refund": "return", "complaint": None}
    assert labels.read_map(f"file://{path}") == {"refund": "return", "complaint": None}
    assert labels.read_map("") == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("a: [b", "is not valid YAML"),
        ("- a\n- b\n", "is not a mapping of labels"),
        ("1: one\n", "put numbers in quotes"),
        ("a: b\nb: c\nc: a\n", "goes in a circle: a -> b -> c -> a"),
    ],
)
def test_a_map_that_cannot_be_used(content, words, tmp_path) -> None:
    path = tmp_path / "labels.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError) as caught:
        labels.read_map(str(path))
    assert words in caught.value.what
    assert caught.value.hint


def test_merged_labels_add_up_and_an_answer_outside_is_wrong() -> None:
    renamed = {"x": "m", "y": "m"}
    probability = np.array([[0.3, 0.3, 0.4, 0.0], [0.1, 0.1, 0.2, 0.6], [0.1, 0.0, 0.8, 0.1]])
    names = ["x", "y", "z", "gone"]
    present = [labels.present(renamed, name) for name in names]
    assert TASK.given(probability, present).tolist() == ["m", "gone", "z"]
    aligned = TASK.aligned(probability, present, ["m", "z"], np.array([0, 0, 1]))
    assert aligned.argmax(axis=1).tolist() == [0, 1, 1]  # the second, right would be m, counts as wrong
    assert aligned[1] == pytest.approx([0.2, 0.8])


def test_the_forgetting_report() -> None:
    renamed = {"a": "b", "x": "m", "y": "m", "gone": None}
    champion, challenger = ["a", "x", "y", "gone", "same"], ["b", "m", "new", "same"]
    rows = [[label] for label in ("a", "b", "x", "y", "y", "gone", "new", "same")]
    given = {
        "champion": [[label] for label in ("b", "b", "m", "m", "same", "(gone)", "same", "same")],
        "challenger": [[label] for label in ("b", "m", "m", "m", "m", "m", "new", "same")],
    }
    found = {entry["label"]: entry for entry in labels.changed(rows, given, renamed, champion, challenger)}
    assert found == {
        "a": {"label": "a", "what": "renamed", "now": "b", "rows": 2, "champion": 1.0, "challenger": 0.5},
        "x": {"label": "x", "what": "merged", "now": "m", "rows": 1, "champion": 1.0, "challenger": 1.0},
        "y": {"label": "y", "what": "merged", "now": "m", "rows": 2, "champion": 0.5, "challenger": 1.0},
        "gone": {"label": "gone", "what": "removed", "now": "(gone)", "rows": 1, "champion": 1.0, "challenger": None},
        "new": {"label": "new", "what": "added", "now": "new", "rows": 1, "champion": None, "challenger": 1.0},
    }


def test_a_label_that_vanished_without_a_word_is_reported() -> None:
    given = {name: [["a"]] for name in ("champion", "challenger")}
    (entry,) = labels.changed([["a"]], given, {}, ["a", "b"], ["a"])
    assert (entry["label"], entry["what"], entry["rows"], entry["champion"]) == ("b", "removed", 0, None)
