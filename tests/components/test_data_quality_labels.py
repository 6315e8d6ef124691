"""data_quality: classes, annotators, likely label errors."""

import random
import re

import pytest

from tests.components.conftest import CALM, with_rows
from tests.conftest import make_rows
from tests.test_text_is_no_markup import drawn


@pytest.mark.parametrize("on_few_rows", ["reject", "ignore"])
def test_one_class_only(check, rows, on_few_rows):
    outcome = check(rows[rows["label"] == "card"].reset_index(drop=True), on_few_rows=on_few_rows)
    assert outcome.code == 3
    assert "classes (1, bound 2" in outcome.err
    assert not outcome.wrote_clean
    assert "<svg" in outcome.report


def test_one_class_left_after_quarantine(check, rows):
    outcome = check(rows, labels=["card", "loan"], on_unknown_label="quarantine", on_few_rows="ignore")
    assert outcome.code == 3
    assert "classes (1" in outcome.err


def test_twins_are_listed_and_made_one_where_asked(check, rows):
    """Four labels that became ten."""
    spellings = {"card": ["card", "Card", "CARD", "card"], "login": ["login", "log\u200din", "Login", "login"]}
    rows = rows.assign(
        label=[spellings.get(label, ["1", "1.0", "01", "-1"])[n // 3 % 4] for n, label in enumerate(rows["label"])],
        annotators=[[label, label.title()] for label in rows["label"]],
    )
    calm = {**CALM, "on_disagreement": "warn"}
    found = check(rows, **calm)
    assert found.checks["label_twins"]["outcome"] == "warning"
    counts = rows["label"].value_counts().to_dict()
    groups = [("CARD", "Card", "card"), ("01", "1", "1.0"), ("Login", "login", "log\u200din")]
    twins = found.checks["label_twins"]["details"]["twins"]
    assert sorted(map(sorted, twins)) == sorted(map(sorted, groups))
    assert {label: count for group in twins for label, count in group.items()} | {"-1": counts["-1"]} == counts
    assert "<h2>One label, several spellings</h2>" in found.report
    assert sorted(found.clean["label"].unique()) == sorted(counts)
    assert found.checks["disagreement"]["details"]["pairs"][0]["percent"] == 0
    one = check(rows, "one", on_label_twins="unify", labels=["Card", "-1", "1", "login"], **calm)
    assert sorted(one.clean["label"].unique()) == ["-1", "1", "Card", "login"]
    assert one.checks["label_twins"]["outcome"] == "repaired"
    assert one.checks["disagreement"]["details"]["pairs"][0]["percent"] == 1
    assert check(rows, "no", on_label_twins="reject", **calm).code == 3


def test_label_only_in_the_test_split(check, rows):
    rows = rows.assign(split=[None] * len(rows))
    rows = with_rows(rows, {"label": "fraud", "text": "a stranger has it", "split": "test"})
    outcome = check(rows, **CALM)
    assert outcome.code == 3
    assert "untrained_label" in outcome.err
    assert outcome.checks["untrained_label"]["details"]["labels"] == ["fraud"]
    assert check(rows, "leave", on_untrained_label="quarantine", **CALM).left == {"extra0": "untrained_label"}


def test_agreement_of_three_annotators(check, rows):
    """90 of 150 rows say card for the second, who should say card, login, transfer in turn; the third is mostly absent."""
    labels = list(rows["label"])
    second = ["card" if number < 90 else label for number, label in enumerate(labels)]
    third = [labels[number] if number < 4 else None for number in range(len(labels))]
    named = rows.assign(annotators=[list(row) for row in zip(labels, second, third, strict=True)])
    outcome = check(named, **CALM)
    agreement = outcome.checks["disagreement"]
    pairs = {tuple(pair["annotators"]): pair for pair in agreement["details"]["pairs"]}
    observed = 90 / 150
    expected = (1 / 3) * (110 / 150) + 2 * (1 / 3) * (20 / 150)
    assert pairs[1, 2]["percent"] == pytest.approx(observed)
    assert pairs[1, 2]["kappa"] == pytest.approx((observed - expected) / (1 - expected))
    assert (pairs[1, 3]["rows"], pairs[1, 3]["percent"], pairs[1, 3]["kappa"]) == (4, 1.0, 1.0)
    assert agreement["outcome"] == "warning"
    assert agreement["rows"] == 60
    assert agreement["details"]["lowest_labels"] == pytest.approx({"login": 0.4, "transfer": 0.4, "card": 1.0})


def test_agreement_where_all_say_one_label(check, rows):
    ones = rows.assign(annotators=[["card", "card"] if label == "card" else [label] for label in rows["label"]])
    agreement = check(ones, **CALM).checks["disagreement"]
    assert agreement["details"]["pairs"] == [{"annotators": [1, 2], "rows": 50, "percent": 1.0, "kappa": None}]
    assert agreement["passed"]


def test_planted_label_errors_are_found(check):
    rows = make_rows(600, seed=4).drop_duplicates("text", ignore_index=True)
    planted = set(random.Random(5).sample(list(rows["id"]), 24))
    order = ["card", "login", "transfer"]
    truth = dict(zip(rows["id"], rows["label"], strict=True))
    rows["label"] = [
        order[(order.index(label) + 1) % 3] if identity in planted else label
        for identity, label in zip(rows["id"], rows["label"], strict=True)
    ]
    outcome = check(rows, on_label_errors="quarantine", on_near_duplicates="ignore")
    suspects = outcome.checks["label_errors"]["details"]["suspects"]
    found = {entry["id"] for entry in suspects}
    assert len(found & planted) / len(found) >= 0.9
    assert len(found & planted) / len(planted) >= 0.8
    assert all(entry["suggested"] == truth[entry["id"]] for entry in suspects if entry["id"] in planted)
    assert set(outcome.left) == found
    assert set(outcome.left.values()) == {"label_errors"}
    assert "<h2>Likely label errors</h2>" in outcome.report


def test_a_classifier_that_knows_nothing_takes_nothing_out(check, rows):
    guessing = random.Random(0)
    noisy = rows.assign(label=[guessing.choice(["card", "login", "transfer"]) for _ in range(len(rows))])
    outcome = check(noisy, on_label_errors="quarantine", label_error_confidence=0.34, on_near_duplicates="ignore")
    errors = outcome.checks["label_errors"]
    assert not errors["details"]["trusted"]
    assert errors["rows"] > 0
    assert outcome.left == {}
    assert "read this list as hints only" in outcome.report


def test_labels_that_look_like_mathematics_or_markup_are_drawn_as_they_are(check, rows):
    labels = ["$", "$$", "$5 to $9", "<b>bold</b>", "{{ 7 * 7 }}", "配送延迟", "😀"]
    texts = rows.assign(label=[labels[number % len(labels)] for number in range(len(rows))])
    outcome = check(texts, on_label_errors="ignore", on_near_duplicates="ignore")
    assert outcome.code == 0, outcome.err
    assert "Warning" not in outcome.err
    pictures = re.findall(r"<svg.*?</svg>", outcome.report, re.DOTALL)
    assert set(labels) <= {text for picture in pictures for text in drawn(picture)}
