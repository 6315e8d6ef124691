"""A Kubeflow Pipelines server for the tests of what talks to one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines import client, packages
from pipelines.blocks import Blocks
from pipelines.settings import Cluster
from tests.conftest import PROJECT
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
_COMPILE = packages.PIPELINES["training"]
_PACKAGES: dict[str, str] = {}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[KubeflowServer]:
    """A running server, and none of this machine's settings for another one or for a cluster; the working folder is the
    project's."""
    for name in (*_SETTINGS, "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))
    monkeypatch.chdir(PROJECT)
    monkeypatch.setitem(packages.PIPELINES, "training", _compiled_once)
    with KubeflowServer() as running:
        yield running


def _compiled_once(steps: Blocks, cluster: Cluster) -> str:
    """What kfp compiles, once for the same parameters: half a second each time."""
    key = repr((steps, cluster))
    if key not in _PACKAGES:
        _PACKAGES[key] = _COMPILE(steps, cluster)
    return _PACKAGES[key]
