"""The gate's statistics against known values, and by simulation: what it promises is what it does."""

import math

import numpy as np
import pytest
from scipy.stats import binom, norm

from benchmarks.promotion_power import LABELS, pair, verdicts
from components.promote.budget import first
from components.promote.comparison import compare
from components.promote.params import Params
from components.promote.parts import WORSE
from components.promote.statistics import mcnemar, rows_to_separate, rows_to_show, worse_than
from components.promote.verdict import judge
from fineline.statistics.multiple_tests import holm
from fineline.tasks import get_task

TASK = get_task("single_label")
QUICK = {"bootstrap": 200}


def compared(params: Params, labels, targets, probabilities, slices=(), level: float | None = None) -> dict:
    return compare(params, level or first(params.alpha).now, TASK, labels, targets, probabilities, slices)


def parameters(**given: object) -> Params:
    return Params.model_validate({**QUICK, **given})


@pytest.mark.parametrize(("gained", "lost", "p"), [(0, 0, 1.0), (5, 0, 1 / 32), (0, 5, 1.0), (60, 40, 0.028444)])
def test_mcnemar_is_the_sign_test_of_the_differing_rows(gained, lost, p) -> None:
    assert mcnemar(gained, lost) == pytest.approx(p, abs=1e-6)


def test_the_score_test_without_margin_is_mcnemars_score() -> None:
    assert worse_than(3, 30, 100, 0.0) == pytest.approx(norm.cdf((3 - 30) / math.sqrt(33)), rel=1e-9)
    assert worse_than(0, 0, 100, 0.0) == 1.0
    assert worse_than(0, 0, 100, 0.05) > 0.95
    assert worse_than(0, 100, 100, 0.05) < 1e-9


@pytest.mark.parametrize(("rows", "margin"), [(30, 0.05), (60, 0.1), (400, 0.03)])
def test_the_score_test_keeps_its_level_on_the_edge(rows, margin) -> None:
    """Models that are worse by exactly the margin are called worse in about 5 of 100."""
    generator = np.random.default_rng(1)
    lost_share, trials = 0.12, 3000
    counts = generator.multinomial(rows, [lost_share - margin, lost_share, 1 - 2 * lost_share + margin], size=trials)
    called = np.mean([worse_than(int(gained), int(lost), rows, margin) <= 0.05 for gained, lost, _ in counts])
    assert called <= 0.075
    assert called >= 0.02


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_connors_rows_give_the_power_that_they_promise() -> None:
    gain, discordant = 0.03, 0.10
    rows = math.ceil(rows_to_show(gain, discordant, 0.05, 0.8))
    assert rows == 685
    generator = np.random.default_rng(2)
    shares = [(discordant + gain) / 2, (discordant - gain) / 2, 1 - discordant]
    found = np.mean([mcnemar(int(b), int(c)) <= 0.05 for b, c, _ in generator.multinomial(rows, shares, size=4000)])
    assert 0.74 < found < 0.84  # the exact test is a little stricter than the formula's
    assert rows_to_show(0.0, 0.1, 0.05, 0.8) == math.inf
    assert rows_to_separate(-0.1, 0.01, 100, 0.05, 0.8) == math.inf


@pytest.mark.slow
def test_equal_models_are_promoted_at_no_more_than_alpha() -> None:
    trials = 400
    found = verdicts(parameters(), 500, 0.0, trials, seed=3)
    assert found["promote"] <= binom.ppf(0.999, trials, 0.05)


def test_a_model_3_points_better_on_2000_rows_is_promoted_with_the_stated_power() -> None:
    trials = 60
    params = parameters()
    found = verdicts(params, 2000, 0.03, trials, seed=4)
    assert found["promote"] >= binom.ppf(0.001, trials, params.power)
    assert found["promote"] >= 0.9 * trials  # 2,000 rows are more than 0.8 asks for


def test_a_worse_model_is_held() -> None:
    found = verdicts(parameters(), 1000, -0.04, 30, seed=5)
    assert found["hold"] >= 28
    assert found["promote"] == 0


def test_non_inferior_promotes_the_equal_and_not_the_worse() -> None:
    params = parameters(require="non_inferior", metric_margin=0.03)
    assert verdicts(params, 1000, 0.0, 30, seed=6)["promote"] >= 20
    assert verdicts(params, 1000, -0.05, 30, seed=7)["promote"] <= 2


def judged(params: Params, gained: int, lost: int, rows: int = 400, both: float = 0.8) -> dict:
    """The verdict on `rows` rows of two labels in turns, with that many rows right by one model only."""
    targets = np.arange(rows) % 2
    kind = np.zeros(rows, dtype=int)
    kind[:gained], kind[gained : gained + lost] = 1, 2
    kind[int(both * rows) :] = 3
    right = {"champion": (kind == 0) | (kind == 2), "challenger": kind <= 1}
    probabilities = {name: np.eye(2)[np.where(of, targets, 1 - targets)] for name, of in right.items()}
    return judge(params, first(params.alpha), compared(params, ["a", "b"], targets, probabilities))


