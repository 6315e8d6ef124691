"""What a model version must be able to answer: which data, which code, which parameters, how good, on what evidence."""

import json
import os
from typing import Any

from fineline import __version__
from fineline.artifacts.folders import Manifest
from fineline.process.code_version import UNKNOWN, git_state
from fineline.registry.model_versions import SHA256
from fineline.sources import source_version


def version_tags(bundle: Manifest, evidence: dict[str, Any], passed: bool) -> dict[str, str]:
    """The tags of a model version. What cannot be known here is the word 'unknown', so that its absence is seen."""
    ancestors = [*bundle.ancestors, bundle.without_ancestors()]
    data = next((entry for entry in ancestors if entry["kind"] == "dataset"), {})
    train = _train(bundle)
    commit, dirty = git_state()
    return {
        SHA256: bundle.digest.removeprefix("sha256:"),
        "data_digest": data.get("digest", UNKNOWN),
        "data_revision": ", ".join(source_version.in_lineage(ancestors).values()) or UNKNOWN,
        "splits_digest": trained_on(bundle),
        "git_commit": commit,
        "git_dirty": dirty,
        "image": os.environ.get("FINELINE_IMAGE") or UNKNOWN,
        "task": bundle.task,
        "base_model": _base_model(train),
        "fineline_version": __version__,
        "gate": "passed" if passed else "failed",
        "evidence": json.dumps(evidence, sort_keys=True),
    }


def evidence_of(report: Manifest, gate: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    """On what a version was judged: the report's digest, the gate's rules, the shipped model's figures with intervals."""
    figures = {
        name: {"value": metrics["shipped"][name], **interval}
        for name, interval in metrics["interval"]["shipped"].items()
    }
    rules = [{key: rule[key] for key in ("rule", "figure", "bound", "passed")} for rule in gate["rules"]]
    return {"report": report.digest, "gate": gate["summary"], "rules": rules, "figures": figures}


def trained_on(bundle: Manifest) -> str:
    """The digest of the splits that the model was trained on."""
    return _train(bundle).get("inputs", {}).get("splits", UNKNOWN)


def _train(bundle: Manifest) -> dict[str, Any]:
    return next((entry for entry in bundle.ancestors if entry["step"] == "train"), {})


def _base_model(train: dict[str, Any]) -> str:
    params = train.get("params", {})
    return "@".join(filter(None, [params.get("model"), params.get("revision")])) or UNKNOWN
