"""python benchmarks/ingest_memory.py [ROWS ...]: rows per second and peak memory of ingest as its file grows.

Peak memory is the child's maximum resident set size, of a whole run of the step (interpreter and libraries included); pin
runs before it and is not counted.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).parents[1]

_WORDS = [f"word{number}" for number in range(5_000)]


def main(counts: list[int]) -> None:
    print(f"{'format':8} {'rows':>10} {'MB':>7} {'rows/s':>9} {'peak RSS, MB':>13}")
    for form in ("csv", "jsonl", "parquet"):
        for count in counts:
            with tempfile.TemporaryDirectory() as folder:
                source = write_rows(Path(folder) / f"rows.{form}", count)
                seconds, peak = measure(source, Path(folder) / "dataset")
                size = source.stat().st_size / 1e6
                print(f"{form:8} {count:10,} {size:7,.0f} {count / seconds:9,.0f} {peak:13,.0f}", flush=True)


def write_rows(path: Path, count: int) -> Path:
    """`count` rows of about 15 words each, with 20 labels."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = random.Random(0)
    if path.suffix == ".parquet":
        with pq.ParquetWriter(path, pa.schema([("text", pa.string()), ("label", pa.string())])) as writer:
            for start in range(0, count, 50_000):
                rows = [_row(rng) for _ in range(start, min(count, start + 50_000))]
                writer.write_table(pa.Table.from_pylist(rows))
        return path
    with path.open("w", encoding="utf-8") as stream:
        stream.write("text,label\n" if path.suffix == ".csv" else "")
        for _ in range(count):
            row = _row(rng)
            line = f"{row['text']},{row['label']}" if path.suffix == ".csv" else json.dumps(row)
            stream.write(line + "\n")
    return path


def measure(source: Path, dataset: Path) -> tuple[float, float]:
    """Wall-clock seconds and peak resident memory in MB of one run of ingest."""
    version = dataset.with_name("source_version")
    pin = [sys.executable, "-m", "components.pin", "--source_version", str(version)]
    subprocess.run(
        [*pin, "--params", json.dumps({"source": str(source)})], cwd=PROJECT, check=True, stdout=subprocess.DEVNULL
    )
    started = time.perf_counter()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "components.ingest", "--source_version", str(version)),
            *("--dataset", str(dataset), "--params", "{}"),
        ],
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
    )
    _pid, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("ingest failed")
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB on Linux
    return time.perf_counter() - started, usage.ru_maxrss * unit / 1e6


def _row(rng: random.Random) -> dict[str, str]:
    return {"text": " ".join(rng.choices(_WORDS, k=15)), "label": f"label{rng.randrange(20)}"}


if __name__ == "__main__":
    main([int(argument.replace("_", "")) for argument in sys.argv[1:]] or [50_000, 200_000, 1_000_000])
