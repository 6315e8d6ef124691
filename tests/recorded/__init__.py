"""What a real Kubeflow server answered, read: README.md says when, and what was left out."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def run(how: str) -> dict[str, Any]:
    """The run that ended `how`, as `GET /apis/v2beta1/runs/{id}` gave it."""
    return json.loads((FOLDER / "runs" / f"{how}.json").read_text(encoding="utf-8"))


def workflow(how: str) -> dict[str, Any]:
    """The Workflow of the run that ended `how`, as `kubectl get workflow -o json` gives one, with what was recorded of it."""
    kept = json.loads((FOLDER / "workflow" / f"nodes-{how}.json").read_text(encoding="utf-8"))
    name = kept["nodes"][0]["displayName"]
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": name, "namespace": "kubeflow", "labels": kept["labels"]},
        "status": {
            "phase": kept["phase"],
            "message": kept["message"],
            "nodes": {f"{name}-{number}": node for number, node in enumerate(kept["nodes"])},
        },
    }


def workflow_when_finish_runs(how: str) -> dict[str, Any]:
    """The same while the exit handler runs: what ended after it began is still under way."""
    found = workflow(how)
    nodes = found["status"]["nodes"]
    began = next(node["startedAt"] for node in nodes.values() if node["displayName"].endswith(".onExit"))
    for node in nodes.values():
        if node["finishedAt"] > began:
            node.pop("message", None)
            node |= {"phase": "Running", "finishedAt": None}
    found["status"] |= {"phase": "Running", "message": ""}
    return found
