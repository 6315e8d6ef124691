"""The decision: a function of what is known, which says why."""

import dataclasses
from collections.abc import Iterator

from components.decide.params import Params


@dataclasses.dataclass(frozen=True)
class Drift:
    """What monitor found. `enough` is False where it could not judge, `reason` then says why; `p` is its smallest, corrected."""

    drifted: bool
    enough: bool
    p: float
    reason: str


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the decision rests on.

    `new_rows` is None when the champion keeps no record of its training rows, `drift` when nobody looked for it, `age_days`
    and `champion` when there is no champion, `hours_since_training` when nothing was trained yet. `same_data` names a
    training on exactly these rows, `under_way` a retraining that has not ended; '' is none.
    """

    rows: int
    champion: int | None = None
    new_rows: int | None = None
    drift: Drift | None = None
    age_days: float | None = None
    hours_since_training: float | None = None
    gpu_hours: float = 0.0
    same_data: str = ""
    under_way: str = ""


@dataclasses.dataclass(frozen=True)
class Decision:
    """Whether to train, and why or why not, in one line."""

    retrain: bool
    reason: str


def decide(params: Params, facts: Facts) -> Decision:
    """To train: one reason at least, and nothing against it. The line names all that was weighed, what decided first."""
    against = list(_against(params, facts))
    found = list(_reasons(params, facts))
    reasons = [text for counts, text in found if counts]
    others = [text for counts, text in found if not counts]
    retrain = bool(reasons) and not against
    return Decision(retrain, f"{'retrain' if retrain else 'skipped'}: {'; '.join([*against, *reasons, *others])}")


def _against(params: Params, facts: Facts) -> Iterator[str]:
    """What forbids a training now."""
    if facts.under_way:
        yield f"a retraining is under way ({facts.under_way})"
    if facts.same_data:
        yield f"the same data was trained on already ({facts.same_data})"
    if facts.hours_since_training is not None and facts.hours_since_training < params.cooldown_hours:
        yield f"the last training ended {facts.hours_since_training:.1f} hours ago, {params.cooldown_hours:g} needed"
    if 0 < params.gpu_hours_per_month <= facts.gpu_hours:
        yield f"{facts.gpu_hours:.1f} GPU hours used this month of {params.gpu_hours_per_month:g}"


def _reasons(params: Params, facts: Facts) -> Iterator[tuple[bool, str]]:
    """(whether it is a reason to train, how it is said) of each thing that may be one."""
    if facts.champion is None:
        yield True, f"no champion yet, {facts.rows:,} rows"
        return
    if facts.new_rows is None:
        yield False, f"new rows unknown (version {facts.champion} keeps no record of its training rows)"
    elif not params.min_new_rows:
        yield False, f"{facts.new_rows:,} new rows"
    elif facts.new_rows >= params.min_new_rows:
        yield True, f"{facts.new_rows:,} new rows ({params.min_new_rows:,} needed)"
    else:
        yield False, f"{facts.new_rows:,} new rows, {params.min_new_rows:,} needed"
    if facts.drift:
        yield facts.drift.drifted and params.on_drift, _said(facts.drift)
    if facts.age_days is not None and params.max_age_days:
        old = facts.age_days > params.max_age_days
        yield old, f"champion {facts.age_days:.0f} days old, {params.max_age_days:g} allowed"


def _said(drift: Drift) -> str:
    if not drift.enough:
        return f"drift not judged: {drift.reason}"
    return f"drift, p = {drift.p:.2g}" if drift.drifted else f"drift p = {drift.p:.2g}"
