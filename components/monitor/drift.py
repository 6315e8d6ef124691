"""Every test of recent rows against the reference, and the verdict over all of them."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from components.monitor import statistics
from components.monitor.params import Params
from fineline.bundles.reference import SLICE, Features
from fineline.statistics.multiple_tests import holm

DRIFT, NO_DRIFT, TOO_FEW = "drift", "no drift", "too few rows"
SLICE_TESTS = ("characters", "embedding", "predicted labels", "confidence")
TESTS = (*SLICE_TESTS, "tokens in a text", "token frequencies")
_TOKENS = 200
_RESOLUTION = 5
_DIGITS = 6


@dataclasses.dataclass(frozen=True)
class Findings:
    """`tests` as drift.json keeps them; `tokens` (id, p, difference in share), the smallest p first; `unlike` is the score of
    each recent row, larger for rows that the reference has fewer of."""

    tests: list[dict[str, Any]]
    tokens: list[tuple[int, float, float]]
    unlike: np.ndarray


def compare(params: Params, reference: Features, recent: Features) -> Findings:
    """The tests of both as a whole and of each slice that has `min_rows` rows on both sides."""
    parts = list(_slices(params, reference, recent))
    count = len(TESTS) + len(SLICE_TESTS) * len(parts)
    permutations = math.ceil(_RESOLUTION * count / params.alpha)  # the smallest p, adjusted, is alpha / 5
    sizes = len(reference.rows), len(recent.rows)
    tokens = statistics.tokens(reference.tokens, sizes[0], recent.tokens, sizes[1], _TOKENS)
    results: list[tuple[str, int, str, float, float]] = []
    unlike = np.zeros(sizes[1])
    whole = ("", np.ones(sizes[0], dtype=bool), np.ones(sizes[1], dtype=bool))
    for name, before, now in [whole, *parts]:
        old, new = _columns(reference, before), _columns(recent, now)
        p, effect, scores = statistics.vectors(
            reference.embedding[before], recent.embedding[now], permutations, params.seed
        )
        found = {
            "characters": statistics.values(old["characters"], new["characters"]),
            "embedding": (p, effect),
            "predicted labels": statistics.shares(old["label"], new["label"], permutations, params.seed),
            "confidence": statistics.values(old["score"], new["score"]),
        }
        if not name:
            unlike = scores
            found["tokens in a text"] = statistics.values(old["tokens"], new["tokens"])
            found["token frequencies"] = (tokens[0][1], abs(tokens[0][2]))
        results += [(name, int(now.sum()), test, *figures) for test, figures in found.items()]
    adjusted = holm([p for *_, p, _effect in results])
    tests = [
        {
            "slice": name,
            "rows": rows,
            "test": test,
            "p": float(f"{p:.3g}"),
            "adjusted": float(f"{after:.3g}"),
            "effect": round(effect, _DIGITS),
            "drift": after <= params.alpha and effect >= params.min_effect,
        }
        for (name, rows, test, p, effect), after in zip(results, adjusted, strict=True)
    ]
    return Findings(tests, tokens, unlike)


def verdict(params: Params, tests: list[dict[str, Any]]) -> tuple[str, str]:
    """(verdict, why in one sentence)."""
    found = [test for test in tests if test["drift"]]
    if found:
        names = ", ".join(f"{_name(test)} ({test['effect']:.2f}, p {test['adjusted']:.2g})" for test in found[:4])
        more = f" and {len(found) - 4} more" if len(found) > 4 else ""
        return DRIFT, f"{len(found)} of {len(tests)} tests find drift: {names}{more}"
    nearest = min(tests, key=lambda test: (test["adjusted"], -test["effect"]))
    what = f"the nearest is {_name(nearest)} (effect {nearest['effect']:.2f}, p {nearest['adjusted']:.2g})"
    if nearest["adjusted"] <= params.alpha:
        return NO_DRIFT, f"what differs is smaller than {params.min_effect:g}: {what}"
    return NO_DRIFT, f"none of {len(tests)} tests finds drift; {what}"


def _columns(part: Features, mask: np.ndarray) -> dict[str, np.ndarray]:
    return {name: part.rows[name].to_numpy()[mask] for name in ("characters", "tokens", "label", "score")}


def _name(test: dict[str, Any]) -> str:
    return f"{test['test']} of {test['slice']}" if test["slice"] else test["test"]


def _slices(params: Params, reference: Features, recent: Features) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(name, mask of the reference, mask of recent rows) of each slice with enough rows in both."""
    for column in recent.rows:
        if str(column).startswith(SLICE):
            before, now = reference.rows[column].to_numpy(), recent.rows[column].to_numpy()
            for value in sorted(set(now)):
                masks = before == value, now == value
                if min(int(mask.sum()) for mask in masks) >= params.min_rows:
                    yield f"{str(column).removeprefix(SLICE)}={value}", *masks
