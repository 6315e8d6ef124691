"""How many threads compute: as many as the process may use cores, and a container's CPU limit pays for."""

import os
from pathlib import Path

import pytest

from fineline.process import computing


@pytest.fixture
def limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """limit(name=text, ...): what Linux says of the control group; 8 cores are to be seen."""
    monkeypatch.setattr(computing, "CGROUPS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))

    def say(files: dict[str, str]) -> None:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(f"{text}\n")

    return say


V1 = "cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"


@pytest.mark.parametrize(
    ("files", "cores", "omp"),
    [
        ({}, 8, None),
        ({"cpu.max": "max 100000"}, 8, None),
        ({"cpu.max": "200000 100000"}, 2, "2"),
        ({"cpu.max": "150000 100000"}, 2, "2"),
        ({"cpu.max": "50000 100000"}, 1, "1"),
        ({"cpu.max": "3200000 100000"}, 8, "8"),  # a limit above what is there
        ({V1[0]: "-1", V1[1]: "100000"}, 8, None),
        ({V1[0]: "400000", V1[1]: "100000"}, 4, "4"),
        ({V1[0]: "400000"}, 8, None),
    ],
)
def test_a_cpu_limit_counts(limit, files: dict[str, str], cores: int, omp: str | None) -> None:
    limit(files)
    assert computing.cores() == cores
    assert computing.thread_settings().get("OMP_NUM_THREADS") == omp
