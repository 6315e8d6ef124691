"""fineline doctor --cluster against a Kubernetes API and Kubeflow Pipelines: all is there, and each thing taken away."""

import json
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from cli import preflight
from cli.preflight import room
from cli.preflight.namespace import RIGHTS
from pipelines.blocks import BLOCKS
from tests.cli.whole_cluster import DEFAULTS, applied, bad, cluster, doctor
from tests.conftest import PROJECT
from tests.k8s.build import K8S
from tests.k8s.rules import invalid
from tests.kubernetes_server import KubernetesServer, Object
from tests.pipelines.kubeflow_server import KubeflowServer

RECORDED = PROJECT / "tests" / "recorded"
GPU = ("--set", "cluster.gpu_count=2", "--set", "cluster.node_selector={pool: training}")
TOLERATIONS = ("--set", "cluster.tolerations=[{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]")

pytestmark = pytest.mark.skipif(
    not shutil.which("kubectl"),
    reason="KUBECTL IS NOT INSTALLED: THE PREFLIGHT IS NOT TRIED, ITS CLUSTER IS BUILT FROM k8s/",
)


def test_the_cluster_of_these_tests_is_what_kubernetes_takes() -> None:
    by_hand = [thing for thing in cluster("local", "kubeflow") if thing["kind"] in ("Node", "EndpointSlice", "Secret")]
    assert len(by_hand) == 6
    for thing in by_hand:
        assert invalid(json.dumps(thing)) == "", thing["metadata"]["name"]


