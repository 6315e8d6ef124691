"""The budget of wrong promotions: `alpha` for the whole life of a registered model, shared out over its comparisons.

Every comparison of a challenger with the champion is a question to the same frozen rows, so its level comes out of one
budget (alpha spending: Bonferroni's inequality over the questions, valid however their answers depend on each other). Half of
the budget is open from the beginning, half is a reserve that fresh rows open: of a set that doubles, half of what is left of
it. So the levels of all questions ever asked add up to less than alpha, and yet none is zero (docs/decisions/0011).

The questions are the series `question` of the ledger's run, each written before its answer is looked at, once and for all.
"""

import dataclasses
import datetime
from typing import Any

from fineline.registry import ledger

SERIES = "question"

_OPEN = 0.5


@dataclasses.dataclass(frozen=True)
class Budget:
    """What is left, as shares of alpha: `open` may be spent, `reserve` waits for fresh rows. `questions` were asked so far,
    the last one on `rows` rows."""

    open: float = _OPEN
    reserve: float = 1 - _OPEN
    questions: int = 0
    rows: int = 0

    def share(self) -> float:
        """The share of alpha at which the next question is answered: 1/2, 1/6, 1/12, ... 1/(k (k + 1)) of what was open at
        first, without fresh rows; what was spent is not spent again."""
        return self.open**2 / (self.open + _OPEN)

    def refilled(self, fresh: int) -> "Budget":
        """With `fresh` rows that no question has used: that share of the new set of the reserve is opened."""
        opened = self.reserve * fresh / (self.rows + fresh) if self.questions and fresh > 0 else 0.0
        return dataclasses.replace(self, open=self.open + opened, reserve=self.reserve - opened)

    def spent(self, rows: int) -> "Budget":
        """After one more question, on `rows` rows."""
        return Budget(self.open - self.share(), self.reserve, self.questions + 1, max(self.rows, rows))


@dataclasses.dataclass(frozen=True)
class Level:
    """The level of one question, and what the one after it would have: `after` is the budget once it is answered."""

    alpha: float
    now: float
    after: Budget

    @property
    def questions(self) -> int:
        """Questions that the test set has answered, this one included."""
        return self.after.questions

    def next(self, fresh: int) -> float:
        """The level of the next question, once `fresh` rows have joined."""
        return self.alpha * self.after.refilled(fresh).share()


def first(alpha: float, rows: int = 0) -> Level:
    """The level of a model's first question, asked of `rows` rows."""
    budget = Budget()
    return Level(alpha, alpha * budget.share(), budget.spent(rows))


def ask(server: Any, name: str, alpha: float, asked: dict[str, Any], rows: int) -> Level:
    """Writes the question `asked` (champion, challenger, anchor, test_set) of `rows` rows into the ledger; gives its level.

    A question that was asked before, word for word, has the same answer, so it keeps its level and costs nothing.
    """
    run_id = ledger.run_of(server, name)
    while True:
        written = ledger.entries(server, run_id, SERIES)
        level, known = foreseen(written, alpha, asked, rows)
        if known:
            return level
        when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        entry = {"when": when, "who": ledger.who(), **asked, "rows": rows}
        if ledger.append(server, run_id, SERIES, len(written) + 1, entry):
            ledger.mirror(server, name)
            return level


def foreseen(written: list[dict[str, Any]], alpha: float, asked: dict[str, Any], rows: int) -> tuple[Level, bool]:
    """The level that the question `asked` has after those `written`, and whether it is one of them."""
    budget, shares = _replayed(written)
    for entry, share in zip(written, shares, strict=True):
        if all(entry.get(key) == value for key, value in asked.items()):
            return Level(alpha, alpha * share, budget), True
    budget = budget.refilled(rows - budget.rows)
    return Level(alpha, alpha * budget.share(), budget.spent(rows)), False


def _replayed(written: list[dict[str, Any]]) -> tuple[Budget, list[float]]:
    """What the questions `written` leave, and the share of alpha that each had."""
    budget, shares = Budget(), []
    for entry in written:
        budget = budget.refilled(entry["rows"] - budget.rows)
        shares.append(budget.share())
        budget = budget.spent(entry["rows"])
    return budget, shares
