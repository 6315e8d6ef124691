"""What Argo knows of a pipeline's run and Kubeflow's own API does not say: why something failed, and that it was canceled.

The nodes are those of the Workflow's status, as tests/pipelines/recorded/workflow has them.
"""

import json
import os
import re
import ssl
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RUN_LABEL = "pipeline/runid"
"""Label of the Workflow and its pods with the id of the pipeline's run."""
GROUP, VERSION, PLURAL = "argoproj.io", "v1alpha1", "workflows"

Node = dict[str, Any]

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_SECONDS = 10
_ENDED_BADLY = ("Failed", "Error")
_ATTEMPT = re.compile(r"\(\d+\)$")
_EXECUTOR = "retry-system-container-executor"
_STOPPED = ("exceeded workflow deadline", "Stopped with strategy")
"""What the node of a canceled run says: Kubeflow sets the deadline of the Workflow to 0 s (backend, TerminateWorkflow), `argo
stop` and `argo terminate` a strategy (processNodeRetries in Argo's operator.go)."""


def nodes_here(pipeline_run: str) -> list[Node]:
    """The nodes of the pipeline's run, asked from a pod of it with its service account; [] outside of a cluster, and when
    the Workflow is gone.

    Raises OSError when the account may not list Workflows or Kubernetes does not answer.
    """
    if "KUBERNETES_SERVICE_HOST" not in os.environ:
        return []
    namespace = (_ACCOUNT / "namespace").read_text(encoding="utf-8").strip()
    token = (_ACCOUNT / "token").read_text(encoding="utf-8").strip()
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"  # the first is IPv6
    query = urllib.parse.urlencode({"labelSelector": f"{RUN_LABEL}={pipeline_run}"})
    request = urllib.request.Request(
        f"https://{address}/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{PLURAL}?{query}",
        headers={"Authorization": f"Bearer {token}"},
    )
    context = ssl.create_default_context(cafile=_ACCOUNT / "ca.crt")
    with urllib.request.urlopen(request, timeout=_SECONDS, context=context) as answer:
        return nodes(json.load(answer)["items"])


def nodes(workflows: Sequence[dict[str, Any]]) -> list[Node]:
    """All nodes of the Workflows that a list gave; what Argo has not begun, or keeps compressed, has none to read."""
    found = [((workflow.get("status") or {}).get("nodes") or {}).values() for workflow in workflows]
    return [node for group in found for node in group]


def canceled(nodes: Sequence[Node]) -> bool:
    """Whether somebody stopped the run."""
    return any(text in node.get("message", "") for node in nodes for text in _STOPPED)


def failed(nodes: Sequence[Node]) -> bool:
    """Whether something failed and was not made good by another attempt."""
    return any(_counts(node) for node in nodes)


def failure(nodes: Sequence[Node]) -> str:
    """What failed last and what Argo says of it, such as 'train: main: OOMKilled (exit code 1)'; '' when it says nothing."""
    end = min((node["startedAt"] for node in nodes if node["displayName"].endswith(".onExit")), default="9")
    pods = [
        node
        for node in nodes
        if node["type"] == "Pod" and node["phase"] in _ENDED_BADLY and node.get("message") and node["startedAt"] < end
    ]
    if not pods:
        return ""
    pod = max(pods, key=lambda node: node["startedAt"])
    name = _ATTEMPT.sub("", pod["displayName"])
    if name == "executor":
        steps = [node for node in nodes if _counts(node) and node.get("templateName") == _EXECUTOR]
        began = [node for node in steps if node["startedAt"] <= pod["startedAt"]]
        name = max(began, key=lambda node: node["startedAt"])["displayName"] if began else "a step"
    return f"{name}: {pod['message']}"


def _counts(node: Node) -> bool:
    """Whether a node that ended badly is more than one attempt of several."""
    return node["phase"] in _ENDED_BADLY and node["type"] != "Pod" and not _ATTEMPT.search(node["displayName"])
