"""The live table, as it stands on terminals from narrow to wide."""

import re
import sys

import pytest

from pipelines.blocks import STEPS
from tests.conftest import PROJECT
from tests.terminal import shown

LONG = "2,276 of 2,326 rows stay, 50 in quarantine, 4 warnings; artifacts/quality/report.html and 漢字 " * 4
PROGRAM = """
import sys
from cli.live import Table
from pipelines.local import Task

with Table(sys.argv[2:]) as table:
    for name, state, seconds, line in (
        ("ingest", "done", 0.4, "2,326 rows"),
        ("data_quality", "failed", 12345.6, sys.argv[1]),
        ("train", "running", 0.0, sys.argv[1].replace(" ", "")),
    ):
        table.show(Task(name, state, seconds, line))
"""
ROW = re.compile(r"(?P<step>\w+) +(?P<state>[a-z]+) *((?P<seconds>[0-9]+\.[0-9])(  (?P<result>.+))?)?")


@pytest.mark.parametrize("columns", [60, 80, 100, 150, 220])
def test_step_state_and_seconds_are_whole_and_the_result_has_the_rest(columns: int) -> None:
    header, *lines = shown([sys.executable, "-c", PROGRAM, LONG, *STEPS], columns, cwd=PROJECT)
    assert header.split() == ["step", "state", "seconds", "result"]
    rows = {match["step"]: match.groupdict() for line in lines if (match := ROW.fullmatch(line))}
    assert list(rows) == list(STEPS)
    assert rows["ingest"] == {"step": "ingest", "state": "done", "seconds": "0.4", "result": "2,326 rows"}
    broken = rows["data_quality"]
    assert (broken["state"], broken["seconds"]) == ("failed", "12345.6")
    assert broken["result"].endswith("…")
    assert LONG.startswith(broken["result"][:-1].strip())
    assert len(broken["result"]) > columns - 45
    assert rows["train"]["state"] == "running"
    assert rows["train"]["seconds"]
    assert {row["state"] for name, row in rows.items() if name not in ("ingest", "data_quality", "train")} == {
        "waiting"
    }
