"""How many threads compute, and how they wait for each other: said here for every step, the server and the pyfunc.

OpenMP's threads (torch, scikit-learn) and ONNX Runtime's wait by spinning. That is quickest where each has a core of its own.
Where another process computes too, they spin away the time of those that they wait for: a training becomes several times
slower (benchmarks/busy.py, docs/performance.md). None of this changes a result.
"""

import os
from typing import Any

WAIT_BRIEFLY = {"GOMP_SPINCOUNT": "1000"}
"""Environment variables that let threads sleep soon; read when GNU's OpenMP is loaded, with torch or scikit-learn. Its default
is 300,000 rounds, and 0 (OMP_WAIT_POLICY=passive) wakes too many threads on a quiet machine."""


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def session_options(threads: int) -> Any:
    """onnxruntime.SessionOptions for runs of `threads` threads each, which do not spin; warnings are silent."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options
