"""fineline run: the compiled training pipeline on this machine, in containers or as processes."""

import argparse
import contextlib
import datetime
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cli import summary
from cli.live import Table
from fineline.artifacts import folders
from fineline.process.errors import ResourceError
from fineline.tracking import connection
from fineline.tracking.tags import PIPELINE_RUN
from pipelines import blocks, containers, local
from pipelines.compiler import package, version_name

RUNS = Path(".fineline/runs")
CHECKPOINTS = Path(".fineline/checkpoints")
WORKDIR = Path("/app")
"""Working directory of the images."""

_SECONDS_TO_START = 180.0  # 5 s on an idle machine; a new database on a busy one needs a minute


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments: which runner, and the parameters."""
    parser.add_argument(
        "--runner",
        choices=["docker", "subprocess"],
        required=True,
        help="docker: each step in its own image (make images); subprocess: each step in this environment",
    )
    blocks.add_arguments(parser)
    parser.epilog = (
        "example: fineline run --runner docker --set pin.source=data/sample/messages.csv --set train.epochs=1\n"
        "The settings of the block `cluster` other than the images are Kubernetes' alone and have no effect here."
    )


def run(flags: argparse.Namespace) -> int:
    """Compiles, runs, and prints the summary. Raises FinelineError with the exit code of the step that failed."""
    docker = flags.runner == "docker"
    steps, cluster = blocks.read(flags.overrides, flags.params)
    text = package(steps, cluster.model_copy(update={"gpu_count": 0, "retries": 0}))  # kfp's local runner retries too
    images = _images(text)
    if docker:
        _check_docker(images.values())
    now = datetime.datetime.now(datetime.UTC)
    folder = (RUNS / f"{now:%Y%m%dT%H%M%S}-{version_name(text).rpartition('-')[2]}").absolute()
    folder.mkdir(parents=True)
    compiled = folder / "training.yaml"
    compiled.write_text(text, encoding="utf-8")
    checkpoints = CHECKPOINTS.absolute()
    mounts = {step: _mounts(block) for step, block in steps.items()} if docker else {}
    checkpoints.mkdir(parents=True, exist_ok=True)
    if docker:
        mounts["ingest"] += mounts["pin"]  # it reads what pin looked at
        mounts["train"] += [containers.mount(checkpoints)]
    with _tracking(docker) as (environment, shared), Table(list(blocks.STEPS)) as table:
        environment |= {PIPELINE_RUN: folder.name}
        if threads := os.environ.get("OMP_NUM_THREADS"):
            environment |= {"OMP_NUM_THREADS": threads}  # the order of additions, and so the weights, depends on it
        runner = local.Runner(docker, environment, mounts | {"": shared})
        tasks = local.execute(compiled, {**images, "checkpoints": str(checkpoints)}, folder, runner, table.show)
    if folders.read_manifest(tasks["evaluate"].outputs["report"]).figures["passed"] and "register" not in tasks:
        raise ResourceError("the gate said yes, but kfp did not run register", f"its log is {folder / 'kfp.log'}")
    results = folder / "results"
    results.mkdir()
    for task in tasks.values():
        for name, path in task.outputs.items():
            (results / name).symlink_to(os.path.relpath(path, results))
    print()
    for line in summary.summary(results.relative_to(Path.cwd()), summary.width()):
        print(line)
    return 0


def _images(text: str) -> dict[str, str]:
    """The compiled pipeline's inputs that name an image, with their values."""
    import yaml

    inputs = next(yaml.safe_load_all(text))["root"]["inputDefinitions"]["parameters"]
    return {name: given["defaultValue"] for name, given in inputs.items() if name.endswith("_image")}


def _check_docker(images: Iterable[str]) -> None:
    if not shutil.which("docker"):
        raise ResourceError("docker is not installed", "install Docker, or use --runner subprocess")
    answer = subprocess.run(["docker", "version"], capture_output=True, text=True)
    if answer.returncode:
        raise ResourceError(
            f"the Docker engine does not answer: {answer.stderr.strip().splitlines()[-1]}",
            "start it, or use --runner subprocess",
        )
    for image in images:
        if subprocess.run(["docker", "image", "inspect", image], capture_output=True).returncode:
            raise ResourceError(f"there is no image {image} here", "build it: make images ACCELERATOR=cpu")


def _mounts(block: Mapping[str, Any]) -> list[str]:
    """Mounts, read-only, of the local files and folders that a step's parameters name, each where the step looks for it."""
    found = []
    for value in block.values():
        path = Path(value) if isinstance(value, str) else Path()
        while set("*?[") & set(str(path)):  # of a glob, the folder
            path = path.parent
        if path != Path() and path.exists():
            found.append(containers.mount(path.absolute(), WORKDIR / path, read_only=True))
    return found


@contextlib.contextmanager
def _tracking(docker: bool) -> Iterator[tuple[dict[str, str], list[str]]]:
    """Environment and mounts with which a step reaches MLflow; a file's place is taken by a server while containers need it."""
    uri = connection.tracking_uri()
    if not docker:
        yield {}, []
        return
    if uri.startswith("http"):
        yield {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}, []
        return
    store = Path("mlruns").absolute()  # where MLflow keeps artifacts beside a database file
    store.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = f"-m mlflow server --host 127.0.0.1 --port {port} --workers 1 --no-serve-artifacts".split()
    stores = ["--backend-store-uri", uri, "--default-artifact-root", str(store)]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen([sys.executable, *command, *stores], stdout=log, stderr=log, start_new_session=True)
        try:
            if not _answers(f"http://127.0.0.1:{port}/health", server):
                log.seek(0)
                last = log.read().decode(errors="replace").splitlines()[-3:]
                raise ResourceError(
                    "mlflow server, which the containers log to, did not start:\n"
                    + "\n".join(f"  {line}" for line in last),
                    "start one yourself and give its address in MLFLOW_TRACKING_URI",
                )
            yield {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}, [containers.mount(store)]
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait()


def _answers(url: str, server: "subprocess.Popen[bytes]") -> bool:
    """Whether the server answers before it ends and before the time to start is over."""
    import requests

    deadline = time.monotonic() + _SECONDS_TO_START
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(requests.RequestException):
            if requests.get(url, timeout=5).ok:
                return True
        time.sleep(0.2)
    return False
