"""python benchmarks/serving.py --bundle artifacts/bundle --model artifacts/model --splits artifacts/augmented

One table: the same model behind `fineline serve`, behind `mlflow models serve`, and, in PyTorch, behind Flask with a
transformers pipeline, as tutorials build it. All three run; wrk (Debian's package) asks them in turns at rising concurrency,
one text in a request, from this machine, whose cores it shares with them. Each has its own defaults.
"""

import argparse
import importlib.metadata
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import requests

from components.quantize.speed import machine
from components.register.logged_model import log_bundle
from fineline.artifacts import folders
from fineline.rows import dataset
from fineline.tracking import connection

FINELINE = "fineline serve"
MLFLOW, FLASK = "mlflow models serve", "Flask + pipeline"
VERSIONS = "mlflow onnxruntime fastapi uvicorn flask transformers torch".split()

_SCRIPT = """
bodies = {%s}
number = 0
function request()
  number = number %% #bodies + 1
  return wrk.format("POST", nil, {["Content-Type"] = "application/json"}, bodies[number])
end
function done(summary, latency, requests)
  local e = summary.errors
  print(string.format("RESULT %%d %%d %%d %%d %%d", summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
"""


class Server(NamedTuple):
    """A running server: where it answers, how a text is asked for, its process."""

    url: str
    body: Callable[[str], Any]
    process: subprocess.Popen


class Result(NamedTuple):
    """One run of wrk. Latencies in ms."""

    rate: float
    p50: float
    p99: float
    errors: int


def main() -> int:
    flags = _flags()
    texts = dataset.read_rows(flags.splits / "test.parquet")["text"].sample(flags.texts, random_state=0).tolist()
    results: dict[tuple[str, int], list[Result]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = {
            FINELINE: _fineline(flags.bundle, stack),
            MLFLOW: _mlflow(flags.bundle, folder, stack),
            FLASK: _flask(flags.model, stack),
        }
        _check(servers, texts[:20])
        scripts = {name: _script(folder / f"{n}.lua", s, texts) for n, (name, s) in enumerate(servers.items())}
        for server, script in zip(servers.values(), scripts.values(), strict=True):
            _load(server, script, 4, 2)  # warms up
        load = os.getloadavg()[0]
        for turn in range(flags.rounds):
            for connections in flags.connections:
                print(f"round {turn + 1} of {flags.rounds}, {connections} connections", file=sys.stderr)
                for name, server in servers.items():
                    result = _load(server, scripts[name], connections, flags.seconds)
                    results.setdefault((name, connections), []).append(result)
        memory = {name: _memory(server.process) for name, server in servers.items()}
    _print(results, memory, flags, load)
    return 0


def serve_with_flask(model: Path, port: int) -> None:
    """What a tutorial builds: a transformers pipeline behind Flask's own server."""
    from flask import Flask, jsonify, request
    from transformers import AutoTokenizer, pipeline

    from fineline.tasks import get_task

    config = json.loads((model / "model.json").read_text())
    loaded = get_task(config["task"]).load_model(model, config["labels"])
    classify = pipeline("text-classification", model=loaded, tokenizer=AutoTokenizer.from_pretrained(model))
    app = Flask(__name__)

    @app.post("/predict")
    def predict() -> Any:
        return jsonify(classify(request.json["text"], truncation=True)[0])

    app.run(port=port)


def _fineline(bundle: Path, stack: ExitStack, *more: str) -> Server:
    port = _free_port()
    command = [sys.executable, "-m", "cli", "serve", "--model", str(bundle), "--port", str(port)]
    return Server(f"http://127.0.0.1:{port}/predict", lambda text: {"texts": [text]}, _start([*command, *more], stack))


def _mlflow(bundle: Path, folder: Path, stack: ExitStack) -> Server:
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    client = connection.client()
    experiment = client.create_experiment("serving", artifact_location=str(folder / "files"))
    model, _ = log_bundle(client, bundle, folders.read_manifest(bundle), client.create_run(experiment).info.run_id)
    port = _free_port()
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        model,
        "--env-manager",
        "local",
        "-p",
        str(port),
    ]
    process = _start(command, stack, PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return Server(f"http://127.0.0.1:{port}/invocations", lambda text: {"inputs": [text]}, process)


def _flask(model: Path, stack: ExitStack) -> Server:
    port = _free_port()
    code = f"from pathlib import Path; from benchmarks.serving import *; serve_with_flask(Path({str(model)!r}), {port})"
    return Server(
        f"http://127.0.0.1:{port}/predict", lambda text: {"text": text}, _start([sys.executable, "-c", code], stack)
    )


def _start(command: list[str], stack: ExitStack, **environment: str) -> subprocess.Popen:
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **environment}
    )

    def end() -> None:
        for one in [*psutil.Process(process.pid).children(recursive=True), process]:
            one.kill()
        process.wait()

    stack.callback(end)
    return process


