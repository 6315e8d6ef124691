"""Every kustomization below k8s/ builds, is what Kubernetes takes, and keeps the rules; and each rule sees what breaks it."""

import copy
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.settings import Cluster
from tests.k8s.build import K8S, Build, Object, kustomizations, kustomize, secret_keys
from tests.k8s.rules import complaints

pytestmark = pytest.mark.skipif(
    not shutil.which("kubectl"), reason="KUBECTL IS NOT INSTALLED: NO KUBERNETES MANIFEST IS CHECKED"
)

FOLDERS = [str(folder.relative_to(K8S)) for folder in kustomizations()]


@cache
def built(name: str) -> list[Object]:
    return kustomize(K8S / name)


def build_of(name: str) -> Build:
    objects = copy.deepcopy(built(name))
    whole = any(thing["kind"] == "Namespace" for thing in objects)
    return Build(objects, [] if whole else built("base") + built("steps"), secret_keys())


def test_the_kustomizations_are_found() -> None:
    assert {"base", "steps", "steps-standalone", "overlays/local", "overlays/gpu"} <= set(FOLDERS)


@pytest.mark.parametrize("name", FOLDERS)
def test_keeps_every_rule(name: str) -> None:
    assert complaints(build_of(name)) == []


def test_the_secrets_template_holds_no_value_and_is_in_no_build() -> None:
    secrets = list(yaml.safe_load_all((K8S / "secrets.template.yaml").read_text()))
    assert {value for secret in secrets for value in secret["stringData"].values()} == {""}
    assert not [thing for name in FOLDERS for thing in built(name) if thing["kind"] == "Secret"]


def test_the_names_are_those_of_the_cluster_settings() -> None:
    settings = Cluster.model_validate({})
    things = built("overlays/gpu")
    assert only(things, "PersistentVolumeClaim", settings.checkpoints_claim)
    assert only(things, "PersistentVolumeClaim", settings.hub_cache_claim)
    assert {settings.tracking_secret, settings.source_secret} <= set(secret_keys())
    assert only(things, "ConfigMap", "fineline")["data"]["MLFLOW_TRACKING_URI"] == settings.tracking_uri
    names = next(word for word in server(things)["args"] if word.startswith("--allowed-hosts="))
    assert settings.tracking_uri.removeprefix("http://") in names.partition("=")[2].split(",")


def only(objects: list[Object], kind: str, name: str) -> Object:
    (thing,) = [t for t in objects if (t["kind"], t["metadata"]["name"]) == (kind, name)]
    return thing


def mlflow(objects: list[Object]) -> Object:
    """The pod spec of the MLflow server."""
    return only(objects, "Deployment", "mlflow")["spec"]["template"]["spec"]


def server(objects: list[Object]) -> Object:
    return mlflow(objects)["containers"][0]


def remove(objects: list[Object], kind: str, name: str) -> None:
    objects.remove(only(objects, kind, name))


def settings_map(objects: list[Object]) -> Object:
    (thing,) = [t for t in objects if t["kind"] == "ConfigMap" and "PGHOST" in t["data"]]
    return thing


CRON = {
    "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "retrain", "namespace": "fineline"},
    "spec": {"schedule": "0 25 * * *", "jobTemplate": {"spec": {"template": {"metadata": {}, "spec": {"containers": []}}}}},
}  # fmt: skip
SCALER = {
    "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "x", "namespace": "fineline"},
    "spec": {"maxReplicas": 2, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}},
}  # fmt: skip
CUSTOM = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "widget", "namespace": "fineline"}}

Breakage = Callable[[list[Object]], Any]

