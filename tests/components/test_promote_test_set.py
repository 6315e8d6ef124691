"""The frozen test set: it only grows, by id, and nothing leaves it silently."""

import pandas as pd

from components.promote.test_set import JOINED, RETIRED, active, grown


def rows(*entries: tuple[str, str, str], **more: object) -> pd.DataFrame:
    return pd.DataFrame([{"id": i, "text": text, "label": label, **more} for i, text, label in entries])


def test_rows_join_once_and_stay() -> None:
    first, counts = grown(None, rows(("1", "one", "a"), ("2", "two", "b")), ["label"], "v1")
    assert counts == {"joined": 2, "known": 0, "retired": 0}
    again, counts = grown(first, rows(("2", "two", "b"), ("3", "three", "a")), ["label"], "v2")
    assert counts == {"joined": 1, "known": 1, "retired": 0}
    assert again["id"].tolist() == ["1", "2", "3"]  # row 1 is not in the second splits, and stays
    assert again[JOINED].tolist() == ["v1", "v1", "v2"]
    same, counts = grown(again, rows(("1", "one", "a")), ["label"], "v3")
    assert counts["joined"] == 0
    pd.testing.assert_frame_equal(same, again)


def test_a_corrected_row_takes_the_place_of_the_old_one_which_stays_as_retired() -> None:
    first, _ = grown(None, rows(("1", "one", "a"), ("2", "two", "b"), ("3", "three", "a")), ["label"], "v1")
    corrected = rows(("1", "one", "b"), ("2", "TWO, of course", "b"), ("9", " THREE ", "b"))
    merged, counts = grown(first, corrected, ["label"], "v2")
    assert counts == {"joined": 3, "known": 0, "retired": 3}
    assert len(merged) == 6
    assert active(merged)[["id", "label"]].values.tolist() == [["1", "b"], ["2", "b"], ["9", "b"]]
    assert set(merged[RETIRED]) == {"", "another text or label since v2"}


def test_the_same_text_and_label_under_another_id_is_known() -> None:
    """Ids that are made of the rows' position or of a new export do not double the set."""
    first, _ = grown(None, rows(("1", "one", "a")), ["label"], "v1")
    merged, counts = grown(first, rows(("77", " ONE ", "a")), ["label"], "v2")
    assert counts == {"joined": 0, "known": 1, "retired": 0}
    assert merged["id"].tolist() == ["1"]


def test_repeats_inside_one_split_are_one_row() -> None:
    merged, counts = grown(None, rows(("1", "one", "a"), ("2", "one", "a")), ["label"], "v1")
    assert counts == {"joined": 1, "known": 1, "retired": 0}
    assert active(merged)["id"].tolist() == ["1"]


def test_columns_may_come_later_and_numbers_are_ids_too() -> None:
    first, _ = grown(None, rows(("1", "one", "a")).assign(id=1), ["label"], "v1")
    merged, counts = grown(first, rows(("2", "two", "b"), channel="app", split="test"), ["label"], "v2")
    assert counts["joined"] == 1
    assert merged["id"].tolist() == ["1", "2"]
    assert merged["channel"].fillna("").tolist() == ["", "app"]
    assert "split" not in merged
