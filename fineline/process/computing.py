"""How many threads compute, and how they wait for each other: said here for every step, the server and the pyfunc.

OpenMP's threads (torch, scikit-learn) wait by spinning. That is quickest where each has a core of its own. Where another process
computes too, they spin away the time of those that they wait for: a training becomes several times slower (benchmarks/busy.py,
docs/performance.md). `fineline.bundles.bundle.session_options` says the same to ONNX Runtime. None of this changes a result.
"""

import math
import os
from pathlib import Path

WAIT_BRIEFLY = {"GOMP_SPINCOUNT": "1000"}
"""Environment variables that let threads sleep soon; read when GNU's OpenMP is loaded, with torch or scikit-learn. Its default
is 300,000 rounds, and 0 (OMP_WAIT_POLICY=passive) wakes too many threads on a quiet machine."""
CPU_LIMITS = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))
"""Where Linux says, below CGROUPS, how many microseconds of all cores a container may use in how many: control groups 2 and 1."""
CGROUPS = Path("/sys/fs/cgroup")


def cores() -> int:
    """The cores this process may use: those it may run on, and of these as many as its container's CPU limit pays for.

    A pod sees every core of its node; with a thread on each it spends its limit at once and stands still until the next period.
    """
    seen = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(seen, _limit() or seen)


def thread_settings() -> dict[str, str]:
    """Environment variables for the libraries' threads: they wait briefly, and are no more than a CPU limit pays for."""
    return WAIT_BRIEFLY | ({"OMP_NUM_THREADS": str(cores())} if _limit() else {})


def _limit() -> int:
    """Cores of the container's CPU limit, rounded up; 0 without one."""
    for names in CPU_LIMITS:
        files = [CGROUPS / name for name in names]
        if all(file.is_file() for file in files):
            quota, period = " ".join(file.read_text() for file in files).split()
            return 0 if quota in ("max", "-1") else math.ceil(int(quota) / int(period))
    return 0
