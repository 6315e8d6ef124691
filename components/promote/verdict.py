"""The verdict: promote, hold, or inconclusive with the rows that would decide."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scipy.stats import norm

from components.promote.budget import Level
from components.promote.comparison import of_margins
from components.promote.params import Params
from components.promote.parts import NO_WORSE, UNKNOWN, WORSE
from components.promote.statistics import rows_to_separate, rows_to_show, unselected

PROMOTE, HOLD, INCONCLUSIVE = "promote", "hold", "inconclusive"

PASSED, FAILED, OPEN = "passed", "failed", "undecided"

_MOST_ROWS = 1_000_000

Needs = Callable[[float], float]
"""level of a question -> rows on which it would decide."""


def judge(
    params: Params, level: Level, found: Mapping[str, Any], costs: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """{verdict, reason, rules, more_rows, corrected} of what `comparison.compare` and `comparison.costs` found at `level`.

    A rule is {rule, meaning, figure, state}. A failed rule makes the verdict hold, else an undecided one inconclusive, else
    it is promote. `more_rows` is the number of further labelled rows that an inconclusive verdict asks for, 0 otherwise.
    `corrected` is {metric, gain, low, high} of a challenger that is promoted as superior, corrected for its having been selected.
    """
    rules = [_superior(params, level.now, found)] if params.require == "superior" else []
    kept = of_margins(params, level.now)
    rules += [_not_worse(params, kept, metric, figure, found["rows"]) for metric, figure in found["figures"].items()]
    rules += _anchored(params, kept, found.get("anchor"))
    rules += [_parts(params, found["parts"]), *_costs(params, costs or {})]
    if found["rows"] < params.min_rows:
        enough = {"rule": "min_rows", "meaning": f"at least {params.min_rows} test rows", "figure": str(found["rows"])}
        rules.insert(0, {**enough, "state": OPEN, "needs": lambda _level: params.min_rows})
    failed = [rule for rule in rules if rule["state"] == FAILED]
    undecided = [rule for rule in rules if rule["state"] == OPEN]
    more = 0
    if failed:
        verdict, reason = HOLD, "; ".join(f"{rule['rule']}: {rule['figure']}" for rule in failed)
    elif undecided:
        verdict = INCONCLUSIVE
        more = _more_rows([rule["needs"] for rule in undecided], level, found["rows"])
        count = f"more than {_MOST_ROWS:,}" if more > _MOST_ROWS else f"about {more:,}"
        open_rules = "; ".join(f"{rule['rule']}: {rule['figure']}" for rule in undecided)
        asked = (
            f"this test set has answered {level.questions} questions: {count} fresh rows before it can answer another"
        )
        spent = level.questions > 1 and all(rule.get("spent") for rule in undecided)
        reason = (
            f"{asked if spent else f'{count} more labelled rows would decide'} ({open_rules}; power {params.power:g})"
        )
    else:
        unknown = sum(part["state"] == UNKNOWN for part in found["parts"])
        noted = f"; {unknown} of {len(found['parts'])} labels and slices unknown" if unknown else ""
        verdict, reason = PROMOTE, f"{rules[0]['rule']}: {rules[0]['figure']}{noted}"
    shown = [{key: value for key, value in rule.items() if key not in ("needs", "spent")} for rule in rules]
    corrected = _corrected(params, found) if verdict == PROMOTE and params.require == "superior" else {}
    return {"verdict": verdict, "reason": reason, "rules": shown, "more_rows": more, "corrected": corrected}


def _corrected(params: Params, found: Mapping[str, Any]) -> dict[str, Any]:
    test = found["superior"]
    figure = found["figures"][test["metric"]]
    edge = test["threshold"] - 1 / found["rows"]  # half of what one row changes
    gain = unselected(figure["gain"], figure["error"], edge, params.alpha)
    return {"metric": test["metric"], **{key: round(value, 6) for key, value in gain.items()}}


def _superior(params: Params, level: float, found: Mapping[str, Any]) -> dict[str, Any]:
    """Better in the first metric? Failed only when a gain worth a change is ruled out."""
    test, rows = found["superior"], found["rows"]
    metric, p = test["metric"], test["p"]
    figure = found["figures"][metric]
    exact = test["exact"]
    state = PASSED if p <= level else FAILED if figure["high"] < params.worthwhile_gain else OPEN

    def needs(at: float) -> float:
        show = (
            rows_to_show(figure["gain"], found["discordant"], at, params.power)
            if exact
            else rows_to_separate(figure["gain"], figure["error"], rows, at, params.power)
        )
        distance = params.worthwhile_gain - figure["gain"]
        return min(show, rows_to_separate(distance, figure["error"], rows, params.alpha, params.power))

    tested = f"McNemar p = {p:.3g}, {found['gained']} gained, {found['lost']} lost" if exact else f"p = {p:.3g}"
    ruled_out = f"a gain of {params.worthwhile_gain:g} is ruled out" if state == FAILED else ""
    return {
        "rule": f"superior in {metric}",
        "meaning": f"better on the same rows: p at most {level:.2g}, what this question may spend of {params.alpha:g}; a gain "
        f"of {params.worthwhile_gain:g} would be worth it",
        "figure": "; ".join(filter(None, [_shown(figure), tested, ruled_out])),
        "state": state,
        "needs": needs,
        "spent": p <= params.alpha,
    }


def _not_worse(
    params: Params, level: float, metric: str, figure: Mapping[str, float], rows: int, than: str = ""
) -> dict[str, Any]:
    """Inside the margin? Passed when the lower bound at `level` is, failed when the upper bound at alpha is not."""
    margin = params.metric_margin
    state = PASSED if figure["floor"] > -margin else FAILED if figure["high"] < -margin else OPEN

    def needs(at: float) -> float:
        distance = figure["gain"] + margin
        kept = of_margins(params, at) if distance > 0 else params.alpha
        return rows_to_separate(abs(distance), figure["error"], rows, kept, params.power)

    return {
        "rule": f"no worse in {metric}{than}",
        "meaning": f"the lower bound of the gain at {level:.2g} is above {-margin:g}",
        "figure": f"{_shown(figure)}, lower bound {figure['floor']:+.4f}",
        "state": state,
        "needs": needs,
        "spent": figure["low"] > -margin,
    }


def _anchored(params: Params, level: float, anchor: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """No worse than the anchor either, where it is not the champion: small losses do not add up to a large one."""
    if not anchor:
        return []
    than = f" than the anchor, version {anchor['version']}"
    if not anchor["figures"]:
        meaning = "no worse than the last version that was proven better"
        return [{"rule": f"no worse{than}", "meaning": meaning, "figure": anchor["why"], "state": FAILED}]
    return [
        _not_worse(params, level, metric, figure, anchor["rows"], than) for metric, figure in anchor["figures"].items()
    ]


def _parts(params: Params, parts: list[dict[str, Any]]) -> dict[str, Any]:
    of = {state: [part for part in parts if part["state"] == state] for state in (WORSE, UNKNOWN, NO_WORSE)}
    listed = ", ".join(
        f"{part['what']} {part['name']} {part['champion']:.3f} to {part['challenger']:.3f} of {part['rows']} rows"
        for part in of[WORSE]
    )
    counted = f"{len(of[NO_WORSE])} of {len(parts)} no worse, {len(of[UNKNOWN])} unknown"
    held = of[UNKNOWN] and params.unknown_parts == "hold"
    return {
        "rule": "labels and slices",
        "meaning": f"none is significantly worse by more than its margin ({params.label_margin:g} and {params.slice_margin:g}), "
        f"at level {params.alpha:g} over all {len(parts)} (Holm)"
        + (", and each is proven no worse" if params.unknown_parts == "hold" else ""),
        "figure": f"worse: {listed}; {counted}" if listed else counted,
        "state": FAILED if of[WORSE] else OPEN if held else PASSED,
        "needs": lambda _level: max((_rows_to_know(params, part) for part in of[UNKNOWN]), default=0.0),
    }


def _rows_to_know(params: Params, part: Mapping[str, Any]) -> float:
    """Rows of the test set on which a part that is as good as it was would be proven no worse. Labels come in their shares."""
    error = (part["challenger"] - part["champion"] - part["low"]) / norm.isf(params.alpha)
    return part["of"] / part["rows"] * rows_to_separate(part["margin"], error, part["rows"], params.alpha, params.power)


def _costs(params: Params, costs: Mapping[str, Any]) -> list[dict[str, Any]]:
    limits = {"latency_ratio": params.max_latency_ratio, "size_ratio": params.max_size_ratio}
    return [
        {
            "rule": f"max_{name}",
            "meaning": f"at most {limit:g} times the champion's",
            "figure": f"{costs[name]:.2f} times",
            "state": PASSED if costs[name] <= limit else FAILED,
        }
        for name, limit in limits.items()
        if limit and name in costs
    ]


def _shown(figure: Mapping[str, float]) -> str:
    return f"{figure['gain']:+.4f} ({figure['low']:+.4f} to {figure['high']:+.4f})"


def _more_rows(needs: Sequence[Needs], level: Level, rows: int) -> int:
    """Rows to add, two digits of it: the calculation is no better than that. The next question has another level, which the
    rows that join raise: so the fewest are looked for that suffice at the level they bring."""
    more = 0.1 * rows
    while more <= _MOST_ROWS:
        at = level.next(round(more))
        if max(rule(at) for rule in needs) <= rows + more:
            unit = 10 ** max(0, math.floor(math.log10(more)) - 1)
            return math.ceil(more / unit) * unit
        more *= 1.02
    return _MOST_ROWS + 1
