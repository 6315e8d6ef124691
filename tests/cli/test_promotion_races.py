"""Four promoters at once. Ten rounds here; benchmarks/promotion_races.py runs fifty, with the figures of docs/promotion.md."""

import contextlib
from pathlib import Path

import pytest

from benchmarks.promotion_races import race
from tests.mlflow_server import POSTGRESQL, postgresql, running

ROUNDS = 10

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_the_best_wins_and_the_ledger_holds(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if store == "postgresql" and not POSTGRESQL:
        pytest.skip("no PostgreSQL on this machine: apt-get install postgresql")
    for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"):
        monkeypatch.setenv(variable, "")  # race() sets them; here they end with the test
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(postgresql()) if store == "postgresql" else ""
        server = stack.enter_context(running(tmp_path / "server", address))
        found = race(tmp_path / "work", server.uri, ROUNDS)
    assert found["contradictions"] == []
    assert found["rounds"] == ROUNDS
