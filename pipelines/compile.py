"""fineline compile: a pipeline as the package that Kubeflow Pipelines runs."""

import argparse
import hashlib
import tempfile
from pathlib import Path
from typing import Any

from fineline import __version__
from pipelines import blocks
from pipelines.blocks import Blocks
from pipelines.settings import Cluster


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments: which pipeline, where to, and the parameters."""
    add_pipeline(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write the package (build/<pipeline>.yaml)")
    blocks.add_arguments(parser)
    parser.epilog = "example: fineline compile --set train.epochs=5 --set cluster.gpu_count=2"


def run(flags: argparse.Namespace) -> int:
    """Writes the package."""
    text = PIPELINES[flags.pipeline](*blocks.read(flags.overrides, flags.params))
    out = flags.out or Path("build", f"{flags.pipeline}.yaml")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    print(f"{out}  {version_name(text)}")
    return 0


def add_pipeline(parser: argparse.ArgumentParser) -> None:
    """The argument --pipeline, one of PIPELINES."""
    parser.add_argument("--pipeline", choices=list(PIPELINES), default="training", help="which pipeline (training)")


def package(steps: Blocks, cluster: Cluster) -> str:
    """The compiled training pipeline, YAML."""
    from pipelines.training import training_pipeline

    return compiled(training_pipeline(steps, cluster))


def retraining_package(steps: Blocks, cluster: Cluster) -> str:
    """The compiled retraining pipeline, YAML."""
    from pipelines.retraining import retraining_pipeline

    return compiled(retraining_pipeline(steps, cluster))


PIPELINES = {"training": package, "retraining": retraining_package}
"""The pipelines: by name, what compiles them."""


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
