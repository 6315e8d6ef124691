"""python benchmarks/promotion_nights.py --trials 1000

The promotion gate over months, by simulation: every night another challenger meets the same frozen rows, or some more. One
table each for equal models, better ones, a question that is asked again after more rows, small steps down, gains as they are
shown, and weak labels. Accuracy decides; the rules are those of components/promote, the budget is its own.
"""

import argparse
import functools
import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.promotion_power import ACCURACY, DISCORDANT
from components.promote.budget import Budget, Level, first
from components.promote.comparison import compare
from components.promote.params import Params
from components.promote.parts import NO_WORSE, UNKNOWN, WORSE
from components.promote.statistics import accuracy_bound, mcnemar, unselected
from components.promote.verdict import INCONCLUSIVE, PROMOTE, judge
from fineline.tasks import get_task

PARAMS = Params.model_validate({"metrics": ["accuracy"]})
ALPHA, MARGIN = PARAMS.alpha, PARAMS.metric_margin
NIGHTS = (30, 90)
ROWS = (455, 2000)
Generator = np.random.Generator


def main() -> int:
    flags = _flags()
    for table in (_equal, _better, _obeying, _ratchet, _shown, _weak):
        table(flags.trials)
        print(flush=True)
    return 0


def _equal(trials: int) -> None:
    print("Months in which equal models change places, in % (level 5 %):")
    _row("test rows", "nights", "5 % every night", "by the budget", "by the budget, 10 fresh rows a night")
    for rows, nights in itertools.product(ROWS, NIGHTS):
        months = [equal_month(rows, nights, *how) for how in ((0, False), (0, True), (10, True))]
        _row(f"{rows:,}", nights, *(f"{100 * share(month, trials, rows + nights):.1f}" for month in months))


def _better(trials: int) -> None:
    print("A challenger that is truly better, promoted on the first question / within 30 nights, in %:")
    gains = (0.01, 0.02, 0.03, 0.05)
    _row("test rows", *(f"{100 * gain:+.0f} points" for gain in gains))
    for rows in ROWS:
        found = [[share(better(rows, nights, gain), trials, rows) for nights in (1, 30)] for gain in gains]
        _row(f"{rows:,}", *(f"{100 * once:.0f} / {100 * month:.0f}" for once, month in found))


def _obeying(trials: int) -> None:
    print("Equal models; who is told 'about N more rows' brings them and asks again, up to five times: promoted, in %:")
    _row("test rows at first", "promoted")
    for rows in ROWS:
        _row(f"{rows:,}", f"{100 * share(obeying(rows), trials // 5, rows):.1f}")