def _check(servers: dict[str, Server], texts: list[str]) -> None:
    """Waits for the servers; all must give nearly the same labels, or the figures would compare nothing."""
    labels: dict[str, list[str]] = {}
    for name, server in servers.items():
        deadline = time.monotonic() + 300
        while not _answers(server, texts[0]):
            assert server.process.poll() is None, f"{name} ended"
            assert time.monotonic() < deadline, f"{name} does not answer"
            time.sleep(0.5)
        contents = [requests.post(server.url, json=server.body(text), timeout=60).json() for text in texts]
        labels[name] = [c["label"] if name == FLASK else c["predictions"][0]["label"] for c in contents]
    for name, found in labels.items():
        same = statistics.mean(a == b for a, b in zip(found, labels[FLASK], strict=True))
        assert same >= 0.9, f"{name} gives other labels than {FLASK}"


def _answers(server: Server, text: str) -> bool:
    try:
        return requests.post(server.url, json=server.body(text), timeout=60).ok
    except requests.ConnectionError:
        return False


def _script(path: Path, server: Server, texts: list[str]) -> Path:
    bodies = (json.dumps(server.body(text)) for text in texts)
    path.write_text(_SCRIPT % ",".join(f"[==[{body}]==]" for body in bodies))
    return path


def _load(server: Server, script: Path, connections: int, seconds: int) -> Result:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script), server.url]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    line = next(line for line in output.splitlines() if line.startswith("RESULT"))
    count, micros, p50, p99, errors = map(int, line.split()[1:])
    return Result(1e6 * count / micros, p50 / 1000, p99 / 1000, errors)


def _print(
    results: dict[tuple[str, int], list[Result]], memory: dict[str, float], flags: argparse.Namespace, load: float
) -> None:
    print(f"{flags.rounds} rounds of {flags.seconds} s each, medians; load average before: {load:.2f}")
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    print(", ".join(f"{name} {importlib.metadata.version(name)}" for name in VERSIONS))
    print(", ".join(f"{name} {value:.0f} MB" for name, value in memory.items()), "of memory after the load\n")
    print(
        "| connections | server | requests/s | p50 ms | p99 ms | errors | fineline serves |\n|---|---|---|---|---|---|---|"
    )
    for connections in flags.connections:
        fineline = statistics.median(result.rate for result in results[FINELINE, connections])
        for name in memory:
            found = results[name, connections]
            rate, p50, p99 = (statistics.median(getattr(r, what) for r in found) for what in ("rate", "p50", "p99"))
            ratio = "" if name == FINELINE else f"{fineline / rate:.1f} x"
            errors = sum(result.errors for result in found)
            print(f"| {connections} | {name} | {rate:.0f} | {p50:.1f} | {p99:.1f} | {errors} | {ratio} |")


def _memory(process: subprocess.Popen) -> float:
    """Resident MB of a process and its children."""
    one = psutil.Process(process.pid)
    return sum(part.memory_info().rss for part in [one, *one.children(recursive=True)]) / 1e6


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle that ships")
    parser.add_argument("--model", type=Path, required=True, help="the PyTorch model that it was made of")
    parser.add_argument("--splits", type=Path, required=True, help="splits; the texts of the test split are asked")
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    if not shutil.which("wrk"):
        parser.error("wrk is not installed: apt-get install wrk")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
