"""fineline compile: the training pipeline as the package that Kubeflow Pipelines runs."""

import argparse
import hashlib
import tempfile
from pathlib import Path
from typing import Any

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
    """The compiled training pipeline, YAML."""
    from pipelines.training import training_pipeline

    return compiled(training_pipeline(steps, cluster))


def retraining_package(steps: Blocks, cluster: Cluster) -> str:
    """The compiled retraining pipeline, YAML."""
    from pipelines.retraining import retraining_pipeline

    return compiled(retraining_pipeline(steps, cluster))


def compiled(pipeline: Any) -> str:
    """A pipeline as YAML: the same parameters give the same bytes, under every version of the comments kfp adds."""
    from kfp.compiler import Compiler

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "pipeline.yaml"
        Compiler().compile(pipeline, str(target))
        lines = target.read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("#"))


def version_name(text: str) -> str:
    """The name of a package's version: fineline's version and the start of the sha256 of its content."""
    return f"{__version__}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
