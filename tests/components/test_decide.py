"""decide, the function: every combination of reasons and obstacles, and how each is said."""

import dataclasses
import itertools

import pytest

from components.decide.decision import Drift, Facts, decide
from components.decide.params import Params
from fineline.process.errors import UsageError
from fineline.steps.params import validate

PARAMS = Params(name="tiny", gpu_hours_per_month=10)
CALM = Drift(drifted=False, enough=True, p=0.41234, reason="none of 9 tests finds drift")
DRIFTED = Drift(drifted=True, enough=True, p=0.0004, reason="label")
TOO_FEW = Drift(drifted=False, enough=False, p=1.0, reason="35 recent rows, 200 needed")
QUIET = Facts(rows=2000, champion=3, new_rows=112, drift=CALM, age_days=12.4, hours_since_training=300.0, gpu_hours=2.0)

REASONS = {"new_rows": 500, "drift": DRIFTED, "age_days": 90.1, "champion": None}
AGAINST = {
    "under_way": "since 2026-11-20 03:00 UTC, run r1",
    "same_data": "train-4f1a2b3c4d5e",
    "hours_since_training": 71.96,
    "gpu_hours": 10.0,
}


def subsets(of: dict) -> list[dict]:
    return [dict(chosen) for size in range(len(of) + 1) for chosen in itertools.combinations(of.items(), size)]


@pytest.mark.parametrize("against", subsets(AGAINST), ids=lambda d: "+".join(d) or "nothing")
def test_trains_with_one_reason_at_least_and_nothing_against_it(against: dict) -> None:
    for reasons in subsets(REASONS):
        found = decide(PARAMS, dataclasses.replace(QUIET, **reasons, **against))
        assert found.retrain is (bool(reasons) and not against), (reasons, against)
        assert found.reason.startswith("retrain: " if found.retrain else "skipped: ")


@pytest.mark.parametrize(
    ("changes", "params", "said"),
    [
        ({}, {"max_age_days": 0}, "skipped: 112 new rows, 500 needed; drift p = 0.41"),
        ({}, {}, "skipped: 112 new rows, 500 needed; drift p = 0.41; champion 12 days old, 90 allowed"),
        ({"drift": None, "age_days": None}, {}, "skipped: 112 new rows, 500 needed"),
        ({"new_rows": 1812}, {"max_age_days": 0}, "retrain: 1,812 new rows (500 needed); drift p = 0.41"),
        (
            {"new_rows": 499},
            {"max_age_days": 0, "min_new_rows": 1000},
            "skipped: 499 new rows, 1,000 needed; drift p = 0.41",
        ),
        ({"drift": DRIFTED}, {"max_age_days": 0}, "retrain: drift, p = 0.0004; 112 new rows, 500 needed"),
        (
            {"drift": DRIFTED},
            {"max_age_days": 0, "on_drift": False},
            "skipped: 112 new rows, 500 needed; drift, p = 0.0004",
        ),
        (
            {"drift": TOO_FEW},
            {"max_age_days": 0},
            "skipped: 112 new rows, 500 needed; drift not judged: 35 recent rows, 200 needed",
        ),
        ({"age_days": 90.6}, {}, "retrain: champion 91 days old, 90 allowed; 112 new rows, 500 needed; drift p = 0.41"),
        ({"age_days": 90.0}, {}, "skipped: 112 new rows, 500 needed; drift p = 0.41; champion 90 days old, 90 allowed"),
        ({"new_rows": 700}, {"min_new_rows": 0, "max_age_days": 0}, "skipped: 700 new rows; drift p = 0.41"),
        (
            {"new_rows": None, "drift": None},
            {"max_age_days": 0},
            "skipped: new rows unknown (version 3 keeps no record of its training rows)",
        ),
        ({"champion": None, "drift": None, "age_days": None}, {}, "retrain: no champion yet, 2,000 rows"),
        (
            {"champion": None, "same_data": "train-4f1a"},
            {},
            "skipped: the same data was trained on already (train-4f1a); no champion yet, 2,000 rows",
        ),
        (
            {"hours_since_training": 5.04, "new_rows": 812, "drift": None},
            {"max_age_days": 0},
            "skipped: the last training ended 5.0 hours ago, 72 needed; 812 new rows (500 needed)",
        ),
        (
            {"hours_since_training": 0.0, "new_rows": 812, "drift": None},
            {"max_age_days": 0, "cooldown_hours": 0},
            "retrain: 812 new rows (500 needed)",
        ),
        (
            {"gpu_hours": 12.34, "new_rows": 812, "drift": None},
            {"max_age_days": 0},
            "skipped: 12.3 GPU hours used this month of 10; 812 new rows (500 needed)",
        ),
        (
            {"gpu_hours": 1e6, "new_rows": 812, "drift": None},
            {"max_age_days": 0, "gpu_hours_per_month": 0},
            "retrain: 812 new rows (500 needed)",
        ),
        (
            {**AGAINST, "new_rows": 812, "drift": DRIFTED},
            {},
            "skipped: a retraining is under way (since 2026-11-20 03:00 UTC, run r1); the same data was trained on already "
            "(train-4f1a2b3c4d5e); the last training ended 72.0 hours ago, 72 needed; 10.0 GPU hours used this month of 10; "
            "812 new rows (500 needed); drift, p = 0.0004; champion 12 days old, 90 allowed",
        ),
    ],
)
def test_says_what_decided_first_and_all_that_was_weighed(changes: dict, params: dict, said: str) -> None:
    found = decide(PARAMS.model_copy(update=params), dataclasses.replace(QUIET, **changes))
    assert found.reason == said


@pytest.mark.parametrize(
    "wrong", [{"min_new_rows": -1}, {"cooldown_hours": -0.5}, {"name": "it's"}, {"longest_hours": 0}, {"min_rows": 5}]
)
def test_wrong_parameters_are_named(wrong: dict) -> None:
    with pytest.raises(UsageError) as caught:
        validate(Params, "decide", wrong, "params.yaml")
    assert f"decide.{next(iter(wrong))}" in caught.value.what
