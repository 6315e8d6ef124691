"""The frozen test set of a registered model, as it lies in MLflow: the newest state and its rows. `promote` makes it grow."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fineline.registry import archive, ledger
from fineline.rows.dataset import read_rows

if TYPE_CHECKING:
    import pandas as pd

SERIES = "test_set"
RETIRED = "retired"


def newest(server: Any, name: str) -> dict[str, Any] | None:
    """The newest state of the set: number, when, digest (sha256 of the file), run, path, rows, retired, joined, by; or None."""
    found = ledger.entries(server, ledger.run_of(server, name), SERIES)
    return found[-1] if found else None


def fetch(server: Any, name: str, entry: Mapping[str, Any]) -> "pd.DataFrame":
    """The rows of a state, retired ones too. Raises ResourceError when the file is nowhere as it was frozen."""
    with tempfile.TemporaryDirectory(prefix="fineline-") as folder:
        path = archive.fetch(server, name, entry["run"], entry["path"], entry["digest"], Path(folder))
        return read_rows(path).fillna({RETIRED: ""})
