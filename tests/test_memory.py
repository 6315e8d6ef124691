"""Memory goes by content: one long cell does not cost its length for each row, as numpy's arrays of strings do."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import PROJECT, make_rows, write_dataset

LONG, ROWS = 1_000_000, 1_200
BOUND = 1_000_000_000
"""Bytes. An array of ROWS strings as wide as the longest takes 4.8e9; these steps take 0.3e9 to 0.6e9 on short cells."""

MEASURED = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_DATA, (3 * 10**9, 3 * 10**9))  # so that a failure ends here and does not fill the machine
import importlib
from fineline.steps.command_line import main
code = main(importlib.import_module(f"components.{sys.argv[1]}.__main__").STEP, sys.argv[2:])
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(1024 * int(peak.split()[1]))  # not ru_maxrss, which begins with that of the process that started this one
sys.exit(code)
"""


def rows_with_long_cells() -> pd.DataFrame:
    rows = make_rows(ROWS)
    rows["annotators"] = [[label, label] for label in rows["label"]]
    rows["group"] = [f"g{number}" for number in range(ROWS)]
    for number, column in enumerate(("label", "group", "channel")):
        rows.loc[number, column] = column[0] * LONG
    rows.at[0, "annotators"] = ["l" * LONG, "card"]
    return rows


@pytest.mark.parametrize(
    ("step", "params", "flags"),
    [
        ("split", {}, ["splits"]),
        ("data_quality", {"on_truncation": "ignore", "on_near_duplicates": "ignore"}, ["clean", "quality"]),
    ],
)
def test_one_long_cell_does_not_multiply(step: str, params: dict, flags: list[str], tmp_path: Path) -> None:
    given = [
        part
        for name, path in {
            "--dataset": write_dataset(tmp_path / "data", rows_with_long_cells(), "ingest"),
            **{f"--{flag}": tmp_path / flag for flag in flags},
        }.items()
        for part in (name, str(path))
    ]
    command = [sys.executable, "-c", MEASURED, step, *given, "--params", json.dumps(params)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    assert int(done.stdout.splitlines()[-1]) < BOUND
