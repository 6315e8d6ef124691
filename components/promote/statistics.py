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


def accuracy_bound(gained: int, lost: int, rows: int, level: float) -> float:
    """One-sided lower bound of the gain in accuracy at `level`: the largest loss that `worse_than` does not rule out.

    Tango's (1998) score interval, which holds its level for few rows and any level. The upper bound of the gain is minus the
    lower bound with `gained` and `lost` exchanged.
    """
    from scipy.optimize import brentq

    def excess(margin: float) -> float:  # falls with the margin: a larger loss is ruled out more surely
        return worse_than(lost, gained, rows, -margin) - level

    edge = 1 - 1e-9
    if excess(-edge) <= 0:
        return edge
    return -1.0 if excess(edge) >= 0 else -float(brentq(excess, -edge, edge, xtol=1e-7))


def exchanged(differences: np.ndarray, observed: float) -> float:
    """One-sided p-value of an `observed` gain, from `differences` float64 (b,): the gains after the two models' answers changed
    places on rows chosen by a coin (permutation of the paired answers; Good 2005, Permutation, Parametric and Bootstrap
    Tests, ch. 3).

    Under equal models every exchange is as likely as what was seen, so the share of gains at least as large is exact. Where
    fewer than ten are, the tail is bounded by Hoeffding's (1963) inequality for a sum of fair signs, exp(-z^2 / 2).
    """
    beyond = int((differences >= observed - 1e-12).sum())
    if beyond >= 10:
        return (1 + beyond) / (1 + len(differences))
    spread = float(np.sqrt(np.mean(np.square(differences))))
    return float(np.exp(-0.5 * (observed / spread) ** 2)) if spread and observed > 0 else 1.0


def unselected(gain: float, error: float, threshold: float, alpha: float) -> dict[str, float]:
    """{gain, low, high}: a gain that is shown because it lay above `threshold`, corrected for that.

    The median-unbiased estimate and one-sided bounds at `alpha` of a normal mean, given that the estimate was above the
    threshold (Zhong and Prentice 2008, Bias-reduced estimators and confidence intervals for odds ratios in genome-wide
    association studies, Biostatistics 9). What only just passed may have been luck altogether: the lower bound is then -1.
    """
    from scipy.optimize import brentq

    if error <= 0:
        return {"gain": gain, "low": gain, "high": gain}
    seen, edge = gain / error, min(threshold, gain) / error

    def at(share: float) -> float:
        def excess(mean: float) -> float:
            # share of the estimates above the edge that are above what was seen, in logarithms: both are tiny far out
            return float(norm.logsf(seen - mean) - norm.logsf(edge - mean) - np.log(share))

        low, high = seen - 40.0, seen + 10.0
        return low if excess(low) > 0 else float(brentq(excess, low, high))

    return {
        key: float(np.clip(at(share) * error, -1, 1))
        for key, share in (("gain", 0.5), ("low", alpha), ("high", 1 - alpha))
    }


def loss_seen(rows: int, discordant: float, margin: float, level: float, power: float) -> float:
    """The loss in accuracy on `rows` rows that `worse_than` at `level` calls worse with probability `power`, 0 to 1.

    `discordant` is the share of rows on which exactly one model is right where nothing is lost. By simulation-free normal
    power: the loss whose expected score lies z_power of its own standard errors above the critical value. 1.0 when no loss is
    seen so surely.
    """
    z_level, z_power = norm.isf(level), norm.isf(1 - power)
    for loss in np.linspace(margin, 1.0, 200):
        share = max(discordant, loss)
        own = np.sqrt(max(share - loss**2, 1e-12) / rows)
        edge = np.sqrt(max(max(discordant, margin) - margin**2, 1e-12) / rows)
        if loss - margin >= z_level * edge + z_power * own:
            return float(round(loss, 3))
    return 1.0
