"""The level holds over the life of a test set: the budget, what it is spent on, and months of nights by simulation."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.promotion_nights import equal_month, obeying, ratchet, shown, weak_label
from components.promote.budget import SERIES, Budget, Level, ask, first
from components.promote.comparison import compare
from components.promote.params import Params
from components.promote.parts import NO_WORSE, UNKNOWN, WORSE
from components.promote.promotion import FORCED, anchor_of
from components.promote.statistics import accuracy_bound, exchanged, loss_seen, rows_to_show, unselected, worse_than
from components.promote.verdict import INCONCLUSIVE, PROMOTE, judge
from fineline.registry import ledger, model_versions
from fineline.tasks import get_task
from fineline.tracking import connection

PARAMS = Params.model_validate({})
NAME = "words"


def test_the_first_questions_of_a_frozen_set() -> None:
    budget, shares = Budget(), []
    for _ in range(4):
        shares.append(budget.share())
        budget = budget.refilled(0).spent(500)
    assert shares == pytest.approx([1 / 4, 1 / 12, 1 / 24, 1 / 40])
    assert budget.questions == 4


@pytest.mark.parametrize("fresh", [0, 1, 20, 500, 100_000])
def test_all_levels_together_stay_below_alpha_and_none_is_zero(fresh) -> None:
    budget, spent, rows = Budget(), 0.0, 455
    for night in range(2000):
        budget = budget.refilled(rows + night * fresh - budget.rows)
        assert budget.share() > 0
        spent += budget.share()
        budget = budget.spent(rows + night * fresh)
        assert spent + budget.open + budget.reserve == pytest.approx(1)
    assert spent < 1


def test_rows_that_left_and_came_back_are_not_fresh() -> None:
    budget = Budget().spent(500).refilled(-100).spent(400)
    assert budget.refilled(500 - budget.rows) == budget


@pytest.fixture
def model(ready_store: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.chdir(tmp_path)
    server = connection.client()
    model_versions.create_model(server, NAME)
    return server


def test_a_question_is_written_once_and_costs_nothing_again(model) -> None:
    asked = {"champion": 1, "challenger": 2, "anchor": 1, "test_set": "abc"}
    level = ask(model, NAME, 0.05, asked, 500)
    assert (level.now, level.questions) == (pytest.approx(0.0125), 1)
    again = ask(model, NAME, 0.05, asked, 500)
    assert (again.now, again.questions) == (level.now, 1)
    other = ask(model, NAME, 0.05, {**asked, "challenger": 3}, 500)
    assert (other.now, other.questions) == (pytest.approx(0.05 / 12), 2)
    after = ask(model, NAME, 0.05, asked, 500)  # its level is that of the day it was asked first
    assert (after.now, after.questions) == (level.now, 2)
    more = ask(model, NAME, 0.05, {**asked, "test_set": "abcd"}, 750)
    frozen = ask(model, NAME, 0.05, {**asked, "test_set": "abcde"}, 750)
    assert more.now > frozen.now
    entries = ledger.entries(model, ledger.run_of(model, NAME), SERIES)
    assert [(entry["challenger"], entry["rows"]) for entry in entries] == [(2, 500), (3, 500), (2, 750), (2, 750)]
    assert other.next(0) < other.next(500) < other.next(50_000)


def line(to: int, verdict: str = PROMOTE, alias: str = model_versions.CHAMPION, **evidence: int) -> dict:
    return {"alias": alias, "to": to, "verdict": verdict, "evidence": evidence}


@pytest.mark.parametrize(
    ("lines", "anchor"),
    [
        ([], None),
        ([line(1, anchor=1)], 1),
        ([line(1, anchor=1), line(2, anchor=1), line(3, anchor=1)], 1),  # steps that were only no worse
        ([line(1, anchor=1), line(2, anchor=1), line(3, anchor=3)], 3),
        ([line(1, anchor=1), line(2, anchor=2), line(1, "rollback")], 1),
        ([line(1, anchor=1), line(2, FORCED, anchor=1)], 1),
        ([line(1, anchor=1), line(4, alias=model_versions.CHALLENGER)], 1),
        ([line(1), line(2)], 2),  # lines from before anchors were written
    ],
)
def test_the_anchor_is_the_last_version_that_was_proven_better(lines, anchor) -> None:
    assert anchor_of(lines) == anchor


@pytest.mark.parametrize(("rows", "nights", "fresh"), [(455, 30, 0), (455, 30, 10), (2000, 30, 0)])
def test_a_month_of_equal_models_promotes_at_no_more_than_alpha(rows, nights, fresh) -> None:
    generator, trials = np.random.default_rng(rows + fresh), 300
    month = equal_month(rows, nights, fresh, budgeted=True)
    assert sum(month(generator) for _ in range(trials)) <= binom.ppf(0.999, trials, PARAMS.alpha)
    careless = equal_month(rows, nights, fresh, budgeted=False)
    assert sum(careless(generator) for _ in range(100)) > 15  # what the budget is there for


def test_who_brings_the_rows_that_were_asked_for_is_not_promoted_by_chance() -> None:
    generator, trials = np.random.default_rng(1), 40
    month = obeying(455)
    assert sum(month(generator) for _ in range(trials)) <= binom.ppf(0.999, trials, PARAMS.alpha)


def test_small_steps_down_stay_inside_one_margin() -> None:
    generator = np.random.default_rng(2)
    lost = [ratchet(generator, rows=10_000, nights=30, anchored=True) for _ in range(20)]
    assert sum(of > PARAMS.metric_margin for of in lost) <= binom.ppf(0.999, 20, PARAMS.alpha)
    assert ratchet(generator, rows=10_000, nights=30, anchored=False) > 3 * PARAMS.metric_margin


def test_a_gain_that_was_selected_is_corrected() -> None:
    generator = np.random.default_rng(3)
    found = np.array([row for _ in range(1500) if (row := shown(generator, rows=2000, gain=0.01))])
    assert len(found) > 80
    measured, corrected, low, high = found.T
    assert np.median(measured) > 0.016
    assert abs(np.median(corrected) - 0.01) < 0.003
    assert np.mean((low <= 0.01) & (high >= 0.01)) > 0.82  # of 90 %, with the noise of 100 draws


def test_the_correction_fades_with_the_distance_from_the_threshold() -> None:
    far = unselected(0.08, 0.01, 0.02, 0.05)
    assert far["gain"] == pytest.approx(0.08, abs=1e-4)
    assert (far["low"], far["high"]) == (
        pytest.approx(0.08 - 0.01645, abs=1e-3),
        pytest.approx(0.08 + 0.01645, abs=1e-3),
    )
    near = unselected(0.0205, 0.01, 0.02, 0.05)
    assert near["gain"] < 0.01
    assert near["low"] < 0


@pytest.mark.parametrize(("gained", "lost", "rows"), [(40, 10, 400), (0, 0, 400), (3, 30, 100), (1, 0, 20)])
def test_the_bound_is_the_loss_that_the_score_test_just_rules_out(gained, lost, rows) -> None:
    bound = accuracy_bound(gained, lost, rows, 0.05)
    assert worse_than(lost, gained, rows, bound) == pytest.approx(0.05, abs=1e-4)
    assert bound < (gained - lost) / rows or gained == lost
    assert accuracy_bound(gained, lost, rows, 0.001) < bound


def test_exchanges_give_the_share_of_gains_as_large_and_a_bound_beyond_them() -> None:
    draws = np.random.default_rng(4).normal(0, 0.01, 10_000)
    assert exchanged(draws, 0.0165) == pytest.approx(0.05, abs=0.01)
    assert exchanged(draws, 0.06) == pytest.approx(np.exp(-18), rel=0.3)
    assert exchanged(np.zeros(10), 0.0) == 1.0


def test_what_is_not_proven_safe_is_unknown() -> None:
    generator = np.random.default_rng(5)
    states = [weak_label(generator, rows=27, loss=0.3) for _ in range(20)]
    assert NO_WORSE not in {state for _verdict, state in states}
    assert all(verdict != PROMOTE for verdict, state in states if state == WORSE)
    safe = [state for _ in range(10) for _verdict, state in [weak_label(generator, rows=400, loss=0.0)]]
    assert safe.count(NO_WORSE) == 10
    assert loss_seen(27, 0.1, 0.05, 0.005, 0.8) > 0.2 > loss_seen(400, 0.1, 0.05, 0.005, 0.8)
    assert UNKNOWN in {state for _verdict, state in states}


def test_a_spent_test_set_says_so_and_what_it_needs() -> None:
    """Seen first, the same answers promote; as question 31 they need rows that nobody has asked yet."""
    rows, gained, lost = 1000, 40, 15
    right = {
        "champion": np.arange(rows) >= gained,
        "challenger": (np.arange(rows) < gained) | (np.arange(rows) >= gained + lost),
    }
    given = {name: np.eye(2)[np.where(of, 0, 1)] for name, of in right.items()}
    budget = Budget()
    for _ in range(30):
        budget = budget.refilled(0).spent(rows)
    verdicts = []
    for level in (first(0.05, rows), Level(0.05, 0.05 * budget.share(), budget.spent(rows))):
        found = compare(PARAMS, level.now, get_task("single_label"), ["a", "b"], np.zeros(rows, dtype=int), given)
        verdicts.append(judge(PARAMS, level, found))
    assert verdicts[0]["verdict"] == PROMOTE
    more = verdicts[1]["more_rows"]
    said = (
        f"this test set has answered 31 questions: about {more:,} fresh rows before it can answer another (superior in"
    )
    assert verdicts[1]["verdict"] == INCONCLUSIVE
    assert verdicts[1]["reason"].startswith(said)
    after = Level(0.05, 0.05 * budget.share(), budget.spent(rows))
    assert 100 <= more < 5000
    assert rows_to_show(0.025, 0.055, after.next(more), PARAMS.power) <= rows + more
    assert rows_to_show(0.025, 0.055, after.next(more // 2), PARAMS.power) > rows + more // 2
