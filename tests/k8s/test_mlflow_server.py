"""The MLflow server of the manifests, run for real with its own command and settings: sqlite, PostgreSQL, and its image."""

import configparser
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import requests

from fineline import __version__
from tests.k8s.build import K8S, kustomize, secret_keys

POSTGRES = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
IMAGE = f"fineline/mlflow:{__version__}"
CONFINED = (
    "--rm --network host --read-only --tmpfs /tmp --user 65532:65532 --cap-drop ALL --security-opt no-new-privileges"
)

no_postgres = pytest.mark.skipif(POSTGRES is None, reason="POSTGRESQL IS NOT INSTALLED: ONLY SQLITE IS TRIED")
WAYS = [
    "sqlite",
    pytest.param("postgres", marks=no_postgres),
    pytest.param("image", marks=[no_postgres, pytest.mark.docker]),  # on PostgreSQL, confined as the pod is
]
SECRETS = {
    "PGUSER": "mlflow",
    "PGPASSWORD": "p@ss/w:rd%",  # what an address could not hold as it is
    "MLFLOW_AUTH_ADMIN_PASSWORD": "correct horse battery",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "staple",
}
ADMIN = ("admin", SECRETS["MLFLOW_AUTH_ADMIN_PASSWORD"])

pytestmark = pytest.mark.skipif(not shutil.which("kubectl"), reason="KUBECTL IS NOT INSTALLED: MLFLOW IS NOT STARTED")


class Server(NamedTuple):
    address: str
    process: subprocess.Popen
    hosts: list[str]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def postgres() -> Iterator[dict[str, str]]:
    """A PostgreSQL server with an empty database `mlflow`, as the settings that name it."""
    assert POSTGRES is not None
    folder = Path(tempfile.mkdtemp(prefix="fineline-postgres-"))  # pytest's own folders are closed to other users
    (folder / "password").write_text(SECRETS["PGPASSWORD"])
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    if user:
        shutil.chown(folder, user)
        shutil.chown(folder / "password", user)
    settings = {"PGHOST": "127.0.0.1", "PGPORT": str(free_port()), "PGSSLMODE": "disable"}
    server = f"-p {settings['PGPORT']} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    control = [POSTGRES / "pg_ctl", "-D", folder / "data", "-w", "-s"]

    def run(*arguments: object, user: str | None = user, **environment: str) -> None:
        words = [str(argument) for argument in arguments]
        subprocess.run(
            words, check=True, user=user, cwd=folder, env=os.environ | environment, stdout=subprocess.DEVNULL
        )

    password = f"--pwfile={folder / 'password'}"
    run(POSTGRES / "initdb", "-D", folder / "data", "-A", "scram-sha-256", "-U", SECRETS["PGUSER"], password)
    run(*control, "-o", server, "-l", folder / "log", "start")
    try:
        run(POSTGRES / "createdb", "mlflow", **settings, **SECRETS)
        yield settings
    finally:
        run(*control, "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.fixture(scope="module", params=WAYS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The pod of the overlay `local`: its init container, then its server, with another database, store and port."""
    if request.param == "image":
        need_image()
    folder = tmp_path_factory.mktemp("mlflow")
    objects = kustomize(K8S / "overlays/local")
    (deployment,) = [t for t in objects if (t["kind"], t["metadata"]["name"]) == ("Deployment", "mlflow")]
    maps = {t["metadata"]["name"]: t["data"] for t in objects if t["kind"] == "ConfigMap"}
    spec = deployment["spec"]["template"]["spec"]
    (migrate,), (main,) = spec["initContainers"], spec["containers"]
    (auth,) = [volume["configMap"]["name"] for volume in spec["volumes"] if volume["name"] == "auth"]

    settings = {variable["name"]: variable["value"] for variable in main["env"]}
    for source in main["envFrom"]:
        settings |= maps[source["configMapRef"]["name"]] if "configMapRef" in source else {}
    assert set(SECRETS) == secret_keys()["mlflow-server"]
    settings |= SECRETS | {"MLFLOW_PORT": str(free_port()), "MLFLOW_ARTIFACTS_DESTINATION": "/tmp/artifacts"}
    users = configparser.ConfigParser()
    users.read_string(maps[auth]["basic_auth.ini"])
    migration, serving = list(migrate["command"]), main["command"] + main["args"]
    assert users["mlflow"]["database_uri"] == settings["MLFLOW_BACKEND_STORE_URI"] == migration[-1]
    if request.param == "sqlite":
        migration[-1] = settings["MLFLOW_BACKEND_STORE_URI"] = f"sqlite:///{folder}/mlflow.db"
        users["mlflow"]["database_uri"] = migration[-1]
    else:
        settings |= request.getfixturevalue("postgres")
    if request.param != "image":
        settings |= {"HOME": str(folder), "MLFLOW_ARTIFACTS_DESTINATION": str(folder / "artifacts")}
        settings["MLFLOW_AUTH_CONFIG_PATH"] = str(folder / "basic_auth.ini")
    with (folder / "basic_auth.ini").open("w") as file:
        users.write(file)

    environment = {"PATH": os.environ["PATH"], **settings}

    def started(words: list[str]) -> subprocess.Popen:
        if request.param == "image":
            mounted = f"{folder / 'basic_auth.ini'}:{settings['MLFLOW_AUTH_CONFIG_PATH']}:ro"
            given = [option for name in settings for option in ("--env", name)]
            words = ["docker", "run", *CONFINED.split(), *given, "--volume", mounted, IMAGE, *words]
        else:
            words = [str(Path(sys.executable).parent / words[0]), *words[1:]]
        with (folder / "log").open("a") as output:
            return subprocess.Popen(words, cwd=folder, env=environment, stdout=output, stderr=output)

    log = folder / "log"
    for _ in range(1 if request.param == "sqlite" else 2):  # a pod that starts again finds its tables
        assert started(migration).wait(timeout=300) == 0, log.read_text()
    process = started(serving)
    address = f"http://127.0.0.1:{settings['MLFLOW_PORT']}"
    (hosts,) = [word.partition("=")[2].split(",") for word in main["args"] if word.startswith("--allowed-hosts=")]
    try:
        deadline = time.monotonic() + main["startupProbe"]["failureThreshold"] * main["startupProbe"]["periodSeconds"]
        while not answers(address + main["readinessProbe"]["httpGet"]["path"]):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        yield Server(address, process, hosts)
    finally:
        process.terminate()
        process.wait(timeout=60)


def need_image() -> None:
    """Skips where the image cannot be run."""
    if (
        not shutil.which("docker")
        or subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True).returncode
    ):
        pytest.skip(f"NO DOCKER ENGINE, OR NO IMAGE {IMAGE} (make images): THE MLFLOW IMAGE IS NOT TRIED")


def answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


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

    created = requests.post(
        f"{server.address}/api/2.0/mlflow/users/create",
        json={"username": "training", "password": "twelve or more"},
        auth=ADMIN,
        timeout=30,
    )
    assert created.status_code == 200, created.text
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "training")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "twelve or more")
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
