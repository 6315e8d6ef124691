"""Paired statistics of two models on the same rows: plain functions on arrays and counts."""

import numpy as np
from scipy.stats import binomtest, norm


def mcnemar(gained: int, lost: int) -> float:
    """One-sided p-value that the challenger is right more often: McNemar's exact test (McNemar 1947).

    `gained` rows are right only by the challenger, `lost` only by the champion; under equal models each of them is a fair
    coin, whatever the rows that both get right or wrong. 1.0 when there is none.
    """
    return float(binomtest(gained, gained + lost, 0.5, alternative="greater").pvalue) if gained + lost else 1.0


def worse_than(gained: int, lost: int, rows: int, margin: float) -> float:
    """One-sided p-value that the accuracy fell by more than `margin` (0 to 1): the paired score test of Tango (1998).

    H0: accuracy(challenger) - accuracy(champion) >= -margin. The variance is that of the likeliest model on the edge of H0,
    so the test holds for few rows and for no differing answers too (Equivalence test and confidence interval for the
    difference in proportions for the paired-sample design, Statistics in Medicine 17).
    """
    edge = -margin
    a = 2 * rows
    b = (2 * rows - gained + lost) * edge - gained - lost
    c = -lost * edge * (1 - edge)
    only_champion = (np.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = rows * (2 * only_champion + edge * (1 - edge))
    excess = gained - lost - rows * edge
    if variance <= 0:
        return 1.0 if excess >= 0 else 0.0
    return float(norm.cdf(excess / np.sqrt(variance)))


def rows_to_show(gain: float, discordant: float, alpha: float, power: float) -> float:
    """Rows on which McNemar's one-sided test at `alpha` finds a true `gain` in accuracy with probability `power`.

    `discordant` is the share of rows on which exactly one of the two is right, at least `gain` (Connor 1987, Sample size for
    testing differences in proportions for the paired-sample design, Biometrics 43). Infinite for a gain of 0 or less.
    """
    if gain <= 0:
        return float("inf")
    discordant = max(discordant, gain)
    z_alpha, z_power = norm.isf(alpha), norm.isf(1 - power)
    return float((z_alpha * np.sqrt(discordant) + z_power * np.sqrt(max(discordant - gain**2, 0.0))) ** 2 / gain**2)


def rows_to_separate(distance: float, error: float, rows: int, alpha: float, power: float) -> float:
    """Rows on which a difference lies on the right side of a bound that is `distance` away, with probability `power`.

    `error` is its standard error on `rows` rows, which falls with the root of the rows. Infinite for a distance of 0 or less.
    """
    if distance <= 0:
        return float("inf")
    return float(rows * ((norm.isf(alpha) + norm.isf(1 - power)) * error / distance) ** 2)
