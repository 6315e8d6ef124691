"""python benchmarks/busy.py --splits artifacts/augmented [--bundle artifacts/onnx artifacts/bundle]

How threads that wait for each other do beside other work: training steps of MiniLM, or bundles' texts in bulk.

Each way of waiting is a process of its own, as libraries read such settings when they are loaded. They take turns, alone and
beside one other process that multiplies matrices with a thread for each core, so that what else the machine does disturbs all
alike. A figure is the median of the turns, per second, and its ratio to the first way's.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from fineline.rows import dataset
from fineline.steps.command_line import quiet_libraries

Work = Callable[[], int]  # does some, and gives how much

SPIN = {"GOMP_SPINCOUNT": "300000"}  # what GNU's OpenMP does where nobody tells it
TRAINING: Mapping[str, Mapping[str, str]] = {
    "OpenMP's default": SPIN,
    "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000"},
    "fineline": {},
    "OMP_WAIT_POLICY=passive": {"GOMP_SPINCOUNT": "0"},
    "OMP_NUM_THREADS=1": {"OMP_NUM_THREADS": "1"},
}
BUNDLE = ("ONNX Runtime's default", "fineline", "one thread")


def main() -> int:
    flags = _flags()
    if flags.work:
        _serve(flags)
        return 0
    bundles = [("bundle", str(folder), {way: {} for way in BUNDLE}) for folder in flags.bundle]
    jobs = bundles or [("training", "", dict(TRAINING))]
    for kind, folder, ways in jobs:
        print(f"{kind} {folder}".strip())
        found = _turns(flags, kind, folder, ways)
        alone, beside = ({way: statistics.median(rates[way]) for way in ways} for rates in found)
        first = next(iter(ways))
        for way in ways:
            print(
                f"  {way:24} alone {alone[way]:7.1f} ({alone[way] / alone[first]:5.2f})"
                f"   beside another {beside[way]:7.1f} ({beside[way] / beside[first]:5.2f})"
            )
    return 0


def _turns(
    flags: argparse.Namespace, kind: str, folder: str, ways: Mapping[str, Mapping[str, str]]
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """The rates of each way, alone and beside another process."""
    workers = {way: _start(flags, kind, folder, way, settings) for way, settings in ways.items()}
    other = _start(flags, "other", "", "", SPIN)
    alone: dict[str, list[float]] = {way: [] for way in ways}
    beside: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(flags.rounds):
        for way, worker in workers.items():
            alone[way].append(_answer(_ask(worker, flags.seconds)))
        for way, worker in workers.items():
            _ask(other, 1.2 * flags.seconds)
            beside[way].append(_answer(_ask(worker, flags.seconds)))
            _answer(other)
    for worker in (*workers.values(), other):
        worker.communicate()
    return alone, beside


def _start(
    flags: argparse.Namespace, kind: str, folder: str, way: str, settings: Mapping[str, str]
) -> "subprocess.Popen[str]":
    command = [sys.executable, __file__, "--splits", str(flags.splits), "--work", kind, "--way", way]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    worker = subprocess.Popen(
        [*command, *(["--bundle", folder] if folder else [])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**environment, "PYTHONPATH": str(Path(__file__).parents[1]), **settings},
    )
    _answer(worker)
    return worker


def _ask(worker: "subprocess.Popen[str]", seconds: float) -> "subprocess.Popen[str]":
    assert worker.stdin
    worker.stdin.write(f"{seconds}\n")
    worker.stdin.flush()
    return worker


def _answer(worker: "subprocess.Popen[str]") -> float:
    assert worker.stdout
    return float(worker.stdout.readline())


def _serve(flags: argparse.Namespace) -> None:
    """Works for as many seconds as each line of stdin says, and prints how much a second was done."""
    quiet_libraries()
    work = {"training": _training, "bundle": _bundle, "other": _other}[flags.work](flags)
    work()
    print(0, flush=True)
    for line in sys.stdin:
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < float(line):
            done += work()
        print(done / (time.perf_counter() - began), flush=True)


def _training(flags: argparse.Namespace) -> Work:
    """Optimizer steps of MiniLM on one batch of 32 texts, in the arithmetic that train.precision: auto takes."""
    import torch

    from components.train import encoding, fitting, network, precision
    from components.train.params import Params
    from components.train.warm_start import Origin
    from fineline.pretrained import models
    from fineline.tasks import get_task

    fitting.quiet()
    params, rows, task = Params(), dataset.read_rows(flags.splits / "train.parquet")[:32], get_task("single_label")
    labels, folder = task.label_set(rows), models.model_folder(params.model)
    tokenizer = network.load_tokenizer(folder, params.max_length)
    model = network.build(task, Origin(folder), tokenizer, labels, params)
    encoded = encoding.encode(tokenizer, rows["text"].tolist(), task.targets(rows, labels), params.max_length)
    batch, optimizer = task.collator(tokenizer)(encoded[:]), torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    target, loss, bf16 = (
        batch.pop("labels"),
        task.loss(params.label_smoothing, None),
        precision.resolve("auto") == "bf16",
    )

    def work() -> int:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss(model(**batch), target).backward()
        optimizer.step()
        optimizer.zero_grad()
        return len(rows)

    return work


def _bundle(flags: argparse.Namespace) -> Work:
    """128 test texts in bulk."""
    import onnxruntime

    from fineline.bundles import bundle

    def default_options(threads: int) -> onnxruntime.SessionOptions:
        return onnxruntime.SessionOptions()  # all cores on each run, spinning

    if flags.way == BUNDLE[0]:
        bundle.session_options = default_options
    one = flags.way == BUNDLE[2] or flags.way == BUNDLE[0]  # without fineline's runs side by side
    opened = bundle.open_bundle(flags.bundle[0], 1 if one else 0)
    texts = dataset.read_rows(flags.splits / "test.parquet")["text"].tolist()[:128]

    def work() -> int:
        bundle.logits(opened, texts)
        return len(texts)

    return work


def _other(_flags: argparse.Namespace) -> Work:
    import torch

    square = torch.randn(256, 256)

    def work() -> int:
        torch.relu(square @ square)
        return 1

    return work


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=Path, required=True)
    parser.add_argument(
        "--bundle",
        type=Path,
        nargs="*",
        default=[],
        help="outputs of export_onnx and quantize, instead of the training",
    )
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=0.8, help="of a turn")
    parser.add_argument("--work", choices=("training", "bundle", "other"), help=argparse.SUPPRESS)
    parser.add_argument("--way", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
