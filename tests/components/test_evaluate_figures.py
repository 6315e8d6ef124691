"""evaluate: bootstrap, slices, calibration, mistakes and the gate's rules, on made-up predictions."""

import numpy as np
import pandas as pd
import pytest

from components.evaluate import bootstrap, gate
from components.evaluate.evaluation import Evaluation, evaluation, mistakes
from components.evaluate.params import Params
from components.evaluate.slices import BELOW, WORST, named_slices, score_slices
from fineline.statistics.bootstrap import weights
from fineline.tasks import get_task
from fineline.tasks.single_label.figures import bins
from fineline.tasks.single_label.page import confused_pairs, confusion

TASK = get_task("single_label")
LABELS = ["card", "login", "transfer"]


def test_resampled_figures_are_those_of_the_task() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 7, 60)
    probabilities = rng.dirichlet(np.ones(9), 60)  # label 7 has no test row
    probabilities[:, 8] = 0  # label 8 is in neither column and must not count
    draws = rng.integers(0, 60, (25, 60))
    found = TASK.figures(weights(draws) @ TASK.counts(targets, probabilities))
    for number, sample in enumerate(draws):
        expected = TASK.metrics(targets[sample], probabilities[sample], [str(i) for i in range(9)])
        assert found["accuracy"][number] == pytest.approx(expected["accuracy"])
        assert found["macro_f1"][number] == pytest.approx(expected["macro_f1"])


def test_intervals_are_as_wide_as_theory_says_and_pairs_are_narrower(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 5, 800)
    first = np.where(rng.random(800) < 0.8, targets, (targets + 1) % 5)
    second = np.where(rng.random(800) < 0.02, (targets + 1) % 5, first)
    chosen = {"shipped": first, "trained": second, "same": first}
    counts = {name: TASK.counts(targets, np.eye(5)[labels]) for name, labels in chosen.items()}
    found = bootstrap.resample(TASK, counts, 1000, seed=3)
    share = (first == targets).mean()
    low, high = bootstrap.interval(found["shipped"]["accuracy"])
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(share * (1 - share) / 800), rel=0.12)
    assert (low + high) / 2 == pytest.approx(share, abs=0.005)
    assert bootstrap.differences(found, "shipped", "same") == {"accuracy": (0, 0), "macro_f1": (0, 0)}
    narrow = bootstrap.differences(found, "shipped", "trained")["accuracy"]
    assert narrow[1] - narrow[0] < (high - low) / 2
    monkeypatch.setattr("fineline.statistics.bootstrap._DRAWN_AT_ONCE", 7 * 800)
    parts = bootstrap.resample(TASK, counts, 1000, seed=3)
    assert np.array_equal(parts["trained"]["macro_f1"], found["trained"]["macro_f1"])


def made_up(rows: int = 300, wrong: tuple[int, int, int] = (60, 30, 120)) -> Evaluation:
    """Shipped, trained and a baseline that are wrong on the first so many rows, always with the next label."""
    targets = np.arange(rows) % 3
    probabilities = {}
    for name, count in zip(("shipped", "trained", "linear"), wrong, strict=True):
        chosen = np.where(np.arange(rows) < count, (targets + 1) % 3, targets)
        probabilities[name] = np.full((rows, 3), 0.1)
        probabilities[name][np.arange(rows), chosen] = np.linspace(0.8, 0.6, rows)  # surest first
    test = pd.DataFrame({"id": [f"r{i}" for i in range(rows)], "text": "a text", "label": np.array(LABELS)[targets]})
    return evaluation(Params(bootstrap=200), TASK, LABELS, test, 1000, probabilities, [])


def test_differences_have_the_right_sign() -> None:
    found = made_up()
    assert found.baseline == "linear"
    assert found.difference("shipped", "linear")["accuracy"] == pytest.approx(0.2)
    assert found.difference("trained", "shipped")["accuracy"] == pytest.approx(0.1)
    for name, expected in (("gain", 0.2), ("drop", 0.1)):
        low, high = found.intervals[name]["accuracy"]
        assert 0 < low < expected < high
    assert {rule["rule"]: rule["figure"] for rule in found.gate["rules"]} == pytest.approx(
        {"min_metric": 0.8, "min_gain_over_baseline": 0.2, "max_drop_shipped": 0.1, "min_label_f1": 0.8}
    )


def test_mistakes_and_confused_pairs() -> None:
    found = made_up()
    listed = mistakes(found)
    assert [entry["id"] for entry in listed] == [f"r{i}" for i in range(20)]
    assert {key: listed[1][key] for key in ("target", "predicted", "text")} == {
        "target": "login",
        "predicted": "transfer",
        "text": "a text",
    }
    assert pairs_of(found, 2) == [("card", "login", 20, 0.2), ("login", "transfer", 20, 0.2)]
    perfect = made_up(wrong=(0, 0, 10))
    assert mistakes(perfect) == pairs_of(perfect, 5) == []


def pairs_of(found: Evaluation, most: int) -> list[tuple[str, str, int, float]]:
    return confused_pairs(confusion(found.targets, found.answers["shipped"]), LABELS, most)


