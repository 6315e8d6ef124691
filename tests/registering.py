"""What the tests of register share: reports, bundles that differ, and what stands in the registry."""

import json
import shutil
from pathlib import Path

from fineline.artifacts import folders
from fineline.artifacts.folders import EVENTS
from fineline.bundles.bundle import CONFIG
from fineline.registry import ledger, model_versions, training_rows
from fineline.tracking import connection

PARAMS = {"name": "tiny"}
RULE = {"rule": "min_metric", "figure": 0.9, "bound": 0.8, "passed": True}
METRICS = {
    "gate": 1,
    "shipped": {"macro_f1": 0.9, "log_loss": 0.3},
    "interval": {"shipped": {"macro_f1": {"low": 0.88, "high": 0.92}}, "trained": {}},
}


def write_report(folder: Path, bundle: Path, passed: bool = True, journal: Path | None = None) -> Path:
    """A report on `bundle`, as evaluate leaves it, with one rule."""
    folder.mkdir(parents=True)
    summary = "passed 1 rule" if passed else "failed 1 of 1 rules: min_metric"
    gate = {"passed": passed, "rules": [{**RULE, "passed": passed, "meaning": "at least"}], "summary": summary}
    folders.write_json(folder / "gate.json", gate)
    folders.write_json(folder / "metrics.json", METRICS)
    if journal:
        shutil.copyfile(journal, folder / EVENTS)
    folders.write_manifest(
        folder, step="evaluate", kind="report", params={}, inputs={"bundle": bundle}, figures={"shipped.macro_f1": 0.9}
    )
    return folder


def copy_bundle(bundle: Path, folder: Path, **config: object) -> Path:
    """Another bundle of the same model: `bundle` with other values in bundle.json."""
    folder.mkdir(parents=True)
    for name in ("model.onnx", "tokenizer.json"):
        shutil.copyfile(bundle / name, folder / name)
    folders.write_json(folder / CONFIG, {**json.loads((bundle / CONFIG).read_text()), **config})
    written = folders.write_manifest(
        folder, step="quantize", kind="bundle", params={}, inputs={}, figures={}, task="single_label"
    )
    ancestors = folders.read_manifest(bundle).ancestors
    folders.write_json(folder / folders.MANIFEST, {**vars(written), "ancestors": ancestors})
    return folder


def registration_of(folder: Path) -> dict:
    """registration.json."""
    return json.loads((folder / "registration.json").read_text())


def versions(name: str = "tiny") -> dict[int, dict[str, str]]:
    """version -> tags of all versions in the registry."""
    return {int(v.version): v.tags for v in connection.client().search_model_versions(f"name='{name}'")}


def register_bundle(name: str, bundle: Path, splits: Path | None = None) -> int:
    """Registers `bundle` as the step does, but for the pyfunc around it and the gate; gives the version."""
    import mlflow

    server = connection.client()
    mlflow.set_tracking_uri(connection.tracking_uri())  # by it the registry finds the logged model
    run_id = ledger.new_run("test")
    model = server.create_logged_model(server.get_run(run_id).info.experiment_id, name="model", source_run_id=run_id)
    server.log_model_artifacts(model.model_id, str(bundle), "artifacts/bundle")
    server.finalize_logged_model(model.model_id, "READY")
    tags = {model_versions.SHA256: folders.read_manifest(bundle).digest.removeprefix("sha256:")}
    if splits:
        tags[training_rows.TAG] = training_rows.write(server, name, run_id, splits)
    source = f"models:/{model.model_id}"
    version = model_versions.create_version(
        server, name, source=source, model_id=model.model_id, run_id=run_id, tags=tags, description=""
    )
    ledger.move(server, name, model_versions.CHALLENGER, version, verdict="registered", reason="test")
    return version
