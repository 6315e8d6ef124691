"""python benchmarks/inference.py --model artifacts/model --splits artifacts/augmented --bundle artifacts/onnx artifacts/bundle

One table: the PyTorch model in fp32 and bf16 and the bundles on ONNX Runtime, on the same rows in one run. They take turns
in every round, so that what else the machine does disturbs all alike. Times include the tokenizer. On the CPU.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.quantize.speed import machine
from fineline.artifacts import folders
from fineline.bundles.bundle import Bundle, feed, model_files, open_bundle, run
from fineline.rows import dataset
from fineline.tasks import Task
from fineline.tasks.parts import UNCALIBRATED

Engine = Callable[[Sequence[Any]], np.ndarray]  # encodings of one batch to logits (n, k)


def main() -> int:
    flags = _flags()
    bundles = [open_bundle(folder, flags.threads) for folder in flags.bundle]
    task, labels, tokenizer = bundles[0].task, bundles[0].labels, bundles[0].tokenizer
    rows = dataset.read_rows(flags.splits / f"{flags.split}.parquet")
    rows = rows if len(rows) <= flags.texts else rows.sample(flags.texts, random_state=0)
    texts, targets = rows["text"].tolist(), task.targets(rows, labels)
    engines, sizes = _engines(flags.model, bundles, task, labels, flags.threads)

    timed = texts[: flags.timed_texts]
    latencies: dict[str, list[float]] = {name: [] for name in engines}
    rates: dict[str, list[float]] = {name: [] for name in engines}
    scored = {name: _logits(engine, tokenizer, texts, flags.batch_size) for name, engine in engines.items()}  # warms up
    for turn in range(flags.rounds):
        print(f"round {turn + 1} of {flags.rounds}", file=sys.stderr)
        for name, engine in engines.items():
            latencies[name] += [_seconds(engine, tokenizer, [text], 1) for text in timed]
            rates[name].append(len(timed) / _seconds(engine, tokenizer, timed, flags.batch_size))

    print(
        f"{len(texts):,} {flags.split} rows, {len(timed)} of them timed, {flags.rounds} rounds, {flags.threads} threads"
    )
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    print(
        f"{'':24} {'p50 ms':>8} {'p95 ms':>8} {'texts/s':>8} {'p50 x':>7} {'rate x':>7} {'MB':>7} "
        f"{task.metric:>9} {'accuracy':>9} {'changed':>8}"
    )
    first = next(iter(engines))
    for name in engines:
        p50, p95 = (1000 * np.percentile(latencies[name], q) for q in (50, 95))
        rate = np.median(rates[name])
        probability, reference = (task.answers(scored[key], UNCALIBRATED) for key in (name, first))
        metrics = task.metrics(targets, probability, labels)
        changed = np.mean(task.choices(probability) != task.choices(reference))
        print(
            f"{name:24} {p50:8.2f} {p95:8.2f} {rate:8.0f} {1000 * np.median(latencies[first]) / p50:7.2f} "
            f"{rate / np.median(rates[first]):7.2f} {sizes[name] / 1e6:7.1f} {metrics[task.metric]:9.4f} "
            f"{metrics.get('accuracy', float('nan')):9.4f} {changed:8.2%}"
        )
    return 0


def _engines(
    model: Path, bundles: Sequence[Bundle], task: Task, labels: Sequence[str], threads: int
) -> tuple[dict[str, Engine], dict[str, int]]:
    """Name -> what computes the logits of a batch, and name -> bytes of its weights. torch fp32 is first."""
    import torch

    torch.set_num_threads(threads)
    trained = task.load_model(model, labels).eval()

    def fp32(encodings: Sequence[Any]) -> np.ndarray:
        with torch.inference_mode():
            inputs = {name: torch.from_numpy(array) for name, array in feed(bundles[0], encodings).items()}
            return trained(**inputs).logits.float().numpy()

    def bf16(encodings: Sequence[Any]) -> np.ndarray:
        with torch.autocast("cpu", torch.bfloat16):
            return fp32(encodings)

    engines: dict[str, Engine] = {"torch fp32": fp32, "torch bf16": bf16}
    weights = sum(path.stat().st_size for path in model.glob("*.safetensors"))
    sizes = dict.fromkeys(engines, weights)
    for bundle in bundles:
        name = f"onnxruntime {bundle.config['precision']}"
        name = name if name not in engines else f"{name} {bundle.folder.name}"
        engines[name] = lambda encodings, opened=bundle: run(opened, encodings)
        sizes[name] = sum(path.stat().st_size for path in model_files(bundle.folder))
    return engines, sizes


def _logits(engine: Engine, tokenizer: Any, texts: Sequence[str], batch_size: int) -> np.ndarray:
    """Logits of `texts` in their order, in batches by length."""
    encodings = tokenizer.encode_batch(list(texts))
    order = sorted(range(len(texts)), key=lambda i: len(encodings[i].ids))
    parts = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return np.concatenate([engine([encodings[i] for i in part]) for part in parts])[np.argsort(order)]


def _seconds(engine: Engine, tokenizer: Any, texts: Sequence[str], batch_size: int) -> float:
    started = time.perf_counter()
    _logits(engine, tokenizer, texts, batch_size)
    return time.perf_counter() - started


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="the trained model")
    parser.add_argument("--splits", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, required=True, nargs="+", help="outputs of export_onnx and quantize")
    parser.add_argument("--split", choices=dataset.SPLITS, default="test")
    parser.add_argument("--texts", type=int, default=10_000, help="most rows that are scored")
    parser.add_argument("--timed-texts", type=int, default=200, help="rows on which time is measured")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=machine()["cores"])
    parser.add_argument("--batch-size", type=int, default=64)
    flags = parser.parse_args()
    for folder in (flags.model, flags.splits, *flags.bundle):
        folders.read_manifest(folder)
    return flags


if __name__ == "__main__":
    sys.exit(main())