def test_slices_are_the_rows_they_name() -> None:
    rows = pd.DataFrame({"channel": ["app", "app", "mail", None, "chat", "app", "mail", ""], "text": list("abcdefgh")})
    tokens = np.array([3, 3, 4, 5, 6, 7, 8, 90])
    found = {(what, value): member for what, value, member in named_slices(rows, ["channel"], 3, tokens, 8)}
    assert {key: int(member.sum()) for key, member in found.items()} == {
        ("channel", "app"): 3,
        ("channel", "(none)"): 2,
        ("channel", "mail"): 2,
        ("channel", "(1 other values)"): 1,
        ("tokens", "3"): 2,
        ("tokens", "4 to 5"): 2,
        ("tokens", "6 to 7"): 2,
        ("tokens", "8 to 90"): 2,
        ("truncated", "yes"): 1,
        ("truncated", "no"): 7,
    }
    assert found["truncated", "yes"].tolist() == [False] * 7 + [True]


def test_slices_of_equal_lengths_and_list_columns() -> None:
    rows = pd.DataFrame({"annotators": [np.array(["a", "b"]), np.array([]), None, np.array(["a", "b"])]})
    found = named_slices(rows, ["annotators"], 12, np.array([5, 5, 5, 5]), 8)
    assert [(what, value, member.sum()) for what, value, member in found] == [
        ("annotators", "(none)", 2),
        ("annotators", "a, b", 2),
        ("tokens", "5", 4),
        ("truncated", "no", 4),
    ]


def test_the_worst_slice_is_marked_and_small_ones_are_not() -> None:
    targets = np.zeros(240, dtype=np.int64)
    chosen = np.zeros(240, dtype=np.int64)
    chosen[:40] = 1  # every row of a, 30 of 100 rows of b are wrong
    parts = np.repeat(["tiny", "b", "c"], [10, 100, 130])
    slices = [("part", name, parts == name) for name in ("tiny", "b", "c")] + [
        ("all", "rows", np.ones(240, dtype=bool))
    ]
    found = score_slices(TASK, targets, np.eye(2)[chosen], slices, samples=200, seed=1, min_rows=20)
    assert [entry["mark"] for entry in found] == ["", f"{WORST}, {BELOW}", "", ""]
    assert [entry["figures"]["accuracy"] for entry in found] == pytest.approx([0, 0.7, 1, 200 / 240], abs=1e-6)
    assert found[1]["intervals"]["accuracy"][0] < 0.7 < found[1]["intervals"]["accuracy"][1]


PER_LABEL = {"a": {"f1": 0.9, "support": 40}, "b": {"f1": 0.4, "support": 10}, "c": {"f1": 0.0, "support": 9}}


def judge(**params: float) -> dict:
    return gate.judge(
        Params(**params),
        metric="macro_f1",
        shipped=0.80,
        trained=0.81,
        baseline=("tfidf_logreg", 0.75),
        intervals={"shipped": (0.7, 0.9), "gain": (0.0, 0.1), "drop": (-0.01, 0.03)},
        per_label=PER_LABEL,
    )


@pytest.mark.parametrize(
    ("params", "failed"),
    [
        ({}, []),
        ({"min_metric": 0.80}, []),
        ({"min_metric": 0.81}, ["min_metric"]),
        ({"min_gain_over_baseline": 0.05}, []),
        ({"min_gain_over_baseline": 0.051}, ["min_gain_over_baseline"]),
        ({"max_drop_shipped": 0.01}, []),  # 0.81 - 0.80 is a hair over 0.01 in floating point
        ({"max_drop_shipped": 0.009}, ["max_drop_shipped"]),
        ({"min_label_f1": 0.41}, ["min_label_f1"]),
        ({"min_label_f1": 0.41, "min_support": 11}, []),
        ({"min_support": 9}, ["min_label_f1"]),
        ({"min_metric": 0.9, "min_label_f1": 0.5}, ["min_metric", "min_label_f1"]),
    ],
)
def test_gate(params: dict, failed: list[str]) -> None:
    found = judge(**params)
    assert [rule["rule"] for rule in found["rules"] if not rule["passed"]] == failed
    assert found["passed"] is not bool(failed)
    assert all(name in found["summary"] for name in failed)
    assert [rule["rule"] for rule in found["rules"]] == [
        "min_metric",
        "min_gain_over_baseline",
        "max_drop_shipped",
        "min_label_f1",
    ]


def test_gate_without_a_label_to_judge() -> None:
    found = judge(min_support=100)
    assert len(found["rules"]) == 3
    assert found["not_judged"] == [{"rule": "min_label_f1", "reason": "no label has 100 test rows"}]
    assert found["passed"] is True


def test_calibration_puts_full_confidence_into_the_last_bin() -> None:
    probabilities = np.array([[1.0, 0.0], [0.5, 0.5], [0.51, 0.49]])
    found = bins(probabilities.max(axis=1), np.array([True, True, False]))
    assert [(round(c, 3), a, n) for c, a, n in found] == [(0.505, 0.5, 2), (1.0, 1.0, 1)]
