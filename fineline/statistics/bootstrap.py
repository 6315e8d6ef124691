"""Samples of the bootstrap over rows (Efron and Tibshirani 1993, An Introduction to the Bootstrap), the same for every model."""

from collections.abc import Iterator

import numpy as np

_DRAWN_AT_ONCE = 2_000_000  # about 100 MB while they are counted


def draws(rows: int, samples: int, seed: int) -> Iterator[np.ndarray]:
    """`samples` samples of `rows` of the `rows` rows, some at a time: int64 (b, rows)."""
    generator = np.random.default_rng(seed)
    at_once = max(1, min(samples, _DRAWN_AT_ONCE // rows))
    for start in range(0, samples, at_once):
        yield generator.integers(0, rows, size=(min(at_once, samples - start), rows))


def weights(drawn: np.ndarray) -> np.ndarray:
    """How often each row is in each sample, float64 (b, n): `weights @ counts` are the sums of the samples."""
    samples, rows = drawn.shape
    offsets = np.arange(samples)[:, None] * rows
    return np.bincount((drawn + offsets).ravel(), minlength=samples * rows).reshape(samples, rows).astype(np.float64)
