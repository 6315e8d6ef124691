"""fineline compile: the training pipeline as the package that Kubeflow Pipelines runs."""

import argparse
import hashlib
import tempfile
from pathlib import Path

from fineline import __version__
from pipelines import blocks
from pipelines.blocks import Blocks
from pipelines.settings import Cluster

OUT = Path("build/training.yaml")


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments: where to, and the parameters."""
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE", help=f"where to write the package ({OUT})")
    blocks.add_arguments(parser)
    parser.epilog = "example: fineline compile --set train.epochs=5 --set cluster.gpu_count=2"


def run(flags: argparse.Namespace) -> int:
    """Writes the package."""
    text = package(*blocks.read(flags.overrides, flags.params))
    flags.out.parent.mkdir(parents=True, exist_ok=True)
    flags.out.write_text(text, encoding="utf-8")
    print(f"{flags.out}  {version_name(text)}")
    return 0


def package(steps: Blocks, cluster: Cluster) -> str:
    """The compiled pipeline, YAML: the same parameters give the same bytes, under every version of the comments kfp adds."""
    from kfp.compiler import Compiler

    from pipelines.training import training_pipeline

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "training.yaml"
        Compiler().compile(training_pipeline(steps, cluster), str(target))
        lines = target.read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("#"))


def version_name(text: str) -> str:
    """The name of a package's version: fineline's version and the start of the sha256 of its content."""
    return f"{__version__}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
