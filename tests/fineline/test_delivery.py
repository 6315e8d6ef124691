"""Texts on their way through Kubeflow: what is encoded comes back, and what is not encoded stays as it is."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fineline.kubeflow import delivery
from fineline.kubeflow.delivery import MARK, decoded, encoded

PIECES = st.sampled_from(
    [
        *"$({[%-])}\x00\x7f",
        "$$",
        "$(HOME)",
        "{{workflow.name}}",
        "[[RunUUID]]",
        "%24",
        MARK,
        "\U0001fae9",
        "中",
        " ",
        "a",
        "\n",
    ]
)
TEXTS = st.one_of(st.text(), st.lists(PIECES).map("".join))
VALUES = st.recursive(
    st.one_of(TEXTS, st.booleans(), st.integers(), st.none()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(TEXTS, inner)),
    max_leaves=8,
)


@given(VALUES)
@example({"$$": {"percent-encoded:%24%24": "-"}})
def test_what_is_encoded_comes_back(value: object) -> None:
    assert decoded(encoded(value)) == value
    assert decoded(json.loads(json.dumps(encoded(value)))) == value


@given(TEXTS)
def test_an_encoded_text_holds_nothing_that_is_changed(text: str) -> None:
    sent = encoded(text)
    assert not any(part in sent for part in ("$$", "$(", "{{", "[[", "\x00", "\x7f"))
    assert not sent.startswith("-")
    assert sent == text or sent.startswith(MARK)


@given(TEXTS)
def test_a_text_that_was_typed_and_is_no_encoding_stays(text: str) -> None:
    typed = MARK + text
    assert decoded(typed) == typed or encoded(decoded(typed)) == typed
    if not text.startswith(MARK):
        assert decoded(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "data/sample/messages.csv",
        r"^\d{4}-\d\d$",
        "100 %",
        "$HOME",
        "{label}",
        "[a-z]",
        "é 中文 😀",
        "a-b",
        "percent-encoded",
    ],
)
def test_a_usual_text_travels_as_it_is(text: str) -> None:
    assert encoded(text) == text


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("no$$such$(KFP_POD_NAME).csv", "percent-encoded:no%24%24such%24(KFP_POD_NAME).csv"),
        ("{{workflow.name}} 100%", "percent-encoded:%7B%7Bworkflow.name}} 100%25"),
        ("[[Index]]", "percent-encoded:%5B%5BIndex]]"),
        ("-x", "percent-encoded:-x"),
        ("\x00 \x7f \U0001fae9", "percent-encoded:%00 %7F %F0%9F%AB%A9"),
        ("percent-encoded:a", "percent-encoded:percent-encoded:a"),
    ],
)
def test_what_it_looks_like(text: str, sent: str) -> None:
    assert encoded(text) == sent
    assert decoded(sent) == text


@pytest.mark.parametrize(
    "text", ["percent-encoded:a", "percent-encoded:100%", "percent-encoded:%41$$", "percent-encoded:%FF"]
)
def test_what_only_looks_encoded_is_not_destroyed(text: str) -> None:
    assert decoded(text) == text
    assert delivery.decoded({text: [text]}) == {text: [text]}
