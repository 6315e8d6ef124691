"""Kubeflow's side of a step: `--executor-input` is its `{{$}}`, and executor_output.json tells it what came out.

The names of a component's output artifacts are the step's output flags. Beside them a component may declare `metrics`
(system.Metrics, numbers), `classification` (system.ClassificationMetrics, confusion matrix and ROC), `html` (system.HTML,
the step's report) and output parameters named like a figure of the manifests or an entry of run.json beside them. The format
is that of kfp's own executor (kfp/dsl/executor.py, 2.17): values must not be null or NaN. This module needs no kfp.
"""

import csv
import json
import math
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fineline.artifacts.folders import REPORT, read_manifest, read_run, write_json
from fineline.kubeflow import delivery
from fineline.process.errors import UsageError

CONFUSION = Path("plots") / "confusion.csv"
ROC = Path("plots") / "roc.csv"


def parse(executor_input: str) -> dict[str, Any]:
    """The `{{$}}` that Kubeflow gave. Raises UsageError when it is none."""
    try:
        parsed = json.loads(executor_input)
        parsed["outputs"]["outputFile"]
    except (json.JSONDecodeError, KeyError, TypeError):
        raise UsageError(
            "--executor-input is not the JSON that Kubeflow gives", "pass {{$}} in the component, or leave the flag out"
        ) from None
    return parsed


def write_output(executor_input: dict[str, Any], outputs: Mapping[str, Path]) -> None:
    """Writes executor_output.json for the artifact folders `outputs` (by flag), and each output parameter to its file."""
    asked = executor_input["outputs"]  # what the step does not know of it is Kubeflow's own, and left alone
    manifests = {name: read_manifest(folder) for name, folder in outputs.items()}
    figures: dict[str, Any] = {}
    for manifest in manifests.values():
        figures |= delivery.encoded({"digest": manifest.digest, **_flat(manifest.figures)})
    numbers = {name: value for name, value in figures.items() if isinstance(value, int | float)}
    metadata: dict[str, dict[str, Any]] = {
        name: delivery.encoded({"digest": manifest.digest, "kind": manifest.kind, **_flat(manifest.figures)})
        for name, manifest in manifests.items()
    }
    metadata |= {"metrics": numbers, "classification": _classification(outputs), "html": {}}
    artifacts = {}
    for name, entry in asked.get("artifacts", {}).items():
        if name not in metadata:  # such as executor-logs, which the driver adds for the launcher to fill
            continue
        runtime = entry["artifacts"][0]
        if name == "html":
            _copy_report(outputs, local_path(runtime["uri"]))
        artifacts[name] = {"artifacts": [{"name": runtime["name"], "uri": runtime["uri"], "metadata": metadata[name]}]}
    for folder in outputs.values():
        figures = {**delivery.encoded(read_run(folder)), **figures}
    parameters = {}
    for name, entry in asked.get("parameters", {}).items():
        if name not in figures:
            raise UsageError(
                f"the component declares a parameter {name} that the step does not give", "correct component.py"
            )
        parameters[name] = figures[name]
        file = Path(entry["outputFile"])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            figures[name] if isinstance(figures[name], str) else json.dumps(figures[name]), encoding="utf-8"
        )
    target = Path(asked["outputFile"])
    target.parent.mkdir(parents=True, exist_ok=True)
    write_json(target, {"artifacts": artifacts, "parameterValues": parameters})


def local_path(uri: str) -> Path:
    """Where Kubeflow's launcher keeps the artifact of `uri` in the container: s3://bucket/key at /s3/bucket/key."""
    scheme, separator, rest = uri.partition("://")
    return Path("/", scheme.replace("gs", "gcs"), rest) if separator else Path(uri)


def _copy_report(outputs: Mapping[str, Path], target: Path) -> None:
    report = next(path for folder in outputs.values() if (path := folder / REPORT).is_file())
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(report, target)


def _flat(figures: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested figures by their dotted names; only text, truth values and finite numbers."""
    flat: dict[str, Any] = {}
    for name, value in figures.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{before}{name}.")
        elif isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
            flat[f"{before}{name}"] = value
    return flat


def _classification(outputs: Mapping[str, Path]) -> dict[str, Any]:
    """confusionMatrix and confidenceMetrics as Kubeflow draws them, from the plots of the output that has them."""
    found: dict[str, Any] = {}
    for folder in outputs.values():
        if (folder / CONFUSION).is_file():
            pairs = Counter((row["actual"], row["predicted"]) for row in _rows(folder / CONFUSION))
            labels = sorted({label for pair in pairs for label in pair})
            rows = [{"row": [pairs[true, said] for said in labels]} for true in labels]
            found["confusionMatrix"] = {
                "annotationSpecs": [{"displayName": label} for label in labels],
                "rows": rows,
            }
        if (folder / ROC).is_file():
            found["confidenceMetrics"] = [
                {
                    "confidenceThreshold": min(float(row["threshold"]), 1.0),
                    "falsePositiveRate": float(row["fpr"]),
                    "recall": float(row["tpr"]),
                }
                for row in _rows(folder / ROC)
            ]
    return found


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))
