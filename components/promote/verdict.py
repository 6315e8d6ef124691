"""The verdict: promote, hold, or inconclusive with the rows that would decide."""

import math
from collections.abc import Mapping
from typing import Any

from components.promote.params import Params
from components.promote.statistics import rows_to_separate, rows_to_show

PROMOTE, HOLD, INCONCLUSIVE = "promote", "hold", "inconclusive"

PASSED, FAILED, OPEN = "passed", "failed", "undecided"

_MOST_ROWS = 1_000_000


def judge(params: Params, found: Mapping[str, Any], costs: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """{verdict, reason, rules, more_rows} of what `comparison.compare` and `comparison.costs` found.

    A rule is {rule, meaning, figure, state}. A failed rule makes the verdict hold, else an undecided one inconclusive, else
    it is promote. `more_rows` is the number of further labelled rows that an inconclusive verdict asks for, 0 otherwise.
    """
    rules = [_superior(params, found)] if params.require == "superior" else []
    rules += [_not_worse(params, metric, figure, found["rows"]) for metric, figure in found["figures"].items()]
    rules += [_parts(params, found["parts"]), *_costs(params, costs or {})]
    if found["rows"] < params.min_rows:
        enough = {"rule": "min_rows", "meaning": f"at least {params.min_rows} test rows", "figure": str(found["rows"])}
        rules.insert(0, {**enough, "state": OPEN, "needs": params.min_rows})
    failed = [rule for rule in rules if rule["state"] == FAILED]
    undecided = [rule for rule in rules if rule["state"] == OPEN]
    more = 0
    if failed:
        verdict, reason = HOLD, "; ".join(f"{rule['rule']}: {rule['figure']}" for rule in failed)
    elif undecided:
        verdict = INCONCLUSIVE
        more = _more_rows(max(rule["needs"] for rule in undecided), found["rows"])
        count = f"more than {_MOST_ROWS:,}" if more > _MOST_ROWS else f"about {more:,}"
        open_rules = "; ".join(f"{rule['rule']}: {rule['figure']}" for rule in undecided)
        reason = f"{count} more labelled rows would decide ({open_rules}; power {params.power:g})"
    else:
        verdict, reason = PROMOTE, f"{rules[0]['rule']}: {rules[0]['figure']}"
    shown = [{key: value for key, value in rule.items() if key != "needs"} for rule in rules]
    return {"verdict": verdict, "reason": reason, "rules": shown, "more_rows": more}


def _superior(params: Params, found: Mapping[str, Any]) -> dict[str, Any]:
    """Better in the first metric? Failed only when a gain worth a change is ruled out."""
    metric, figure = next(iter(found["figures"].items()))
    exact = metric == "accuracy"
    better = found["p_superior"] <= params.alpha if exact else figure["low"] > 0
    if better:
        state = PASSED
    elif figure["high"] < params.worthwhile_gain:
        state = FAILED
    else:
        state = OPEN
    show = (
        rows_to_show(figure["gain"], found["discordant"], params.alpha, params.power)
        if exact
        else rows_to_separate(figure["gain"], figure["error"], found["rows"], params.alpha, params.power)
    )
    rule_out = rows_to_separate(
        params.worthwhile_gain - figure["gain"], figure["error"], found["rows"], params.alpha, params.power
    )
    test = f"McNemar p = {found['p_superior']:.3g}, {found['gained']} gained, {found['lost']} lost" if exact else ""
    ruled_out = f"a gain of {params.worthwhile_gain:g} is ruled out" if state == FAILED else ""
    notes = "; ".join(filter(None, [_shown(figure), test, ruled_out]))
    return {
        "rule": f"superior in {metric}",
        "meaning": f"better on the same rows, at level {params.alpha:g}; a gain of {params.worthwhile_gain:g} would be worth it",
        "figure": notes,
        "state": state,
        "needs": min(show, rule_out),
    }


def _not_worse(params: Params, metric: str, figure: Mapping[str, float], rows: int) -> dict[str, Any]:
    """Inside the margin? Passed when the lower bound is, failed when the upper bound is not."""
    margin = params.metric_margin
    state = PASSED if figure["low"] > -margin else FAILED if figure["high"] < -margin else OPEN
    return {
        "rule": f"no worse in {metric}",
        "meaning": f"the lower bound of the gain is above {-margin:g}",
        "figure": _shown(figure),
        "state": state,
        "needs": rows_to_separate(abs(figure["gain"] + margin), figure["error"], rows, params.alpha, params.power),
    }


def _parts(params: Params, parts: list[dict[str, Any]]) -> dict[str, Any]:
    judged = [part for part in parts if part["judged"]]
    worse = [part for part in judged if part["worse"]]
    listed = ", ".join(
        f"{part['what']} {part['name']} {part['champion']:.3f} to {part['challenger']:.3f} of {part['rows']} rows"
        for part in worse
    )
    return {
        "rule": "labels and slices",
        "meaning": f"none is significantly worse by more than its margin ({params.label_margin:g} and {params.slice_margin:g}), "
        f"at level {params.alpha:g} over all {len(judged)} (Holm)",
        "figure": listed or f"none of {len(judged)}",
        "state": FAILED if worse else PASSED,
    }


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


def _more_rows(needed: float, rows: int) -> int:
    """Rows to add, two digits of it: the calculation is no better than that."""
    more = max(needed - rows, 0.1 * rows)
    if not math.isfinite(more) or more > _MOST_ROWS:
        return _MOST_ROWS + 1
    unit = 10 ** max(0, math.floor(math.log10(more)) - 1)
    return math.ceil(more / unit) * unit
