"""The MLflow server of the manifests, run for real with its own command and settings: sqlite, PostgreSQL, and its image."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.k8s.mlflow_pod import ADMIN, IMAGE, POSTGRES, TRAINING, Server, answers, make_user, pod, postgres

no_postgres = pytest.mark.skipif(POSTGRES is None, reason="POSTGRESQL IS NOT INSTALLED: ONLY SQLITE IS TRIED")
WAYS = [
    "sqlite",
    pytest.param("postgres", marks=no_postgres),
    pytest.param("image", marks=[no_postgres, pytest.mark.docker]),  # on PostgreSQL, confined as the pod is
]

pytestmark = pytest.mark.skipif(not shutil.which("kubectl"), reason="KUBECTL IS NOT INSTALLED: MLFLOW IS NOT STARTED")


@pytest.fixture(scope="module")
def database() -> Iterator[dict[str, str]]:
    with postgres() as settings:
        yield settings


@pytest.fixture(scope="module", params=WAYS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if request.param == "image":
        need_image()
    settings = {} if request.param == "sqlite" else request.getfixturevalue("database")
    with pod(tmp_path_factory.mktemp("mlflow"), settings, image=request.param == "image") as running:
        yield running


def need_image() -> None:
    """Skips where the image cannot be run."""
    if (
        not shutil.which("docker")
        or subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True).returncode
    ):
        pytest.skip(f"NO DOCKER ENGINE, OR NO IMAGE {IMAGE} (make images): THE MLFLOW IMAGE IS NOT TRIED")


@pytest.mark.slow
def test_only_its_probes_need_no_password(server: Server) -> None:
    experiments = f"{server.address}/api/2.0/mlflow/experiments/search?max_results=1"
    probe_from_kubelet = requests.get(f"{server.address}/health", headers={"Host": "203.0.113.7:5000"}, timeout=30)
    assert (probe_from_kubelet.status_code, probe_from_kubelet.text) == (200, "OK")
    assert requests.get(experiments, timeout=30).status_code == 401
    assert requests.get(experiments, auth=("admin", "password1234"), timeout=30).status_code == 401
    assert requests.get(experiments, auth=ADMIN, timeout=30).status_code == 200
    assert requests.get(f"{server.address}/", timeout=30).status_code == 401


def test_it_answers_under_the_names_of_its_service_alone(server: Server) -> None:
    experiments = f"{server.address}/api/2.0/mlflow/experiments/search?max_results=1"
    asked = {
        host: requests.get(experiments, headers={"Host": host.replace("*", "5000")}, auth=ADMIN, timeout=30).status_code
        for host in [*server.hosts, "mlflow.example.com"]
    }
    assert asked == dict.fromkeys(server.hosts, 200) | {"mlflow.example.com": 403}


def test_the_trainings_user_logs_a_run_with_an_artifact(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    make_user(server)
    for name, value in zip(("USERNAME", "PASSWORD"), TRAINING, strict=True):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    client = MlflowClient(server.address)
    run = client.create_run(client.create_experiment("fineline"))
    client.log_metric(run.info.run_id, "accuracy", 0.9)
    (tmp_path / "report.html").write_text("figures")
    (tmp_path / "fetched").mkdir()
    client.log_artifact(run.info.run_id, str(tmp_path / "report.html"))
    client.create_registered_model("fineline")
    assert client.get_run(run.info.run_id).data.metrics == {"accuracy": 0.9}
    fetched = client.download_artifacts(run.info.run_id, "report.html", str(tmp_path / "fetched"))
    assert Path(fetched).read_text() == "figures"


def test_it_ends_in_order_when_its_pod_is_stopped(server: Server) -> None:
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=30) in (0, -signal.SIGTERM)
    assert not answers(f"{server.address}/health")
