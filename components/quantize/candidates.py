"""The candidates beside fp32: made, scored on every validation row, and held against the margins."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.quantize import precision, quality
from components.quantize.params import Params
from fineline.bundles.bundle import Bundle, gpu_provider, logits, open_bundle

FP32 = "fp32"
RUNGS: dict[str, precision.Scales] = {"int8": "per token", "int8 in blocks": "per block"}
"""The ladder of int8: the next rung is tried when the one before it leaves the margins."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """An open bundle, its logits of the validation rows, float32 (n, k), and what quantize.json says of it."""

    bundle: Bundle
    logits: np.ndarray
    figures: dict[str, Any]


def find(
    params: Params, source: Path, texts: Sequence[str], targets: np.ndarray, work: Path
) -> tuple[dict[str, Candidate], dict[str, str]]:
    """({name: candidate}, {name: why it was not tried}). fp32 is first; `work` is an empty folder for the others.

    int8 with a scale per token that leaves the margins is followed by int8 with a scale per block, which is nearer to fp32 and
    slower.
    """
    fp32 = _candidate(params, FP32, source, texts, targets)
    found = {FP32: fp32}
    skipped: dict[str, str] = {}
    for name in params.candidates:
        if name == "int8":
            found |= _ladder(params, fp32, texts, targets, work)
        elif gpu_provider():
            precision.write_fp16(source, work / name)
            found[name] = _candidate(params, name, work / name, texts, targets, fp32)
        else:
            skipped[name] = "ONNX Runtime has no GPU here, and CPUs compute fp16 slower than fp32"
    return found, skipped


def _ladder(
    params: Params, fp32: Candidate, texts: Sequence[str], targets: np.ndarray, work: Path
) -> dict[str, Candidate]:
    rungs: dict[str, Candidate] = {}
    for name, scales in RUNGS.items():
        target = work / name.replace(" ", "-")
        precision.write_int8(fp32.bundle.folder, target, scales, params.reduce_range)
        rungs[name] = _candidate(params, name, target, texts, targets, fp32)
        if not rungs[name].figures["violations"]:
            break
    return rungs


def _candidate(
    params: Params,
    name: str,
    folder: Path,
    texts: Sequence[str],
    targets: np.ndarray,
    fp32: Candidate | None = None,
) -> Candidate:
    bundle = open_bundle(folder, params.threads)
    found = logits(bundle, texts, params.batch_size, what=name)
    reference = found if fp32 is None else fp32.logits
    figures = {
        "precision": bundle.config["precision"],
        "bytes": precision.size(folder),
        **quality.figures(bundle.task, bundle.labels, targets, found, reference),
    }
    return Candidate(bundle, found, {**figures, "violations": quality.violations(params, bundle.task.metric, figures)})
