"""The gate: what the shipped model must reach, rule by rule."""

from collections.abc import Mapping
from typing import Any

from components.evaluate.params import Params

Interval = tuple[float, float]


def judge(
    params: Params,
    *,
    metric: str,
    shipped: float,
    trained: float,
    baseline: tuple[str, float],
    intervals: Mapping[str, Interval],
    per_label: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """The verdict as gate.json keeps it: {passed, rules, not_judged, summary}.

    A rule is {rule, meaning, figure, bound, passed}, and `interval`: {low, high} of the figure at 95 % where it has one.
    `intervals` holds those of `shipped`, `gain` (shipped - baseline) and `drop` (trained - shipped) in the metric.
    Figures are compared as they are shown, rounded to 6 digits.
    """
    name, of_baseline = baseline
    rules = [
        _rule(
            "min_metric",
            f"{metric} of the shipped model is at least",
            shipped,
            params.min_metric,
            True,
            intervals["shipped"],
        ),
        _rule(
            "min_gain_over_baseline",
            f"its {metric} minus that of the strongest baseline ({name}) is at least",
            shipped - of_baseline,
            params.min_gain_over_baseline,
            True,
            intervals["gain"],
        ),
        _rule(
            "max_drop_shipped",
            f"{metric} of the trained model minus that of the shipped one is at most",
            trained - shipped,
            params.max_drop_shipped,
            False,
            intervals["drop"],
        ),
    ]
    not_judged = []
    if of_labels := _label_rule(params, per_label):
        rules.append(of_labels)
    else:
        not_judged.append({"rule": "min_label_f1", "reason": f"no label has {params.min_support} test rows"})
    passed = all(rule["passed"] for rule in rules)
    return {"passed": passed, "rules": rules, "not_judged": not_judged, "summary": _summary(rules, metric)}


def _label_rule(params: Params, per_label: Mapping[str, Mapping[str, float]]) -> dict[str, Any] | None:
    """The rule on the weakest label; None where no label has rows enough."""
    f1 = {label: figures["f1"] for label, figures in per_label.items() if figures["support"] >= params.min_support}
    if not f1:
        return None
    weakest = min(f1, key=lambda label: f1[label])
    meaning = (
        f"F1 of the weakest label ({weakest}; of {len(f1)} with {params.min_support} test rows or more) is at least"
    )
    return _rule("min_label_f1", meaning, f1[weakest], params.min_label_f1, True, None)


def _rule(
    rule: str, meaning: str, figure: float, bound: float, at_least: bool, interval: Interval | None
) -> dict[str, Any]:
    figure = round(figure, 6)
    entry = {
        "rule": rule,
        "meaning": meaning,
        "figure": figure,
        "bound": bound,
        "passed": figure >= bound if at_least else figure <= bound,
    }
    return entry if interval is None else {**entry, "interval": {"low": interval[0], "high": interval[1]}}


def _summary(rules: list[dict[str, Any]], metric: str) -> str:
    failed = [rule for rule in rules if not rule["passed"]]
    if failed:
        reasons = "; ".join(f"{rule['rule']} {rule['figure']:.4f}, bound {rule['bound']:g}" for rule in failed)
        return f"failed {len(failed)} of {len(rules)} rules: {reasons}"
    quality, gain, drop = rules[:3]
    return (
        f"passed {len(rules)} rules: {metric} {quality['figure']:.4f}, "
        f"gain over baseline {gain['figure']:+.4f}, drop against trained {drop['figure']:+.4f}"
    )