def _ratchet(trials: int) -> None:
    print("`non_inferior`, margin 1 point, every challenger half a point worse than the champion:")
    _row("test rows", "nights", "anchor and budget", "points lost, mean", "95 %", "more than the margin, in %")
    for rows, nights, anchored in itertools.product((2000, 10_000), NIGHTS, (False, True)):
        month = functools.partial(ratchet, rows=rows, nights=nights, anchored=anchored)
        lost = 100 * np.array(list(_repeated(month, trials // 5, rows)))
        figures = f"{lost.mean():.2f}", f"{np.quantile(lost, 0.95):.2f}", f"{100 * np.mean(lost > 100 * MARGIN):.1f}"
        _row(f"{rows:,}", nights, "yes" if anchored else "no", *figures)


def _shown(trials: int) -> None:
    print(
        "Promoted on the first question: the gain as measured and as corrected (medians, points), and how often the corrected"
    )
    print("90 % interval holds the truth:")
    _row("test rows", "true", "measured", "corrected", "holds, in %")
    for rows, gain in itertools.product(ROWS, (0.005, 0.02, 0.03)):
        asked = _repeated(functools.partial(shown, rows=rows, gain=gain), 20 * trials, rows)
        found = np.array([promoted for promoted in asked if promoted])
        held = np.mean((found[:, 2] <= gain) & (found[:, 3] >= gain))
        medians = 100 * np.median(found[:, :2], axis=0)
        _row(f"{rows:,}", f"{100 * gain:.1f}", *(f"{median:.1f}" for median in medians), f"{100 * held:.0f}")


def _weak(trials: int) -> None:
    print(
        "5 points better on 2,000 rows, but for one label: how often that label is called so, and the whole promoted, in %:"
    )
    _row("rows of the label", "recall lost", WORSE, UNKNOWN, NO_WORSE, "promoted")
    for rows, loss in ((27, 0.3), (20, 0.4), (200, 0.1), (200, 0.0)):
        found = list(_repeated(functools.partial(weak_label, rows=rows, loss=loss), trials // 10, rows))
        states = Counter(state for _verdict, state in found)
        promoted = sum(verdict == PROMOTE for verdict, _state in found)
        counts = [states[WORSE], states[UNKNOWN], states[NO_WORSE], promoted]
        _row(rows, f"{100 * loss:.0f} points", *(f"{100 * count / len(found):.0f}" for count in counts))


def _row(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def equal_month(rows: int, nights: int, fresh: int, budgeted: bool) -> Callable[[Generator], bool]:
    """Whether any of `nights` challengers, each as good as the champion, is promoted."""

    def month(generator: Generator) -> bool:
        champion = generator.random(rows + fresh * nights) < ACCURACY
        budget = Budget()
        for night in range(nights):
            asked = rows + fresh * night
            budget = budget.refilled(asked - budget.rows)
            level = ALPHA * budget.share() if budgeted else ALPHA
            budget = budget.spent(asked)
            if mcnemar(*_met(generator, champion[:asked], 0.0)) <= level:
                return True
        return False

    return month


def better(rows: int, nights: int, gain: float) -> Callable[[Generator], bool]:
    """Whether a challenger that is better by `gain`, another one every night, is promoted within `nights`."""

    def month(generator: Generator) -> bool:
        champion = generator.random(rows) < ACCURACY
        budget = Budget()
        for _night in range(nights):
            level, budget = ALPHA * budget.share(), budget.spent(rows)
            if mcnemar(*_met(generator, champion, gain)) <= level:
                return True
        return False

    return month


def obeying(rows: int) -> Callable[[Generator], bool]:
    """Whether one challenger, as good as the champion, is promoted by who brings the rows that each verdict asks for."""
    task = get_task("single_label")

    def asked_again(generator: Generator) -> bool:
        size, level = rows, first(ALPHA, rows)
        champion, challenger = np.zeros(0, dtype=bool), np.zeros(0, dtype=bool)
        for _turn in range(6):
            more = generator.random(size - len(champion)) < ACCURACY
            champion = np.concatenate([champion, more])
            challenger = np.concatenate([challenger, _other(generator, more, 0.0)])
            right = {"champion": champion, "challenger": challenger}
            given = {name: np.eye(2)[np.where(of, 0, 1)] for name, of in right.items()}
            found = compare(PARAMS, level.now, task, ["a", "b"], np.zeros(size, dtype=int), given)
            verdict = judge(PARAMS, level, found)
            if verdict["verdict"] != INCONCLUSIVE or verdict["more_rows"] > 20_000:
                return verdict["verdict"] == PROMOTE
            fresh = verdict["more_rows"]
            budget = level.after.refilled(fresh)
            size += fresh
            level = Level(ALPHA, ALPHA * budget.share(), budget.spent(size))
        return False

    return asked_again


def ratchet(generator: Generator, *, rows: int, nights: int, anchored: bool) -> float:
    """How much accuracy is lost when each night's challenger is half a point worse than the champion and takes its place
    where it is no worse by the margin: than the champion, and where `anchored` than the first, by the budget."""
    anchor = generator.random(rows) < ACCURACY
    champion, lost, budget = anchor, 0.0, Budget()
    for _night in range(nights):
        level, budget = ALPHA * budget.share(), budget.spent(rows)
        challenger = _other(generator, champion, -0.005)
        pairs = [champion, anchor] if anchored else [champion]
        at = level if anchored else ALPHA
        if all(accuracy_bound(*_changed(pair, challenger), rows, at) > -MARGIN for pair in pairs):
            champion, lost = challenger, lost + 0.005
    return lost


def shown(generator: Generator, *, rows: int, gain: float) -> tuple[float, float, float, float] | None:
    """(measured gain, corrected gain, its bounds) of a challenger that is promoted on the first question, else None."""
    level = first(ALPHA).now
    gained, lost = _met(generator, generator.random(rows) < ACCURACY, gain)
    if mcnemar(gained, lost) > level:
        return None
    differing = gained + lost
    least = next(wins for wins in range(differing // 2, differing + 1) if mcnemar(wins, differing - wins) <= level)
    error = float(np.sqrt(rows * differing - (gained - lost) ** 2) / rows**1.5)
    measured = (gained - lost) / rows
    corrected = unselected(measured, error, (2 * least - differing - 1) / rows, ALPHA)
    return measured, corrected["gain"], corrected["low"], corrected["high"]


def weak_label(generator: Generator, *, rows: int, loss: float) -> tuple[str, str]:
    """The verdict on a challenger that is 5 points better on 2,000 rows, and the state of its label of `rows` rows whose recall
    is lower by `loss`."""
    targets = np.r_[np.zeros(rows, dtype=int), generator.integers(1, 10, 2000 - rows)]
    champion = generator.random(2000) < ACCURACY
    challenger = _other(generator, champion, 0.05)
    challenger[:rows] = champion[:rows] & (generator.random(rows) >= loss / ACCURACY)
    given = {
        name: np.eye(10)[np.where(right, targets, (targets + 1) % 10)]
        for name, right in (("champion", champion), ("challenger", challenger))
    }
    level = first(ALPHA)
    found = compare(PARAMS, level.now, get_task("single_label"), list("abcdefghij"), targets, given)
    state = next(part["state"] for part in found["parts"] if part["name"] == "a")
    return judge(PARAMS, level, found)["verdict"], state


def share(month: Callable[[Generator], bool], trials: int, seed: int) -> float:
    """The share of `trials` in which `month` is true."""
    return float(np.mean(list(_repeated(month, trials, seed))))


def _repeated(one: Callable[[Generator], Any], trials: int, seed: int) -> Iterator[Any]:
    generator = np.random.default_rng(seed)
    return (one(generator) for _ in range(trials))


def _other(generator: Generator, champion: np.ndarray, gain: float) -> np.ndarray:
    """Which rows another model has right that is better by `gain`: one row in ten is right by one of the two only."""
    keeps = generator.random(len(champion)) >= (DISCORDANT - gain) / 2 / ACCURACY
    wins = generator.random(len(champion)) < (DISCORDANT + gain) / 2 / (1 - ACCURACY)
    return np.where(champion, keeps, wins)


def _met(generator: Generator, champion: np.ndarray, gain: float) -> tuple[int, int]:
    return _changed(champion, _other(generator, champion, gain))


def _changed(champion: np.ndarray, challenger: np.ndarray) -> tuple[int, int]:
    return int((challenger & ~champion).sum()), int((champion & ~challenger).sum())


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
