"""data_quality: patterns, personal data, cut-off texts."""

import pytest

from components.data_quality.personal import mask
from tests.components.conftest import CALM, CARD, with_rows


def test_patterns(check, rows):
    patterns = [
        {"name": "no_links", "pattern": r"https?://", "must_match": False, "severity": "quarantine"},
        {"name": "words", "pattern": r"(?<=\w) (?=\w)", "severity": "warn"},
    ]
    outcome = check(with_rows(rows, {"text": "see http://x.example"}, {"text": "declined"}), patterns=patterns, **CALM)
    assert outcome.left == {"extra0": "pattern:no_links"}
    assert outcome.checks["pattern:words"]["examples"] == ["extra1"]


def test_texts_of_signs_are_no_duplicates(check, rows):
    outcome = check(with_rows(rows, {"text": "😀😀"}, {"text": "👍👍"}, {"text": "?!", "label": "login"}), **CALM)
    assert outcome.left == {}


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"my card {CARD} is gone", "my card <CARD> is gone"),
        ("card 5500-0000-0000-0004.", "card <CARD>."),
        ("amex 378282246310005", "amex <CARD>"),
        ("no card 4111 1111 1111 1112", "no card 4111 1111 1111 1112"),
        ("write a.b+c@mail.example.org now", "write <EMAIL> now"),
        ("an @ alone, a@b", "an @ alone, a@b"),
        ("call +44 20 7946 0958 now", "call <PHONE> now"),
        ("call (020) 7946-0958", "call <PHONE>"),
        ("apply 08452810075over18", "apply <PHONE>over18"),
        ("ring 555-123-4567.", "ring <PHONE>."),
        ("on 01.02.2024 10:30 I paid 1,250.00", "on 01.02.2024 10:30 I paid 1,250.00"),
        ("on 2024-02-01 it was 12 of 4000", "on 2024-02-01 it was 12 of 4000"),
        ("IBAN GB33 BUKB 2020 1555 5555 55", "IBAN <IBAN>"),
        ("order 123456789", "order 123456789"),
    ],
)
def test_mask(text, masked):
    assert mask(text)[0] == masked


def test_mask_is_linear_in_a_huge_text():
    for text in ("a" * 2_000_000, "1 " * 1_000_000, "1" * 2_000_000, "a@" * 1_000_000):
        mask(text)


def test_masked_rows_are_counted_and_compared_masked(check, rows):
    texts = [{"text": f"paid with {CARD} twice"}, {"text": "paid with 5500 0000 0000 0004 twice"}]
    outcome = check(with_rows(rows, *texts), mask=True, on_personal_data="reject", **CALM)
    assert outcome.code == 0
    assert outcome.checks["personal_data"]["outcome"] == "masked"
    assert outcome.checks["personal_data"]["details"] == {
        "found": {"email": 0, "iban": 0, "card": 2, "phone": 0},
        "masked": 2,
    }
    assert outcome.left == {"extra1": "duplicates"}
    assert outcome.clean.set_index("id")["text"]["extra0"] == "paid with <CARD> twice"


def test_truncation_uses_the_given_tokenizer(check, rows, pretrained):
    """The tiny tokenizer knows these words: one token each, and two special ones."""
    words = rows["text"].str.split().str.len() + 2
    outcome = check(rows, model=str(pretrained), max_length=10, max_truncated_share=0.5, **CALM)
    assert outcome.checks["truncation"]["rows"] == int((words > 10).sum())
    assert outcome.checks["truncation"]["details"]["tokens"]["max"] == words.max()
