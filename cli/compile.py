"""fineline compile: a pipeline as the package that Kubeflow Pipelines runs."""

import argparse
from pathlib import Path

from fineline.process.errors import UsageError
from pipelines import blocks, compiler


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments: which pipeline, where to, and the parameters."""
    compiler.add_pipeline(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write the package (build/<pipeline>.yaml)")
    blocks.add_arguments(parser)
    parser.epilog = "example: fineline compile --set train.epochs=5 --set cluster.gpu_count=2"


def run(flags: argparse.Namespace) -> int:
    """Writes the package. Raises UsageError where something stands that is none."""
    out = flags.out or Path("build", f"{flags.pipeline}.yaml")
    if out.is_symlink() or out.is_dir() or (out.exists() and out.stat().st_size and not _is_package(out)):
        raise UsageError(
            f"{out} exists and is no compiled pipeline", "give --out another file, or move it away yourself"
        )
    text = compiler.PIPELINES[flags.pipeline](*blocks.read(flags.overrides, flags.params))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    print(f"{out}  {compiler.version_name(text)}")
    return 0


def _is_package(path: Path) -> bool:
    lines = path.read_bytes().splitlines()
    return b"pipelineInfo:" in lines and any(line.startswith(b"sdkVersion: kfp-") for line in lines)
