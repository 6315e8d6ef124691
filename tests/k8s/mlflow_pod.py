"""The MLflow server of the manifests as a process of its own: their command, settings and users, another database and store."""

import configparser
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import requests

from fineline import __version__
from tests.k8s.build import K8S, kustomize, secret_keys

POSTGRES = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
IMAGE = f"fineline/mlflow:{__version__}"
CONFINED = (
    "--rm --network host --read-only --tmpfs /tmp --user 65532:65532 --cap-drop ALL --security-opt no-new-privileges"
)
SECRETS = {
    "PGUSER": "mlflow",
    "PGPASSWORD": "p@ss/w:rd%",  # what an address could not hold as it is
    "MLFLOW_AUTH_ADMIN_PASSWORD": "correct horse battery",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "staple",
}
ADMIN = ("admin", SECRETS["MLFLOW_AUTH_ADMIN_PASSWORD"])
TRAINING = ("training", "twelve or more")


class Server(NamedTuple):
    address: str
    process: subprocess.Popen
    hosts: list[str]


@contextlib.contextmanager
def postgres() -> Iterator[dict[str, str]]:
    """A PostgreSQL server with an empty database `mlflow`, as the settings that name it, up inside the block."""
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


@contextlib.contextmanager
def pod(
    folder: Path, database: Mapping[str, str], store: Mapping[str, str] | None = None, image: bool = False
) -> Iterator[Server]:
    """The pod of the overlay `local`: its init container, then its server, with another database, store and port.

    `database` is what `postgres` gives, nothing for SQLite in `folder`; `store` are the settings of an object store, none for
    files in `folder`. With `image` both run in the image, confined as the pod is, else with this environment's MLflow.
    """
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
    files = {"MLFLOW_ARTIFACTS_DESTINATION": "/tmp/artifacts" if image else str(folder / "artifacts")}
    settings |= SECRETS | {"MLFLOW_PORT": str(free_port())} | database | (store or files)
    users = configparser.ConfigParser()
    users.read_string(maps[auth]["basic_auth.ini"])
    migration, serving = list(migrate["command"]), main["command"] + main["args"]
    assert users["mlflow"]["database_uri"] == settings["MLFLOW_BACKEND_STORE_URI"] == migration[-1]
    if not database:
        migration[-1] = settings["MLFLOW_BACKEND_STORE_URI"] = f"sqlite:///{folder}/mlflow.db"
        users["mlflow"]["database_uri"] = migration[-1]
    if not image:
        settings |= {"HOME": str(folder), "MLFLOW_AUTH_CONFIG_PATH": str(folder / "basic_auth.ini")}
    with (folder / "basic_auth.ini").open("w") as file:
        users.write(file)

    environment = {"PATH": os.environ["PATH"], **settings}

    def started(words: list[str]) -> subprocess.Popen:
        if image:
            mounted = f"{folder / 'basic_auth.ini'}:{settings['MLFLOW_AUTH_CONFIG_PATH']}:ro"
            given = [option for name in settings for option in ("--env", name)]
            words = ["docker", "run", *CONFINED.split(), *given, "--volume", mounted, IMAGE, *words]
        else:
            words = [str(Path(sys.executable).parent / words[0]), *words[1:]]
        with (folder / "log").open("a") as output:
            return subprocess.Popen(words, cwd=folder, env=environment, stdout=output, stderr=output)

    log = folder / "log"
    for _ in range(2 if database else 1):  # a pod that starts again finds its tables
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


def make_user(server: Server, user: tuple[str, str] = TRAINING) -> None:
    """Makes a user (name, password) as docs/cluster.md does."""
    name, password = user
    content = {"username": name, "password": password}
    made = requests.post(f"{server.address}/api/2.0/mlflow/users/create", json=content, auth=ADMIN, timeout=30)
    assert made.status_code == 200, made.text


def answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
