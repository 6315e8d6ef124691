"""What a check found, and which rows leave because of it."""

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

EXAMPLES = 20


@dataclasses.dataclass(frozen=True)
class Check:
    """One check's outcome. `says` is what was asked for, in words; `figure` is compared with `bound`.

    `rows` are index labels of the rows that break it. With `spares_test`, rows of a predefined test split never leave.
    `details` are plain JSON values for quality.json and the report. `expectations` are those of Great Expectations that
    decided it, with their results.
    """

    name: str
    severity: str
    says: str
    passed: bool
    figure: float
    bound: float
    rows: list[int] = dataclasses.field(default_factory=list)
    spares_test: bool = False
    details: dict[str, Any] = dataclasses.field(default_factory=dict)
    expectations: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    @property
    def rejects(self) -> bool:
        return not self.passed and self.severity == "reject"


def leaving(check: Check, rows: "pd.DataFrame") -> list[int]:
    """Index labels of the rows that the check takes out of `rows`."""
    if check.passed or check.severity != "quarantine":
        return []
    spared = set(rows.index[is_test(rows)]) if check.spares_test else set()
    return [row for row in check.rows if row not in spared]


def is_test(rows: "pd.DataFrame") -> "pd.Series":
    """True for the rows of a predefined test split; bool, indexed like `rows`."""
    import pandas as pd

    if "split" not in rows:
        return pd.Series(False, index=rows.index)
    return rows["split"] == "test"
