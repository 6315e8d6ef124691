"""The compiler: a pipeline as the package that Kubeflow Pipelines runs, and what fits into one."""

import argparse
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from fineline import __version__
from fineline.kubeflow import delivery
from fineline.process.errors import UsageError
from pipelines.blocks import Blocks
from pipelines.settings import Cluster

LARGEST_ARGUMENT = 32 * 4096 - 1
"""Bytes of one argument of a command on Linux (MAX_ARG_STRLEN, 32 pages with the closing NUL). One of the first driver's
holds all inputs of the pipeline, and one of a step's launcher the executor input with the step's own."""
LARGEST_AROUND = 16 * 1024
"""Bytes kept for what an executor input holds besides: names, places and figures of artifacts. The largest that was
recorded (tests/recorded/executor-input) has 5 KB of it."""
LARGEST_INTEGER = 2**53
"""Whole numbers above it change: Kubeflow's are of type double."""


def add_pipeline(parser: argparse.ArgumentParser) -> None:
    """The argument --pipeline, one of PIPELINES."""
    parser.add_argument("--pipeline", choices=list(PIPELINES), default="training", help="which pipeline (training)")


def package(steps: Blocks, cluster: Cluster) -> str:
    """The compiled training pipeline, YAML."""
    from pipelines.training import training_pipeline

    return compiled(training_pipeline(_sent(steps), cluster))


def retraining_package(steps: Blocks, cluster: Cluster) -> str:
    """The compiled retraining pipeline, YAML."""
    from pipelines.retraining import retraining_pipeline

    return compiled(retraining_pipeline(_sent(steps), cluster))


PIPELINES = {"training": package, "retraining": retraining_package}
"""The pipelines: by name, what compiles them."""


def compiled(pipeline: Any) -> str:
    """A pipeline as YAML, as kfp.compiler writes it, but without its comments: they differ between versions of kfp, and are
    no comments any more where a default has several lines. Raises UsageError for defaults that no server could run."""
    import yaml
    from google.protobuf import json_format

    documents = [json_format.MessageToDict(spec) for spec in (pipeline.pipeline_spec, pipeline.platform_spec)]
    check_size(documents[0], {})
    return str(yaml.dump_all(documents, sort_keys=True))


def _sent(steps: Blocks) -> Blocks:
    """The blocks as they are handed to Kubeflow. Raises UsageError for what cannot arrive as it is."""
    changed = [f"{step}.{name}" for step, block in steps.items() for name, value in block.items() if _inexact(value)]
    if changed:
        raise UsageError(
            f"{', '.join(changed)}: a whole number above 2**53 = {LARGEST_INTEGER}, which Kubeflow changes",
            "use a smaller one",
        )
    return delivery.encoded(steps)


def _inexact(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(_inexact, value.values() if isinstance(value, dict) else value))
    return isinstance(value, int) and abs(value) > LARGEST_INTEGER


def check_size(specification: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
    """Checks that the inputs of a compiled pipeline, with `arguments` in place of defaults, fit into the commands that carry
    them. The server itself takes what the first driver then dies of. Raises UsageError."""
    root = specification["root"]
    inputs = {name: given["defaultValue"] for name, given in root["inputDefinitions"]["parameters"].items()}
    sizes = {name: _bytes(value) for name, value in {**inputs, **arguments}.items()}
    whole = max(sum(sizes.values()) + LARGEST_AROUND, _bytes(root))  # root: the command of the first driver has it too
    if whole > LARGEST_ARGUMENT:
        largest = max(sizes, key=lambda name: sizes[name])
        raise UsageError(
            f"the pipeline's inputs have {sum(sizes.values()):,} bytes, {largest} alone {sizes[largest]:,}; "
            f"{LARGEST_ARGUMENT - LARGEST_AROUND:,} reach a step, as one argument of its command",
            f"shorten {largest}: what is long belongs into a file that the step reads",
        )


def _bytes(value: Any) -> int:
    """The size of a JSON value as Kubeflow writes it: UTF-8, but \\u003c for '<', and so for '>' and '&' (Go's encoding/json)."""
    text = json.dumps(value, ensure_ascii=False)
    return len(text.encode()) + sum(5 * text.count(character) for character in "<>&")


def version_name(text: str) -> str:
    """The name of a package's version: fineline's version and the start of the sha256 of its content."""
    return f"{__version__}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
