"""fineline doctor --cluster where it may not look, where images cannot be seen, where a server is another one or none."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from cli.__main__ import main
from cli.preflight import api, images
from cli.preflight.api import Unseen, View
from pipelines.settings import Cluster
from tests.cli.test_doctor_cluster import GPU, TOLERATIONS, pytestmark
from tests.cli.whole_cluster import bad, cluster, core, doctor
from tests.kubernetes_server import KubernetesServer
from tests.mlflow_server import free_port
from tests.pipelines.kubeflow_server import KubeflowServer

__all__ = ["pytestmark"]

DENIED = [
    ("get", "namespaces", "you may not get namespaces"),
    ("get", "serviceaccounts", "you may not get serviceaccounts"),
    ("create", "localsubjectaccessreviews", "you may not ask what fineline-steps may"),
    ("get", "secrets", "you may not get secret mlflow-credentials"),
    ("get", "configmaps", "you may not get configmaps"),
    ("get", "persistentvolumeclaims", "you may not get persistentvolumeclaims"),
    ("list", "resourcequotas", "you may not list resourcequotas"),
    ("list", "nodes", "you may not list nodes"),
    ("list", "endpointslices", "you may not list endpointslices"),
]


@pytest.mark.parametrize(("verb", "resource", "words"), DENIED)
def test_what_may_not_be_seen_is_not_called_missing(
    kubernetes: KubernetesServer,
    server: KubeflowServer,
    capsys: pytest.CaptureFixture[str],
    verb: str,
    resource: str,
    words: str,
) -> None:
    kubernetes.denied = {(verb, resource)}
    _, findings = doctor(capsys, server.url, *GPU, *TOLERATIONS)
    assert [state for state, what, _ in findings if words in what] != []
    assert {state for state, what, _ in findings if words in what} == {"cannot see"}
    assert "missing" not in {state for state, _, _ in findings}


def test_no_right_at_all(
    kubernetes: KubernetesServer, server: KubeflowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    kubernetes.denied = {(verb, resource) for verb, resource, _ in DENIED} | {("list", "limitranges")}
    code, findings = doctor(capsys, server.url, *GPU, *TOLERATIONS)
    assert code == 0
    assert [state for state, _, _ in findings].count("cannot see") >= len(DENIED)


def test_limit_ranges_that_may_not_be_seen(
    kubernetes: KubernetesServer, server: KubeflowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    kubernetes.objects = cluster("gpu", "fineline")
    server.multi_user = True
    kubernetes.denied = {("list", "limitranges")}
    _, findings = doctor(capsys, server.url, "--namespace", "fineline", *GPU, *TOLERATIONS)
    assert [(state, what) for state, what, _ in bad(findings)] == [("cannot see", "you may not list limitranges")]


# Settings of the images, and what is said.
IMAGES = [
    ({"tag": "latest"}, "missing", "no fixed tag: fineline/"),
    (
        {"images": {"train": "registry.example.com/train"}},
        "missing",
        "no fixed tag: registry.example.com/train: nobody",
    ),
    (
        {"images": {"train": "fineline/train@sha256:0123"}},
        "missing",
        "1 images have no registry, such as fineline/train@",
    ),
    ({"registry": "localhost:5000/x"}, "cannot see", "whether localhost:5000 gives"),
    ({"pull_secret": "pull"}, "missing", "pull secret pull is not there"),
    ({"pull_secret": "object-store"}, "missing", "secret object-store is no pull secret"),
    (
        {"pull_secret": "known", "registry": "other.example.com"},
        "missing",
        "known has no password for other.example.com",
    ),
    ({"pull_secret": "known", "registry": "registry.example.com/team"}, "ok", "come from registry.example.com"),
]


@pytest.mark.parametrize(("settings", "state", "words"), IMAGES)
def test_images(kubernetes: KubernetesServer, settings: dict[str, Any], state: str, words: str) -> None:
    known = {"auths": {"https://registry.example.com/v2/": {"auth": "eDp5"}}}
    pull = core("Secret", "known", "kubeflow") | {"type": "kubernetes.io/dockerconfigjson"}
    pull["data"] = {".dockerconfigjson": base64.b64encode(json.dumps(known).encode()).decode()}
    kubernetes.objects.append(pull)
    view = View(api.connect(), "kubeflow", Cluster.model_validate(settings))
    found = [finding for check in (images.names, images.pull_secret, images.pullable) for finding in check(view)]
    assert [finding for finding in found if finding.state == state and words in finding.what], found
    assert all(finding.remedy for finding in found if finding.state != "ok")


def test_kubeflow_in_the_other_mode_or_not_at_all(
    kubernetes: KubernetesServer, server: KubeflowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*flags: str) -> tuple[str, str, str]:
        (found,) = bad(doctor(capsys, server.url, *flags, *GPU, *TOLERATIONS)[1])
        return found

    server.multi_user = True
    state, what, remedy = said()
    assert (state, remedy) == ("missing", "fineline doctor --cluster --namespace fineline")
    assert "multi-user mode" in what
    server.multi_user = False
    server.trouble = {"GET experiments": [403]}
    state, what, remedy = said()
    assert state == "missing"
    assert "refuses access (403" in what
    assert remedy.startswith('export FINELINE_KFP_TOKEN="$(kubectl create token default-editor --namespace kubeflow')
    server.tag = "2.4.0"
    assert "before 2.17" in said()[1]
    server.tag = "2.17.0"
    server.url = "http://127.0.0.1:1"
    assert "does not answer" in said()[1]
    server.url = ""
    assert said()[1] == "which Kubeflow Pipelines server?"
    kubernetes.objects = cluster("gpu", "fineline")
    with KubeflowServer() as standalone:
        server.url = standalone.url
        assert said("--namespace", "fineline")[2] == "fineline doctor --cluster --namespace kubeflow"


def test_kubernetes_itself(
    kubernetes: KubernetesServer, server: KubeflowServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    away = kubernetes.kubeconfig()
    away["clusters"][0]["cluster"]["server"] = f"http://127.0.0.1:{free_port()}"
    (tmp_path / "away").write_text(json.dumps(away))
    wrong = kubernetes.kubeconfig()
    wrong["users"][0]["user"]["token"] = "s3cr3t"
    (tmp_path / "wrong").write_text(json.dumps(wrong))
    with KubeflowServer(page="<html>Log in</html>") as page:
        html = kubernetes.kubeconfig()
        html["clusters"][0]["cluster"]["server"] = page.url
        (tmp_path / "html").write_text(json.dumps(html))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "html"))
        view = View(api.connect(), "kubeflow", Cluster.model_validate({}))
        with pytest.raises(Unseen, match="answers what Kubernetes does not"):
            api.version(view)
    for name, words in (("away", "does not answer"), ("wrong", "you may not get /version"), ("none", "no credentials")):
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / name))
        _, findings = doctor(capsys, server.url)
        ((state, what, remedy),) = bad(findings)
        assert (state, words in what, remedy.startswith("kubectl ")) == ("missing", True, True), what
        assert "nothing in the cluster was looked at" in what


def test_parameters_are_read_as_submit_reads_them(
    kubernetes: KubernetesServer, server: KubeflowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--cluster", "--host", server.url, "--set", "cluster.gpu_cuont=2"]) == 2
    assert "cluster.gpu_cuont: unknown parameter, did you mean gpu_count?" in capsys.readouterr().err
    assert main(["doctor", "--namespace", "fineline"]) == 2
    assert "--namespace and --set are for a cluster" in capsys.readouterr().err
    assert kubernetes.requests == []