# What is broken in the real build, and a part of the complaint about it.
BROKEN: dict[str, tuple[Breakage, str]] = {
    "a typo": (lambda o: mlflow(o).update(restartPolcy="Always"), "restartPolcy"),
    "a wrong type": (lambda o: only(o, "Deployment", "mlflow")["spec"].update(replicas="two"), "not of type"),
    "an unknown kind": (lambda o: o.append(CUSTOM), "has no example.com/v1 Widget"),
    "the tag latest": (lambda o: server(o).update(image="fineline/mlflow:latest"), "no fixed tag"),
    "no tag": (lambda o: server(o).update(image="registry:5000/fineline/mlflow"), "no fixed tag"),
    "an image of another version": (lambda o: server(o).update(image="fineline/mlflow:0.0.1"), "not of version"),
    "an image without a registry": (lambda o: server(o).update(image="fineline/mlflow:0.1.0"), "has no registry"),
    "user 0": (lambda o: mlflow(o)["securityContext"].update(runAsUser=0), "as root"),
    "root allowed": (lambda o: mlflow(o)["securityContext"].pop("runAsNonRoot"), "as root"),
    "no seccomp": (lambda o: mlflow(o)["securityContext"].pop("seccompProfile"), "seccomp"),
    "no security context": (lambda o: server(o).pop("securityContext"), "capabilities"),
    "none on an init container": (lambda o: mlflow(o)["initContainers"][0].pop("securityContext"), "container migrate"),
    "a writable root": (lambda o: server(o)["securityContext"].pop("readOnlyRootFilesystem"), "root file system"),
    "escalation": (lambda o: server(o)["securityContext"].update(allowPrivilegeEscalation=True), "gain privileges"),
    "a capability": (lambda o: server(o)["securityContext"]["capabilities"].update(add=["NET_RAW"]), "keeps capabilities"),
    "the host's network": (lambda o: mlflow(o).update(hostNetwork=True), "the host"),
    "a token": (lambda o: mlflow(o).pop("automountServiceAccountToken"), "token"),
    "no memory limit": (lambda o: server(o)["resources"]["limits"].pop("memory"), "no limits for memory"),
    "no resources": (lambda o: server(o).pop("resources"), "no requests for cpu, memory"),
    "no liveness": (lambda o: server(o).pop("livenessProbe"), "no livenessProbe"),
    "no readiness": (lambda o: server(o).pop("readinessProbe"), "no readinessProbe"),
    "a probe of a missing port": (lambda o: server(o)["livenessProbe"]["httpGet"].update(port="web"), "asks port web"),
    "a service that selects nothing": (lambda o: only(o, "Service", "mlflow")["spec"].update(selector={"app": "x"}), "no pod"),
    "a service to a missing port": (
        lambda o: only(o, "Service", "mlflow")["spec"]["ports"][0].update(targetPort=80), "no port 80"
    ),
    "a budget that selects nothing": (
        lambda o: only(o, "PodDisruptionBudget", "mlflow")["spec"].update(selector={"matchLabels": {"app": "x"}}), "no pod"
    ),
    "a deployment without its pods": (
        lambda o: only(o, "Deployment", "mlflow")["spec"].update(selector={"matchLabels": {"app": "x"}}), "its own pods"
    ),
    "a scaler of nothing": (lambda o: o.append(SCALER), "scales Deployment x"),
    "a policy for nobody": (
        lambda o: only(o, "NetworkPolicy", "postgres")["spec"].update(podSelector={"matchLabels": {"app": "x"}}), "no pod"
    ),
    "a policy with a lost peer": (
        lambda o: only(o, "NetworkPolicy", "postgres")["spec"]["ingress"][0]["from"][0].update(
            podSelector={"matchLabels": {"app": "x"}}
        ),
        "peer",
    ),
    "a policy for a lost namespace": (
        lambda o: only(o, "NetworkPolicy", "object-store")["spec"]["ingress"][0]["from"][1].update(
            namespaceSelector={"matchLabels": {"kubernetes.io/metadata.name": "kubflow"}}
        ),
        "peer",
    ),
    "a volume that is not there": (lambda o: mlflow(o)["volumes"].pop(0), "mounts volume tmp"),
    "a claim that is not there": (lambda o: remove(o, "PersistentVolumeClaim", "fineline-checkpoints"), "fineline-checkpoints"),
    "a config map that is not there": (lambda o: o.remove(settings_map(o)), "ConfigMap mlflow-"),
    "a secret that is not there": (lambda o: server(o)["envFrom"].append({"secretRef": {"name": "keys"}}), "Secret keys"),
    "a key that is not there": (
        lambda o: only(o, "StatefulSet", "postgres")["spec"]["template"]["spec"]["containers"][0]["env"][2]["valueFrom"][
            "secretKeyRef"
        ].update(key="USER"),
        "no key USER",
    ),
    "a service account that is not there": (lambda o: remove(o, "ServiceAccount", "mlflow"), "ServiceAccount mlflow"),
    "a stateful set without its service": (lambda o: remove(o, "Service", "postgres"), "Service postgres"),
    "a wildcard": (lambda o: only(o, "Role", "fineline-steps")["rules"][0].update(verbs=["*"]), "wildcard"),
    "a role that is not there": (lambda o: remove(o, "Role", "fineline-steps"), "is not there"),
    "a subject elsewhere": (
        lambda o: only(o, "RoleBinding", "fineline-steps")["subjects"][0].update(namespace="default"), "is not there"
    ),
    "a cluster role": (lambda o: only(o, "Role", "fineline-steps").update(kind="ClusterRole"), "every namespace"),
    "another namespace": (lambda o: only(o, "Service", "mlflow")["metadata"].update(namespace="mlflow"), "nobody makes"),
    "no namespace": (lambda o: only(o, "Service", "mlflow")["metadata"].pop("namespace"), "namespace None"),
    "lax Pod Security": (
        lambda o: only(o, "Namespace", "fineline")["metadata"]["labels"].pop("pod-security.kubernetes.io/enforce"), "restricted"
    ),
    "no default deny": (lambda o: remove(o, "NetworkPolicy", "default-deny"), "denies everything"),
    "a cron of 25 o'clock": (lambda o: o.append(CRON), "no cron"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_planted_mistake_is_seen(what: str) -> None:
    break_it, expected = BROKEN[what]
    build = build_of("overlays/local")
    break_it(build.objects)
    assert [complaint for complaint in complaints(build) if expected in complaint], complaints(build)


def test_a_build_that_fails_is_no_build(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("kind: Kustomization\nresources: [missing.yaml]\n")
    with pytest.raises(ValueError, match=r"missing\.yaml"):
        kustomize(tmp_path)
