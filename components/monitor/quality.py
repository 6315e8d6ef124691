"""How often the model is right on recent texts: estimated from its confidence, and counted where there are labels."""

from typing import Any

import numpy as np

_DIGITS = 6
_Z = 1.959964  # 95 %


def estimated(scores: np.ndarray) -> dict[str, Any]:
    """The accuracy that labels of these texts would show, with its interval at 95 %, if `scores` (n,) are calibrated.

    Confidence-based performance estimation: a calibrated score is the probability that the label is right, so that their mean
    is the accuracy to expect (Hendrycks & Gimpel 2017; NannyML's CBPE), and n labels show it with the variance
    sum(p (1 - p)) / n^2. docs/monitoring.md has its error under shift, which no interval of this kind knows.
    """
    p = scores.astype(np.float64)
    error = _Z * float(np.sqrt((p * (1 - p)).sum())) / len(p)
    return _interval(float(p.mean()), float(p.mean()) - error, float(p.mean()) + error, len(p))


def counted(right: np.ndarray) -> dict[str, Any]:
    """The share of `right` (n,), bool, with its interval at 95 % (Wilson 1927)."""
    from scipy.stats import binomtest

    ends = binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson")
    return _interval(float(right.mean()), ends.low, ends.high, len(right))


def _interval(value: float, low: float, high: float, rows: int) -> dict[str, Any]:
    ends = {"accuracy": value, "low": max(low, 0.0), "high": min(high, 1.0)}
    return {**{name: round(float(end), _DIGITS) for name, end in ends.items()}, "rows": rows}
