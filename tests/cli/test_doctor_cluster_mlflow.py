"""What fineline doctor --cluster says of MLflow's users and their permissions, asked of a real server with basic auth."""

import base64
import json
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from cli.preflight import api, mlflow
from cli.preflight.api import Unseen, View
from pipelines.settings import Cluster
from tests.cli.test_doctor_cluster import pytestmark
from tests.k8s.mlflow_pod import ADMIN, pod
from tests.kubernetes_server import KubernetesServer

__all__ = ["pytestmark"]

PASSWORD = "s3cr3t-value"  # of the secret in tests/cli/whole_cluster.py


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the MLflow server of the manifests, on sqlite."""
    with pod(tmp_path_factory.mktemp("mlflow"), {}) as server:
        yield server.address


def post(address: str, path: str, body: Any) -> dict[str, Any]:
    answer = requests.post(f"{address}/api/{path}", json=body, auth=ADMIN, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def follow(remedy: str) -> None:
    """Does what `curl --user admin --json BODY URL` would."""
    _, _, _, _, body, address = shlex.split(remedy)
    assert requests.post(address, json=json.loads(body), auth=ADMIN, timeout=30).status_code == 200


def said(view: View) -> list[tuple[str, str]]:
    return [(finding.state, finding.what) for finding in mlflow.permissions(view, "fineline")]


@pytest.mark.slow
def test_a_user_of_mlflow(kubernetes: KubernetesServer, tracking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    view = View(api.connect(), "kubeflow", Cluster.model_validate({}))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking)
    there = ("ok", f"MLflow answers at {tracking}")

    *before, refusal = mlflow.permissions(view, "fineline")
    assert [finding[:2] for finding in before] == [there]
    assert refusal.what == "MLflow refuses training (401): there is no such user, or it has another password"
    template, _, rest = refusal.remedy.partition(" | curl --user admin --json @- ")
    assert rest == f"{tracking}/api/2.0/mlflow/users/create"
    assert template.startswith("kubectl --namespace kubeflow get secret mlflow-credentials -o go-template='{")
    post(tracking, "2.0/mlflow/users/create", {"username": "training", "password": PASSWORD})
    assert said(view) == [
        there,
        ("ok", "MLflow lets training in"),
        ("ok", "MLflow: experiment fineline is not there yet, the first run makes it and owns it"),
        ("ok", "MLflow: registered model fineline is not there yet, the first run makes it and owns it"),
    ]

    number = post(tracking, "2.0/mlflow/experiments/create", {"name": "fineline"})["experiment_id"]
    post(tracking, "2.0/mlflow/registered-models/create", {"name": "fineline"})
    _, _, runs, versions = mlflow.permissions(view, "fineline")
    assert runs[:2] == ("missing", "MLflow: training may only READ the experiment fineline: no run can be logged")
    assert versions[:2] == (
        "missing",
        "MLflow: training may only READ the registered model fineline: no version can be registered or promoted",
    )
    refused = requests.post(
        f"{tracking}/api/2.0/mlflow/runs/create",
        json={"experiment_id": number},
        auth=("training", PASSWORD),
        timeout=30,
    )
    assert refused.status_code == 403  # what the finding says is true
    for finding in (runs, versions):
        follow(finding.remedy)
    assert said(view)[2:] == [
        ("ok", "MLflow: training may MANAGE the experiment fineline"),
        ("ok", "MLflow: training may MANAGE the registered model fineline"),
    ]


def test_a_server_without_that_secret(
    kubernetes: KubernetesServer, tracking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking)
    view = View(api.connect(), "kubeflow", Cluster.model_validate({"tracking_secret": ""}))
    assert said(view)[-1] == ("missing", "MLflow asks for a password, and cluster.tracking_secret is ''")
    secret = kubernetes.only("Secret", "mlflow-credentials")
    secret["data"]["MLFLOW_TRACKING_PASSWORD"] = base64.b64encode(b"another").decode()
    view = View(api.connect(), "kubeflow", Cluster.model_validate({}))
    assert said(view)[-1][1].startswith("MLflow refuses training (401)")
    kubernetes.denied = {("get", "secrets")}
    with pytest.raises(Unseen, match="you may not get secret mlflow-credentials"):
        said(view)


def test_an_address_that_is_none_of_mlflow(kubernetes: KubernetesServer, monkeypatch: pytest.MonkeyPatch) -> None:
    view = View(api.connect(), "kubeflow", Cluster.model_validate({}))
    for address, words in (
        (kubernetes.url, "answers 401 for /health: is it MLflow?"),
        ("http://127.0.0.1:1", "does not answer"),
    ):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        ((state, what),) = said(view)
        assert (state, words in what) == ("missing", True), what
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(Unseen, match="does not answer from here"):
        said(view)
    outside = View(view.api, "kubeflow", Cluster.model_validate({"tracking_uri": "http://127.0.0.1:1"}))
    assert said(outside)[0][0] == "missing"


@pytest.mark.parametrize(
    ("uri", "service"),
    [
        ("http://mlflow.fineline.svc.cluster.local:5000", ("mlflow", "fineline")),
        ("http://mlflow.fineline.svc:5000", ("mlflow", "fineline")),
        ("http://mlflow.fineline:5000", ("mlflow", "fineline")),
        ("https://mlflow.example.com", None),
        ("http://localhost:5000", None),
    ],
)
def test_which_addresses_are_services_of_the_cluster(uri: str, service: tuple[str, str] | None) -> None:
    assert mlflow._service(uri) == service


def test_the_users_template_is_one_that_kubectl_takes() -> None:
    """The real kubectl prints of such a secret what MLflow takes."""
    command = ["kubectl", "create", "secret", "generic", "x", "--from-literal=MLFLOW_TRACKING_USERNAME=training"]
    command += [f"--from-literal=MLFLOW_TRACKING_PASSWORD={PASSWORD}", "--dry-run=client", "-o"]
    command += [f"go-template={mlflow._USER_FROM_SECRET}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert json.loads(done.stdout) == {"username": "training", "password": PASSWORD}, done.stderr
