"""`fineline serve` for tests, in a process that cannot import torch, and versions in a registry for it to serve."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from fineline.artifacts import folders
from fineline.bundles.bundle import golden, open_bundle

REFUSE_TORCH = """
import importlib.abc, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "kfp"):
            raise ImportError(f"{name} is not to be imported")

sys.meta_path.insert(0, Refuse())
from cli.__main__ import main
sys.exit(main())
"""
SECONDS = 180


@dataclass
class Server:
    """A running `fineline serve`. `log` grows with what it writes on stdout."""

    process: subprocess.Popen
    log: list[dict[str, Any]]
    url: str = ""

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url + path, timeout=SECONDS)

    def post(self, path: str, content: Any) -> requests.Response:
        return requests.post(self.url + path, json=content, timeout=SECONDS)

    def predict(self, *texts: str) -> dict[str, Any]:
        answer = self.post("/predict", {"texts": texts})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def metric(self, line: str) -> float:
        """The value of the metric that is written like `line`."""
        values = dict(found.rsplit(" ", 1) for found in self.get("/metrics").text.splitlines())
        return float(values[line])

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.log if line["event"] == name]

    def stop(self) -> int:
        """Sends SIGTERM; gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=SECONDS)


def command(*arguments: object) -> list[str]:
    """fineline serve as a command that cannot import torch."""
    return [sys.executable, "-c", REFUSE_TORCH, "serve", *map(str, arguments)]


@contextlib.contextmanager
def serving(model: object, *arguments: object) -> Iterator[Server]:
    """A server of `model` at a free port."""
    process = subprocess.Popen(
        command("--model", model, "--port", 0, "--drain-seconds", 0, *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    server = Server(process, [])
    try:
        assert process.stdout
        assert process.stderr
        reader = threading.Thread(target=lambda: server.log.extend(map(json.loads, process.stdout)), daemon=True)
        reader.start()
        until(lambda: server.events("listening") or process.poll() is not None)
        assert process.poll() is None, process.stderr.read()
        server.url = "http://127.0.0.1:{port}".format(**server.events("listening")[0])
        until(lambda: _answers(f"{server.url}/v2/health/ready"))
        yield server
    finally:
        process.kill()
        process.wait()


def until(true: Callable[[], Any], seconds: float = SECONDS) -> None:
    """Waits until `true()`; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


def register(bundle: Path, name: str, **tags: str) -> str:
    """Registers a bundle as the next version of `name`, with its sha256 unless `tags` say another; gives the version."""
    from components.register.logged_model import log_bundle
    from fineline.tracking import connection

    made = folders.read_manifest(bundle)
    with contextlib.chdir(bundle.parent):  # a sqlite store keeps its files in mlruns/ where it is first opened
        client = connection.client()
        source, model_id = log_bundle(client, bundle, made, client.create_run("0").info.run_id)
    if not client.search_registered_models(f"name='{name}'"):
        client.create_registered_model(name)
    tags = {"bundle_sha256": made.digest.removeprefix("sha256:"), **tags}
    return client.create_model_version(name, source, tags=tags, model_id=model_id).version


def variant(bundle: Path, folder: Path, temperature: float, passes: bool = True) -> Path:
    """A copy of `bundle` with another temperature, whole in itself; one that does not pass its self-test if asked."""
    shutil.copytree(bundle, folder)
    made, config = folders.read_manifest(folder), json.loads((folder / "bundle.json").read_text())
    folders.write_json(folder / "bundle.json", {**config, "temperature": temperature})
    found = golden(open_bundle(folder)) if passes else [[value / 2 for value in row] for row in config["golden"]]
    folders.write_json(folder / "bundle.json", {**config, "temperature": temperature, "golden": found})
    folders.write_manifest(folder, step=made.step, kind=made.kind, params={}, inputs={}, figures={}, task=made.task)
    return folder


def _answers(url: str) -> bool:
    with contextlib.suppress(requests.ConnectionError):
        return requests.get(url, timeout=SECONDS).status_code == 200
    return False
