"""How fast the candidates are here and now. Other programs disturb such figures, so all candidates take turns."""

import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fineline.bundles.bundle import Bundle, logits
from fineline.process import computing
from fineline.process.progress import progress

_WARM_UP = 10


def measure(bundles: Mapping[str, Bundle], texts: Sequence[str], rounds: int, batch_size: int) -> dict[str, Any]:
    """For each bundle p50_ms and p95_ms of one text, tokenizer included, over all texts and rounds, and texts_per_second
    in batches by length, the median of the rounds."""
    for bundle in bundles.values():
        for text in texts[:_WARM_UP]:
            logits(bundle, [text])
        logits(bundle, texts, batch_size)
    latencies: dict[str, list[float]] = {name: [] for name in bundles}
    rates: dict[str, list[float]] = {name: [] for name in bundles}
    turns = [name for _ in range(rounds) for name in bundles]
    shown = progress([list(texts)] * len(turns), "speed", total=len(turns) * len(texts), unit="texts")
    for name, turn in zip(turns, shown, strict=True):
        latencies[name] += [_seconds(bundles[name], [text], 1) for text in turn]
        rates[name].append(len(turn) / _seconds(bundles[name], turn, batch_size))
    return {
        name: {
            "p50_ms": round(1000 * float(np.percentile(latencies[name], 50)), 3),
            "p95_ms": round(1000 * float(np.percentile(latencies[name], 95)), 3),
            "texts_per_second": round(float(np.median(rates[name])), 1),
        }
        for name in bundles
    }


def spread(texts: Sequence[str], count: int) -> list[str]:
    """At most `count` of `texts`, in even steps through the rows."""
    steps = np.linspace(0, len(texts) - 1, min(count, len(texts))).round().astype(int)
    return [texts[i] for i in steps]


def machine() -> dict[str, Any]:
    """The processor's name, its cores that this process may use, and the version of ONNX Runtime."""
    import onnxruntime

    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": computing.cores(),
        "onnxruntime": onnxruntime.__version__,
    }


def _seconds(bundle: Bundle, texts: Sequence[str], batch_size: int) -> float:
    started = time.perf_counter()
    logits(bundle, texts, batch_size)
    return time.perf_counter() - started
