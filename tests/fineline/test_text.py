"""The normal form: what makes two texts the same, and what never does."""

import unicodedata

import pytest

from fineline.artifacts import folders
from fineline.texts.sameness import exact_near_pairs, fold_of, near_pairs, normalise

SAME = [
    ("Lost my CARD", "  lost\tmy\u00a0 card\n"),
    ("Straße", "STRASSE"),
    ("caf\u00e9", "cafe\u0301"),
    ("ΣΊΣΥΦΟΣ", "σίσυφος"),
    ("zero\u200bwidth\ufeff", "zerowidth"),
    ("so\u00adft", "soft"),
    ("❤\ufe0f", "❤"),
    ("\u202bשלום\u202c", "שלום"),
    ("นี่\u200bคือ", "นี่คือ"),
]
DIFFERENT = [
    *[
        ("C++", "C#"),
        ("5 %", "5"),
        ("$5", "5"),
        ("😀", "😡"),
        ("You came.", "You came?"),
        ("good", "good 👎"),
        ("a b", "ab"),
    ],
    *[("ปู", "ปี"), ("दिन", "दीन"), ("பழி", "பழு"), ("কল", "কলা"), ("ကို", "ကု"), ("កូន", "កុន"), ("résumé", "resume")],
    *[
        ("👍🏻", "👍🏿"),
        ("🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "🏴"),
        ("m²", "m2"),
        ("１", "1"),
    ],
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_case_spacing_and_what_nobody_sees_make_no_difference(one: str, other: str) -> None:
    assert normalise(one) == normalise(other) == normalise(normalise(one))


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_carries_meaning_stays(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)
    for form in normalise(one), normalise(other):
        assert form
        assert unicodedata.is_normalized("NFC", form)


@pytest.mark.parametrize(
    ("one", "other", "fold"),
    [
        ("Lost, my-card!", "lost my card", ["punctuation"]),
        ("C++", "C", ["symbols"]),
        ("good 👍", "GOOD", ["symbols"]),
        ("m² １", "m2 1", ["compatibility"]),
        ("50 €!", "５０", ["punctuation", "symbols", "compatibility"]),
    ],
)
def test_folds_take_away_what_they_name(one: str, other: str, fold: list[str]) -> None:
    assert normalise(one, fold) == normalise(other, fold)
    assert normalise(one) != normalise(other)


def test_folding_never_leaves_nothing() -> None:
    everything = ["punctuation", "symbols", "compatibility"]
    assert len({normalise(text, everything) for text in ("😀", "😡", "???", "!", "👍 👍")}) == 5
    assert normalise(" \u200b\t ", everything) == ""


def test_emoji_are_near_nothing_but_themselves() -> None:
    forms = ["😀", "😡", "😀😀", "c++", "c#", "??", "?"]
    assert exact_near_pairs(forms, 0.8).tolist() == near_pairs(forms, 0.8) == []


@pytest.mark.parametrize("chain", [[("data_quality", ["symbols"])], [("data_quality", ["symbols"]), ("split", None)]])
def test_later_steps_fold_what_data_quality_did(chain: list, tmp_path) -> None:
    made, inputs = None, {}
    for name, fold in chain:
        folder = tmp_path / name
        folder.mkdir()
        made = folders.write_manifest(
            folder, step=name, kind="dataset", params={} if fold is None else {"fold": fold}, inputs=inputs, figures={}
        )
        inputs = {"dataset": folder}
    assert fold_of(made) == ("symbols",)
