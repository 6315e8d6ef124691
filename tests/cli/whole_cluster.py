"""A cluster on which docs/cluster.md was followed to its end, as the objects that Kubernetes holds: built from k8s/."""

import base64
import copy
from functools import cache

import pytest

from cli.__main__ import main
from pipelines.blocks import BLOCKS
from pipelines.settings import Cluster
from pipelines.site import named
from tests.k8s.build import K8S, kustomize
from tests.kubernetes_server import Object

# What the backend made of Kubeflow's own settings stands in the recorded workflow's templateDefaults.
DEFAULTS = "spec: {templateDefaults: {retryStrategy: {limit: '2', retryPolicy: OnError}}}"


@cache
def applied(overlay: str) -> list[Object]:
    return kustomize(K8S / "overlays" / overlay)


def cluster(overlay: str, namespace: str) -> list[Object]:
    """A cluster on which docs/cluster.md was followed: what an overlay makes, the secrets, Kubeflow's own, two nodes."""
    objects = copy.deepcopy(applied(overlay))
    for thing in objects:
        if thing["kind"] == "PersistentVolumeClaim":
            wanted = thing["spec"]["resources"]["requests"]
            thing["status"] = {"phase": "Bound", "capacity": wanted, "accessModes": thing["spec"]["accessModes"]}
        elif thing["kind"] == "ResourceQuota":
            thing["status"] = {"hard": thing["spec"]["hard"], "used": dict.fromkeys(thing["spec"]["hard"], "0")}
    if namespace != "fineline":
        objects.append(core("Namespace", namespace, None))
    return [
        *objects,
        secret("mlflow-credentials", namespace, "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"),
        secret("object-store", namespace, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
        secret("mlpipeline-minio-artifact", namespace, "accesskey", "secretkey"),
        core("ConfigMap", "workflow-controller-configmap", "kubeflow") | {"data": {"workflowDefaults": DEFAULTS}},
        node(
            "gpu-0", {"pool": "training"}, "8", [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]
        ),
        node("cpu-0", {"pool": "general"}, "0", []),
        endpoints(ready=True),
    ]


def core(kind: str, name: str, namespace: str | None) -> Object:
    where = {"namespace": namespace} if namespace else {}
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, **where}}


def secret(name: str, namespace: str, *keys: str) -> Object:
    data = {key: base64.b64encode(b"training" if "USER" in key else b"s3cr3t-value").decode() for key in keys}
    return core("Secret", name, namespace) | {"type": "Opaque", "data": data}


def node(name: str, labels: dict[str, str], gpus: str, taints: list[Object]) -> Object:
    images = [{"names": [f"docker.io/{named(Cluster.model_validate({}), step)}"], "sizeBytes": 1} for step in BLOCKS]
    return core("Node", name, None) | {
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": taints},
        "status": {
            "allocatable": {"cpu": "31500m", "memory": "125Gi", "nvidia.com/gpu": gpus, "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}],
            "images": images,
        },
    }


def endpoints(ready: bool) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "mlflow-x", "namespace": "fineline", "labels": {"kubernetes.io/service-name": "mlflow"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.7"], "conditions": {"ready": ready}}],
        "ports": [{"name": "http", "port": 5000, "protocol": "TCP"}],
    }


def doctor(capsys: pytest.CaptureFixture[str], host: str, *flags: str) -> tuple[int, list[tuple[str, str, str]]]:
    """Exit code, and the findings as (state, what, remedy)."""
    code = main(["doctor", "--cluster", "--host", host, *flags])
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "s3cr3t" not in captured.out
    *lines, count = captured.out.splitlines()
    findings: list[tuple[str, str, str]] = []
    for line in lines:
        if line.startswith(" "):
            state, what, _ = findings.pop()
            findings.append((state, what, line.strip().removeprefix("-> ")))
        else:
            findings.append((line[:10].strip(), line[11:].strip(), ""))
    states = [state for state, _, _ in findings]
    numbers = {state: states.count(state) for state in ("ok", "warn", "missing", "cannot see")}
    assert count == ", ".join(f"{number} {state}" for state, number in numbers.items())
    assert code == (4 if "missing" in states else 0)
    assert all(remedy for state, _, remedy in findings if state != "ok"), findings
    return code, findings


def bad(findings: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """What is not ok, but for MLflow's permissions, which cannot be seen in most of these tests."""
    unseen = ("cannot see", "MLflow: ")
    return [finding for finding in findings if finding[0] != "ok" and (finding[0], finding[1][:8]) != unseen]
