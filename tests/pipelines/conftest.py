"""A Kubeflow Pipelines server for the tests of what talks to one."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from pipelines import client, packages
from pipelines.blocks import Blocks
from pipelines.settings import Cluster
from tests.cli.whole_cluster import cluster
from tests.conftest import PROJECT
from tests.kubernetes_server import KubernetesServer
from tests.pipelines.kubeflow_server import KubeflowServer

_SETTINGS = (
    client.HOST,
    client.UI,
    client.TOKEN,
    client.TOKEN_FILE,
    client.COOKIES,
    client.KUBE_CONTEXT,
    client.CA_FILE,
)
_COMPILE = dict(packages.PIPELINES)
_PACKAGES: dict[str, str] = {}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[KubeflowServer]:
    """A running server, and none of this machine's settings for another one or for a cluster; the working folder is the
    project's."""
    for variable in (*_SETTINGS, "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))
    monkeypatch.chdir(PROJECT)
    for pipeline in _COMPILE:
        monkeypatch.setitem(packages.PIPELINES, pipeline, partial(_compiled_once, pipeline))
    with KubeflowServer() as running:
        yield running


@pytest.fixture
def kubernetes(server: KubeflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesServer]:
    """A cluster in standalone mode with everything there, to which kubectl's configuration leads; no MLflow to reach.

    After `server`, which takes that configuration away."""
    with KubernetesServer(cluster("local", "kubeflow")) as running:
        (tmp_path / "kubeconfig").write_text(json.dumps(running.kubeconfig()))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        monkeypatch.delenv("MLFLOW_TRACKING_URI")
        yield running


def _compiled_once(pipeline: str, steps: Blocks, cluster: Cluster) -> str:
    """What kfp compiles, once for the same parameters: half a second each time."""
    key = repr((pipeline, steps, cluster))
    if key not in _PACKAGES:
        _PACKAGES[key] = _COMPILE[pipeline](steps, cluster)
    return _PACKAGES[key]
