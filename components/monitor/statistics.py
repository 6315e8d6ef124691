"""Two-sample tests: whether recent rows could come from where the reference came from. Plain functions on arrays.

Each gives (p, effect). Every p-value holds for few rows too. Every effect is a difference between two shares of rows, 0 to 1,
and so at most the total variation distance between the two, but for the noise of few rows: when a share e of the recent rows
is of another kind, no effect is larger than e.
"""

from collections.abc import Mapping

import numpy as np
from scipy import linalg, stats

_FOLDS = 5
_AT_ONCE = 250
_RIDGE = 0.3  # of the rows: between 0.03 and 10 it found most (docs/monitoring.md)


def values(reference: np.ndarray, recent: np.ndarray) -> tuple[float, float]:
    """Numbers such as lengths: the Kolmogorov-Smirnov test; the effect is its D, the largest difference in the share of rows
    up to some value. With ties the p-value is too large, never too small (Noether 1963)."""
    found = stats.ks_2samp(reference, recent, method="asymp")
    return float(found.pvalue), float(found.statistic)


def shares(reference: np.ndarray, recent: np.ndarray, permutations: int, seed: int) -> tuple[float, float]:
    """Categories such as labels: Pearson's chi-square with the p-value of `permutations` random tables of the same margins,
    so that rare categories need no merging; the effect is half the sum of the differences in share."""
    names, codes = np.unique(np.concatenate([reference, recent]), return_inverse=True)
    if len(names) == 1:
        return 1.0, 0.0
    table = np.stack([np.bincount(part, minlength=len(names)) for part in np.split(codes, [len(reference)])])
    method = stats.MonteCarloMethod(n_resamples=permutations, rng=np.random.default_rng(seed))
    found = stats.chi2_contingency(table, correction=False, method=method)
    share = table / table.sum(axis=1, keepdims=True)
    return float(found.pvalue), float(np.abs(share[0] - share[1]).sum() / 2)


def tokens(
    reference: Mapping[int, int], rows: int, recent: Mapping[int, int], recent_rows: int, count: int
) -> list[tuple[int, float, float]]:
    """(token id, p, difference in share) for the `count` tokens that most rows of both hold; the smallest p first.

    The counts are of rows that hold a token, which are independent of each other as the tokens of one text are not: Fisher's
    exact test (two-sided: twice the smaller side) for each, adjusted for their number (Bonferroni). Choosing the tokens
    by both counts together is fair, as that test takes their sum as given.
    """
    both = sorted({*reference, *recent}, key=lambda token: (-reference.get(token, 0) - recent.get(token, 0), token))
    chosen = both[:count]
    before, now = (np.array([found.get(token, 0) for token in chosen]) for found in (reference, recent))
    law = stats.hypergeom(rows + recent_rows, before + now, recent_rows)
    p = np.minimum(2 * np.minimum(law.cdf(now), law.sf(now - 1)) * len(chosen), 1.0)
    difference = now / recent_rows - before / rows
    return [(chosen[i], float(p[i]), float(difference[i])) for i in np.argsort(p, kind="stable")]


def vectors(reference: np.ndarray, recent: np.ndarray, permutations: int, seed: int) -> tuple[float, float, np.ndarray]:
    """Embeddings: the classifier two-sample test (Lopez-Paz & Oquab 2017); (p, effect, score of each recent row).

    A ridge regression learns to tell the two apart; 5 folds give each row the score of a classifier that has not seen it. The
    statistic is the correlation of scores and origins, its p-value that of `permutations` of the origins, each trained anew
    (Phipson & Smyth 2010). The effect is the D of Kolmogorov and Smirnov on those scores: how well a threshold tells recent
    rows from the others, as the difference of the two shares above it.
    """
    rng = np.random.default_rng(seed)
    pooled = np.concatenate([reference, recent]).astype(np.float32)
    pooled -= pooled.mean(axis=0)
    deviation = pooled.std(axis=0)
    pooled /= np.where(deviation > 0, deviation, 1.0)
    origin = np.repeat(np.array([0, 1], dtype=np.float32), [len(reference), len(recent)])
    folds = np.array_split(rng.permutation(len(pooled)), _FOLDS)
    trained = [_trained(pooled, fold) for fold in folds]

    def scores(origins: np.ndarray) -> np.ndarray:
        """Scores (n, b) of origins (n, b)."""
        result = np.empty_like(origins)
        for fold, (rest, solve) in zip(folds, trained, strict=True):
            centred = origins[rest] - origins[rest].mean(axis=0)
            result[fold] = pooled[fold] @ linalg.cho_solve(solve, pooled[rest].T @ centred)
        return result

    own = scores(origin[:, None])[:, 0]
    observed = _correlation(own[:, None], origin[:, None])[0]
    reached = 0
    for start in range(0, permutations, _AT_ONCE):
        size = min(_AT_ONCE, permutations - start)
        shuffled = rng.permuted(np.repeat(origin[:, None], size, axis=1), axis=0)
        reached += int((_correlation(scores(shuffled), shuffled) >= observed).sum())
    effect = stats.ks_2samp(own[origin == 1], own[origin == 0], alternative="less", method="asymp").statistic
    return (1 + reached) / (1 + permutations), float(effect), own[len(reference) :]


def _trained(pooled: np.ndarray, fold: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, bool]]:
    """(rows outside of `fold`, the factor of their ridge regression): all that does not depend on the rows' origins."""
    rest = np.setdiff1d(np.arange(len(pooled)), fold)
    gram = pooled[rest].T @ pooled[rest]
    return rest, linalg.cho_factor(gram + _RIDGE * len(rest) * np.eye(len(gram), dtype=gram.dtype), lower=True)


def _correlation(scores: np.ndarray, origins: np.ndarray) -> np.ndarray:
    """Pearson's correlation of each column of scores (n, b) with that of origins (n, b); 0 where a score is constant."""
    scores, origins = scores - scores.mean(axis=0), origins - origins.mean(axis=0)
    size = np.sqrt((scores**2).sum(axis=0) * (origins**2).sum(axis=0))
    return np.divide((scores * origins).sum(axis=0), size, out=np.zeros_like(size), where=size > 0)