def test_the_three_verdicts_say_why() -> None:
    params = parameters()
    better = judged(params, 40, 10)
    assert better["verdict"] == "promote"
    assert better["reason"].startswith("superior in accuracy: +0.0750 (")
    assert "40 gained, 10 lost" in better["reason"]
    unclear = judged(params, 14, 10)
    assert unclear["verdict"] == "inconclusive"
    assert unclear["reason"].startswith(f"about {unclear['more_rows']:,} more labelled rows would decide")
    assert "power 0.8" in unclear["reason"]
    assert judged(params, 0, 0)["verdict"] == "hold"  # the same answers: a gain is ruled out
    worse = judged(params, 5, 45)
    assert worse["verdict"] == "hold"
    assert "no worse in accuracy" in worse["reason"]
    assert judged(params, 12, 1, rows=30, both=0.9)["verdict"] == "inconclusive"  # under min_rows


def test_the_rows_that_an_inconclusive_verdict_asks_for_decide() -> None:
    """With the observed gain and share of differing rows as the truth, that many rows decide in the stated share."""
    params = parameters()
    unclear = judged(params, 22, 14, rows=400)
    gain, discordant = 8 / 400, 36 / 400
    rows = 400 + unclear["more_rows"]
    shares = [(discordant + gain) / 2, (discordant - gain) / 2, 1 - discordant]
    decided = 0
    for gained, lost, _ in np.random.default_rng(8).multinomial(rows, shares, size=40):
        decided += judged(params, int(gained), int(lost), rows=rows)["verdict"] != "inconclusive"
    assert decided >= binom.ppf(0.001, 40, 0.8)


def test_one_broken_label_or_slice_holds_what_is_better_overall() -> None:
    generator = np.random.default_rng(9)
    targets, probabilities = pair(generator, 2000, 0.06)
    params = parameters()
    assert judge(params, first(params.alpha), compared(params, LABELS, targets, probabilities))["verdict"] == "promote"
    broken = {name: of.copy() for name, of in probabilities.items()}
    rows = np.flatnonzero(targets == 3)[:60]
    broken["challenger"][rows] = np.eye(len(LABELS))[4]
    held = judge(params, first(params.alpha), compared(params, LABELS, targets, broken))
    assert held["verdict"] == "hold"
    assert "label label 3" in held["reason"]
    member = np.isin(np.arange(2000), rows)
    found = compared(parameters(label_margin=1.0), LABELS, targets, broken, [("channel", "app", member)])
    assert "channel app" in judge(parameters(label_margin=1.0), first(0.05), found)["reason"]


def test_many_labels_do_not_raise_false_alarms() -> None:
    """Fifty slices of equal models: some have p under 0.05, the adjusted ones hold nothing back."""
    generator = np.random.default_rng(10)
    params = parameters(slice_margin=0.0, label_margin=0.0)
    alarms = small = 0
    for _ in range(20):
        targets, probabilities = pair(generator, 1000, 0.0)
        slices = [("bucket", str(i), np.arange(1000) % 50 == i) for i in range(50)]
        found = compared(parameters(slice_margin=0.0, label_margin=0.0), LABELS, targets, probabilities, slices)
        small += sum(part["p"] <= params.alpha for part in found["parts"])
        alarms += any(part["state"] == WORSE for part in found["parts"])
    assert small > 10
    assert alarms <= binom.ppf(0.999, 20, params.alpha)


def test_costs_over_their_limits_hold() -> None:
    params = parameters()
    targets, probabilities = pair(np.random.default_rng(11), 1000, 0.06)
    found = compared(params, LABELS, targets, probabilities)
    costs = {"latency_ratio": 1.2, "size_ratio": 1.0}
    assert judge(params, first(0.05), found, costs)["verdict"] == "promote"
    slow = judge(params, first(0.05), found, {**costs, "latency_ratio": 1.6})
    assert (slow["verdict"], slow["reason"]) == ("hold", "max_latency_ratio: 1.60 times")
    assert judge(params, first(0.05), found, {**costs, "size_ratio": 2.5})["verdict"] == "hold"
    assert judge(parameters(max_size_ratio=0), first(0.05), found, {**costs, "size_ratio": 2.5})["verdict"] == "promote"


def test_other_figures_decide_by_their_interval() -> None:
    params = parameters(metrics=["macro_f1", "log_loss"], metric_margin=0.2)
    targets, probabilities = pair(np.random.default_rng(12), 300, 0.08)
    found = compared(params, LABELS, targets, probabilities)
    assert found["figures"]["log_loss"]["gain"] > 0  # smaller is better
    assert judge(params, first(0.05), found)["rules"][0]["rule"] == "superior in macro_f1"