def test_a_cluster_with_everything(
    kubernetes: KubernetesServer, server: KubeflowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    code, findings = doctor(capsys, server.url, *GPU, *TOLERATIONS)
    assert (code, bad(findings)) == (0, [])
    texts = [what for _, what, _ in findings]
    for words in (
        f"Kubernetes v1.34.4 at {kubernetes.url}",
        "service account fineline-steps may create workflowtaskresults.argoproj.io, patch",
        "secret mlflow-credentials: MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD",
        "volume claim fineline-checkpoints: 5Gi, ReadWriteOnce",
        "train (2 nvidia.com/gpu, 16Gi memory, 4 cpu) fits on 1 of 2 nodes, which have 8 GPUs together",
        f"all {len(BLOCKS)} images lie on a node",
        "Argo retries OnError: a pod that is lost is tried again, one that fails waits a minute and then fails",
        "MLflow: service mlflow in fineline has 1 pod ready",
        "Kubeflow Pipelines 2.17.0 answers",
    ):
        assert [text for text in texts if words in text], (words, texts)
    # MLflow's address is one of the cluster, which from here is not reached.
    unreached = [(state, remedy) for state, what, remedy in findings if "MLflow: http" in what]
    forward = "kubectl --namespace fineline port-forward service/mlflow 5000 &  export MLFLOW_TRACKING_URI=http://localhost:5000"
    assert unreached == [("cannot see", forward)]
    changes = [request for request in kubernetes.requests + server.changes if not request.startswith("GET")]
    assert {request.rpartition("/")[2] for request in changes} == {
        "localsubjectaccessreviews"
    }  # it asks, and changes nothing


def test_a_profiles_namespace(
    kubernetes: KubernetesServer, server: KubeflowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    kubernetes.objects = cluster("gpu", "fineline")
    server.multi_user = True
    code, findings = doctor(capsys, server.url, "--namespace", "fineline", *GPU, *TOLERATIONS)
    assert (code, bad(findings)) == (0, [])
    texts = " ".join(what for _, what, _ in findings)
    assert "quota fineline has room for train" in texts
    assert "a limit range gives Argo's helpers their limits" in texts
    assert "Kubeflow Pipelines lets us in in fineline" in texts


Change = Callable[[KubernetesServer], Any]


def without(kind: str, name: str) -> Change:
    return lambda k: k.remove(kind, name)


def rule(k: KubernetesServer, number: int) -> Any:
    return k.only("Role", "fineline-steps")["rules"].pop(number)


CREATE = "kubectl --namespace kubeflow create secret generic"
USER = '--from-literal=MLFLOW_TRACKING_USERNAME="$MLFLOW_TRACKING_USERNAME"'
SETTINGS = "workflow-controller-configmap"

# What is taken away or changed, what is said of it, and the command that makes it.
TAKEN: dict[str, tuple[Change, str, str, str]] = {
    "namespace": (without("Namespace", "kubeflow"), "missing", "namespace kubeflow is not there", "kubectl get namespaces"),
    "service account": (
        without("ServiceAccount", "fineline-steps"),
        "missing", "service account fineline-steps is not there", "kubectl apply -k k8s/overlays",
    ),
    "role": (without("Role", "fineline-steps"), "missing", "may not get configmaps/kfp-launcher", "kubectl apply -k"),
    "binding": (without("RoleBinding", "fineline-steps"), "missing", "may not patch workflowtaskresults", "kubectl apply -k"),
    "right to report": (lambda k: rule(k, 0), "missing", "may not create workflowtaskresults.argoproj.io", "kubectl apply -k"),
    "right to look": (lambda k: rule(k, 1), "warn", "may not list workflows.argoproj.io", "kubectl apply -k"),
    "MLflow's secret": (without("Secret", "mlflow-credentials"), "missing", "mlflow-credentials is not there", CREATE),
    "a key of it": (
        lambda k: k.only("Secret", "mlflow-credentials")["data"].pop("MLFLOW_TRACKING_USERNAME"),
        "missing", "mlflow-credentials has no MLFLOW_TRACKING_USERNAME", f"{CREATE} mlflow-credentials {USER}",
    ),
    "a value of it": (
        lambda k: k.only("Secret", "mlflow-credentials")["data"].update(MLFLOW_TRACKING_PASSWORD=""),
        "missing", "mlflow-credentials has no MLFLOW_TRACKING_PASSWORD", "--dry-run=client -o yaml | kubectl apply -f -",
    ),
    "the source's secret": (
        without("Secret", "object-store"),
        "missing", "secret object-store is not there", f"{CREATE} object-store --from-literal=AWS_ACCESS_KEY_ID",
    ),
    "Kubeflow's secret": (
        without("Secret", "mlpipeline-minio-artifact"), "missing", "mlpipeline-minio-artifact is not there", CREATE,
    ),
    "config map": (without("ConfigMap", "fineline"), "missing", "config map fineline is not there", "kubectl apply -k"),
    "claim": (
        without("PersistentVolumeClaim", "fineline-checkpoints"),
        "missing", "volume claim fineline-checkpoints is not there", "kubectl apply -k",
    ),
    "volume": (
        lambda k: k.only("PersistentVolumeClaim", "fineline-hub-cache").update(status={"phase": "Pending"}),
        "missing", "volume claim fineline-hub-cache is Pending, not Bound", "kubectl --namespace kubeflow describe persistentv",
    ),
    "GPUs": (
        lambda k: k.only("Node", "gpu-0")["status"]["allocatable"].update({"nvidia.com/gpu": "1"}),
        "missing", "fits on none of 2 nodes, it waits for ever: 1 with 1 nvidia.com/gpu; 1 with the label pool=general",
        "kubectl describe nodes",
    ),
    "memory": (
        lambda k: k.only("Node", "gpu-0")["status"]["allocatable"].update(memory="15Gi"),
        "missing", "1 with 15Gi memory", "kubectl describe nodes",
    ),
    "a label": (lambda k: k.only("Node", "gpu-0")["metadata"]["labels"].pop("pool"), "missing", "1 with no label pool", ""),
    "a toleration": (
        lambda k: k.only("Node", "gpu-0")["spec"]["taints"].append({"key": "team", "value": "x", "effect": "NoExecute"}),
        "missing", "1 with the taint team=x:NoExecute", "kubectl describe nodes",
    ),
    "a node that is ready": (
        lambda k: k.only("Node", "gpu-0")["status"]["conditions"][0].update(status="Unknown"),
        "missing", "1 with the state NotReady", "kubectl describe nodes",
    ),
    "images": (
        lambda k: [k.only("Node", name)["status"].pop("images") for name in ("gpu-0", "cpu-0")],
        "missing", "images have no registry, such as fineline/", "kind load",
    ),
    "MLflow's pod": (
        lambda k: k.only("EndpointSlice", "mlflow-x")["endpoints"][0]["conditions"].update(ready=False),
        "missing", "MLflow: service mlflow in fineline has no pod that is ready", "kubectl --namespace fineline get service,pods",
    ),
    "MLflow": (without("EndpointSlice", "mlflow-x"), "missing", "MLflow: there is no service mlflow in", "kubectl apply"),
    "Argo's settings": (without("ConfigMap", SETTINGS), "cannot see", f"no config map {SETTINGS} in kubeflow", "kubectl"),
    "OnError": (
        lambda k: k.only("ConfigMap", SETTINGS).update(data={"executor": "imagePullPolicy: IfNotPresent"}),
        "warn", "Argo retries OnFailure: a pod that fails is tried again, one that is lost (drain, preemption) is not",
        f"kubectl --namespace kubeflow edit configmap {SETTINGS}",
    ),
    "a bound on attempts": (
        lambda k: k.only("ConfigMap", SETTINGS).update(data={"workflowDefaults": DEFAULTS.replace("OnError", "Always")}),
        "warn", "Argo retries Always: lost and failed pods are tried again, and the levels above", "kubectl",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", TAKEN)
def test_what_is_missing_is_named_with_the_command_that_makes_it(
    kubernetes: KubernetesServer, server: KubeflowServer, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    take, state, words, command = TAKEN[what]
    take(kubernetes)
    _, findings = doctor(capsys, server.url, *GPU, *TOLERATIONS)
    found = bad(findings)
    assert {finding[0] for finding in found} <= {state, "warn"}
    assert [finding for finding in found if words in finding[1] and command in finding[2]], found


def quota(change: Callable[[Object], Any]) -> Change:
    return lambda k: change(k.only("ResourceQuota", "fineline")["status"])


# The same in a profile's namespace, which has a quota.
OF_QUOTA: dict[str, tuple[Change, str, str]] = {
    "GPUs": (
        quota(lambda s: s["hard"].update({"requests.nvidia.com/gpu": "0"})),
        "missing", "quota fineline allows 0 requests.nvidia.com/gpu, train wants 2: its pod is never made",
    ),
    "room now": (
        quota(lambda s: s["used"].update({"requests.cpu": "63"})),
        "warn", "quota fineline: 63 of 64 requests.cpu are used, train wants 4: it waits",
    ),
    "limits for Argo": (without("LimitRange", "fineline"), "missing", "no limit range gives Argo's theirs: all pods are refused"),
}  # fmt: skip


@pytest.mark.parametrize("what", OF_QUOTA)
def test_a_quota(
    kubernetes: KubernetesServer, server: KubeflowServer, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    kubernetes.objects = cluster("gpu", "fineline")
    server.multi_user = True
    take, state, words = OF_QUOTA[what]
    take(kubernetes)
    _, findings = doctor(capsys, server.url, "--namespace", "fineline", *GPU, *TOLERATIONS)
    ((found, text, remedy),) = bad(findings)
    assert (found, words in text) == (state, True), text
    assert remedy.startswith(("kubectl --namespace fineline", "echo"))


def test_the_limit_range_that_is_proposed_is_the_manifests() -> None:
    (ours,) = [
        thing for thing in yaml.safe_load_all((K8S / "base/limits.yaml").read_text()) if thing["kind"] == "LimitRange"
    ]
    assert ours == room.LIMIT_RANGE


def test_what_the_recorded_pod_wants_is_what_is_asked_for(
    kubernetes: KubernetesServer, server: KubeflowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The training pod of a real run: its account, secrets with their keys and claims; Argo's containers without resources."""
    spec = json.loads((RECORDED / "pods" / "train.json").read_text())["spec"]
    main_container = next(container for container in spec["containers"] if container["name"] == "main")
    texts = [what for _, what, _ in doctor(capsys, server.url)[1]]
    assert f"service account {spec['serviceAccountName']}" in texts
    for variable in main_container["env"]:
        if key := variable.get("valueFrom", {}).get("secretKeyRef"):
            assert [text for text in texts if text.startswith(f"secret {key['name']}: ") and key["key"] in text]
    for volume in spec["volumes"]:
        if claim := volume.get("persistentVolumeClaim"):
            assert [text for text in texts if text.startswith(f"volume claim {claim['claimName']}: ")]
        if mounted := volume.get("secret"):
            keys = ", ".join(item["key"] for item in mounted["items"])
            assert f"secret {mounted['secretName']}: {keys}" in texts
    assert {c["name"]: c["resources"] for c in spec["containers"] + spec["initContainers"] if not c["resources"]} == {
        "wait": {}, "init": {},
    }  # fmt: skip


def test_the_rights_are_those_of_the_role() -> None:
    (role,) = [
        thing for thing in applied("gpu") if thing["kind"] == "Role" and thing["metadata"]["name"] == "fineline-steps"
    ]
    given = {
        (verb, group, resource, name)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    }
    assert given == {right[:4] for right in RIGHTS}


def test_every_check_is_called() -> None:
    """A check that is in no list is asked by nobody."""
    modules = (
        preflight.namespace,
        preflight.objects,
        preflight.room,
        preflight.images,
        preflight.kubeflow,
        preflight.mlflow,
    )
    public = {
        thing
        for module in modules
        for name, thing in vars(module).items()
        if callable(thing) and not name.startswith("_") and getattr(thing, "__module__", "") == module.__name__
        and getattr(thing, "__annotations__", {}).get("return") == Iterator[preflight.Finding]
    }  # fmt: skip
    assert public == {*preflight.OF_KUBERNETES, preflight.mlflow.permissions, preflight.kubeflow.server}
