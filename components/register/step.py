"""One MLflow model version per bundle that passed its gate."""

import json
from pathlib import Path
from typing import Any

from components.register.lineage import evidence_of, trained_on, version_tags
from components.register.params import Params
from fineline.artifacts import folders
from fineline.artifacts.folders import Manifest
from fineline.bundles.bundle import open_bundle, self_test
from fineline.process.errors import GateRejected, UsageError
from fineline.registry import ledger, model_versions, training_rows
from fineline.tracking import connection

GATE = "gate.json"
METRICS = "metrics.json"


def run(*, params: Params, bundle: Path, report: Path, splits: Path, registration: Path) -> str:
    """Registers `bundle` if `report`, which must be on exactly that bundle, holds a gate that said yes.

    The version keeps which rows of `splits`, those of its training, it has seen, and becomes the challenger: promote decides
    what serves. The same bundle gives the same version, however often and from how many processes it is registered. Raises
    UsageError when the inputs do not belong together, ResourceError when the bundle fails its self-test or the server does
    not answer (nothing is registered then), GateRejected when the gate said no and `on_gate_failure` is stop.
    """
    connection.tracking_uri()
    made, judged = folders.verify(bundle), folders.verify(report)
    _check_pair(bundle, made, report, judged)
    _check_splits(made, splits)
    self_test(open_bundle(bundle))
    gate = _read(report / GATE)
    verdict = f"gate {gate['summary']}"
    if not gate["passed"] and params.on_gate_failure == "stop":
        raise GateRejected(verdict, f"nothing was registered; read {report / folders.REPORT}")
    with folders.output(registration) as folder:
        content = {"registered": False, "why": verdict, "gate": gate["summary"]}
        line = f"nothing registered; {verdict}"
        if gate["passed"]:
            evidence = evidence_of(judged, gate, _read(report / METRICS))
            content = _register(params.name, bundle, made, report, splits, evidence, folder)
            line = f"{content['uri']} ({', '.join(content['aliases'])}); {verdict}"
        folders.write_json(folder / folders.REGISTRATION, content)
        folders.write_manifest(
            folder,
            step="register",
            kind="registration",
            params=params.recorded(),
            inputs={"bundle": bundle, "report": report, "splits": splits},
            figures={"registered": gate["passed"]},
            run_id=content.get("run_id", ""),
        )
    return line


def _check_pair(bundle: Path, made: Manifest, report: Path, judged: Manifest) -> None:
    for folder, manifest, kind in ((bundle, made, "bundle"), (report, judged, "report")):
        if manifest.kind != kind:
            raise UsageError(f"{folder} is a {manifest.kind}, not a {kind}", f"give the {kind} folder to --{kind}")
    if judged.inputs.get("bundle") != made.digest:
        raise UsageError(
            f"{report} judges another bundle ({judged.inputs.get('bundle', 'none')}) than {bundle} ({made.digest})",
            "run evaluate on this bundle, then register (dvc repro)",
        )
    if missing := {GATE, METRICS} - judged.files.keys():
        raise UsageError(f"{report} has no {' and no '.join(sorted(missing))}", "run evaluate again")


def _check_splits(made: Manifest, splits: Path) -> None:
    given = folders.verify(splits)
    if given.kind != "splits":
        raise UsageError(f"{splits} is a {given.kind}, not splits", "give the splits folder to --splits")
    if given.digest != trained_on(made):
        raise UsageError(
            f"the bundle's model was trained on other splits ({trained_on(made)}) than {splits} ({given.digest})",
            "give --splits the artifact that train was given",
        )


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _register(
    name: str, bundle: Path, made: Manifest, report: Path, splits: Path, evidence: dict[str, Any], folder: Path
) -> dict[str, Any]:
    """Makes or finds the version and moves the alias challenger; gives the content of registration.json."""
    tags = version_tags(made, evidence, passed=True)
    with model_versions.server_errors():
        server = connection.client()
        version = model_versions.find_version(server, name, tags[model_versions.SHA256])
        if not version:
            from components.register.logged_model import log_bundle, the_run

            run_id = the_run(server, bundle, report, folder)
            source, model_id = log_bundle(server, bundle, made, run_id)
            tags[training_rows.TAG] = training_rows.write(server, name, run_id, splits)
            description = f"gate {evidence['gate']}"
            version = model_versions.create_version(
                server, name, source=source, model_id=model_id, run_id=run_id, tags=tags, description=description
            )
        run_id = model_versions.version_of(server, name, version).run_id
        ledger.move(
            server,
            name,
            model_versions.CHALLENGER,
            version,
            verdict="registered",
            reason="the newest that passed its gate",
            evidence={"run": run_id, "report": evidence["report"], "gate": evidence["gate"]},
        )
        held = sorted(alias for alias, of in ledger.aliases(server, name).items() if of == version)
        return {
            "registered": True,
            "name": name,
            "version": version,
            "aliases": held,
            "run_id": run_id,
            "uri": f"models:/{name}/{version}",
            "gate": evidence["gate"],
        }
