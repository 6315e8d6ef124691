"""The parameters of a whole pipeline: params.yaml, changed by `--set`, checked by each step's own model."""

import argparse
import difflib
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fineline.process.errors import UsageError
from fineline.steps.params import validate
from pipelines.settings import Cluster

PARAMS = Path("params.yaml")
STEPS = {
    "pin": "source_version",
    "ingest": "dataset",
    "data_quality": "clean",
    "split": "splits",
    "augment": "augmented",
    "train": "model",
    "export_onnx": "onnx",
    "quantize": "bundle",
    "evaluate": "report",
    "register": "registration",
    "promote": "promotion",
}
"""Each step, in their order, with the artifact folder (dvc.yaml) that says what came out of it."""
BLOCKS = [*list(STEPS)[:3], "monitor", "decide", *list(STEPS)[3:]]
"""The steps' blocks, in the order of the retraining pipeline; monitor and decide are its alone."""

Blocks = dict[str, dict[str, Any]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that say which parameters: --params and --set."""
    parser.add_argument("--params", type=Path, default=PARAMS, metavar="FILE", help=f"the parameters ({PARAMS})")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="BLOCK.NAME=VALUE",
        help="change one parameter, as often as wanted; the value is YAML: train.epochs=5, cluster.images.train=NAME",
    )


def read(overrides: Sequence[str] = (), file: Path = PARAMS) -> tuple[Blocks, Cluster]:
    """The block of every step and the cluster's, from `file` with `overrides` (BLOCK.NAME=VALUE) merged in.

    Parameters that are null are left out, since Kubeflow cannot pass null: the step's own default is null then.
    Raises UsageError for what is wrong in any block, all at once.
    """
    import yaml

    if not file.is_file():
        raise UsageError(f"{file} does not exist", "run in the project's folder, or name the file with --params")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not valid YAML: {str(error).splitlines()[0]}", "correct the file") from None
    if not isinstance(content, dict):
        raise UsageError(f"{file} holds no blocks", "write one block per step; docs/parameters.md lists them")
    changed: dict[str, dict[str, str]] = {}
    for override in overrides:
        block, name, value = _parsed(override)
        _merge(content, {block: value})
        changed.setdefault(block, {})[name] = "--set"
    if unknown := [name for name in content if name not in BLOCKS and name != "cluster"]:
        close = difflib.get_close_matches(unknown[0], [*BLOCKS, "cluster"], n=1)
        raise UsageError(
            f"there is no block '{unknown[0]}'" + (f", did you mean {close[0]}?" if close else ""),
            f"blocks are {', '.join([*STEPS, 'cluster'])}",
        )
    blocks, problems = {}, []
    for step in BLOCKS:
        model = importlib.import_module(f"components.{step}.params").Params
        try:
            checked = validate(model, step, content.get(step) or {}, str(file), changed.get(step))
            dumped = checked.model_dump(mode="json")
            blocks[step] = {name: value for name, value in dumped.items() if value is not None}
        except UsageError as error:
            problems.append(error)
    try:
        cluster = validate(Cluster, "cluster", content.get("cluster") or {}, str(file), changed.get("cluster"))
    except UsageError as error:
        problems.append(error)
    if problems:
        raise UsageError("\n".join(problem.what for problem in problems), problems[0].hint)
    return blocks, cluster


def _parsed(override: str) -> tuple[str, str, dict[str, Any]]:
    """'train.epochs=5' as ('train', 'epochs', {'epochs': 5}); nothing after '=' is an empty text."""
    import yaml

    name, equals, text = override.partition("=")
    shown = repr(override)[1:-1]  # in one line, whatever it holds
    parts = name.strip().split(".")
    if not equals or len(parts) < 2 or not all(parts):
        raise UsageError(f"--set {shown} is not BLOCK.NAME=VALUE", "for instance --set train.epochs=5")
    try:
        value: Any = yaml.safe_load(text) if text else ""  # as dvc exp run -S does
        folded = _folded(text)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {shown}: {str(error).splitlines()[0]}", "quote the value as YAML wants it") from None
    if folded:
        raise UsageError(
            f"--set {shown}: YAML makes a space of a line break inside a text",
            "write it as \\n in double quotes: --set 'block.name=\"one\\ntwo\"'",
        )
    for part in reversed(parts[1:]):
        value = {part: value}
    return parts[0], parts[1], value


def _folded(text: str) -> bool:
    """Whether a text in this YAML goes over several lines without saying how (| or >): its line breaks would be lost."""
    import yaml

    scalars = (token for token in yaml.scan(text) if isinstance(token, yaml.ScalarToken))
    return any(token.style not in ("|", ">") and token.start_mark.line != token.end_mark.line for token in scalars)


def _merge(into: dict[str, Any], changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = value
