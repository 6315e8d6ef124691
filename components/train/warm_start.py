"""Where a training begins: from a pretrained model, or from an earlier one of the same task (the champion), head included."""

import contextlib
import dataclasses
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from components.train import ranks
from components.train.params import Params
from fineline.artifacts import folders
from fineline.pretrained import loading, models
from fineline.process import patience
from fineline.process.errors import ResourceError, UsageError
from fineline.registry import fetch, model_versions, training_rows
from fineline.tracking import connection
from fineline.tracking.journal import log_files

TRAINED = "trained"
"""Folder of an MLflow run in which train keeps its model; `model` is the name of the bundle that register logs there."""


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where the weights come from. `labels` are those of its head, in the order of the logits; none: the head is new.

    `seen` are the ids of the rows that it was trained on; None: nobody knows. `name` says for people what it is.
    """

    folder: Path
    labels: tuple[str, ...] = ()
    seen: frozenset[str] | None = None
    name: str = ""

    @property
    def warm(self) -> bool:
        return bool(self.name)


@contextlib.contextmanager
def origin(params: Params, task: str) -> Iterator[Origin]:
    """The model that `params` start from, as files on this disk while the block runs.

    An alias that points to nothing yet (no champion) gives the pretrained model, after one line that says so. Raises
    UsageError when there is no such model, or it is of another task or pooling; ResourceError when the registry does not
    answer. Of several processes the first downloads for all.
    """
    with contextlib.ExitStack() as stack:
        found = None
        if ranks.first() and params.init_from.startswith("models:/"):
            temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fineline-")))
            waits = patience.WAITS if ranks.count() > 1 else ()  # of one process, the whole step is tried again
            found = patience.patient(lambda: _from_registry(params.init_from, temporary), "train", waits)
        found = ranks.from_first(found)
        if found is None and params.init_from and not params.init_from.startswith("models:/"):
            folder = models.model_folder(params.init_from)
            found = Origin(folder, name=folder.name)
        if found is None:
            yield Origin(models.model_folder(params.model, params.revision))
            return
        models.model_folder(str(found.folder))
        yield dataclasses.replace(found, labels=_labels_of_head(found, params, task))


def carried(rows: Any, before: Sequence[str], labels: Sequence[str], into: Any) -> Any:
    """`into`, one row per label of `labels`, with the rows of `rows` (one per label of `before`) where the label is the same.

    Both are tensors with the label as first axis; `into` is changed.
    """
    shared = [label for label in labels if label in before]
    into[[labels.index(label) for label in shared]] = rows[[before.index(label) for label in shared]].to(into)
    return into


def relabel(model: Any, before: Sequence[str], labels: Sequence[str]) -> None:
    """Gives `model`, whose head is over `before`, one over `labels`: rows go with their label's name, new labels get new ones."""
    import torch

    name = output_layer(model)
    old = model.get_submodule(name)
    new = torch.nn.Linear(old.in_features, len(labels), bias=old.bias is not None)
    model._init_weights(new)
    with torch.no_grad():
        carried(old.weight, before, labels, new.weight)
        if old.bias is not None:
            carried(old.bias, before, labels, new.bias)
    model.set_submodule(name, new)
    model.config.id2label = dict(enumerate(labels))
    model.config.label2id = {label: i for i, label in enumerate(labels)}
    model.num_labels = len(labels)


def output_layer(model: Any) -> str:
    """Name of the linear layer that gives the logits: the last outside the encoder with one output per label."""
    from torch import nn

    encoder = set(model.base_model.modules())
    found = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module not in encoder and module.out_features == model.config.num_labels
    ]
    if not found:
        raise UsageError(
            f"train.init_from: {type(model).__name__} has no linear layer that gives the logits",
            "set init_from: '' and give its folder to train.model",
        )
    return found[-1]


def log(folder: Path, manifest: folders.Manifest, run_id: str) -> None:
    """Keeps the model in its MLflow run, for later trainings to start from; one line on stderr when it is not taken."""
    if not run_id:
        print(f"tracking: no run was had; the model is not kept in MLflow, only in {folder.name}", file=sys.stderr)
        return
    names = [*manifest.files, folders.MANIFEST]
    log_files(run_id, [(str(Path(TRAINED, name).parent), folder / name) for name in names])


def _from_registry(address: str, folder: Path) -> Origin | None:
    """The model of models:/NAME@ALIAS or models:/NAME/VERSION, downloaded into `folder`; None for an alias of nothing."""
    with model_versions.server_errors():
        server = connection.client()
        version = fetch.model_version(server, address)
        if version is None and not fetch.alias(address):
            raise UsageError(
                f"train.init_from: {address} is not in the registry {connection.shown_registry()}",
                "'fineline status' shows what is",
            )
        if version is None:
            print(f"train: {address} names no version yet: starting from the pretrained model", file=sys.stderr)
            return None
        name = f"models:/{version.name}/{version.version}"
        there = {entry.path for entry in server.list_artifacts(version.run_id)} if version.run_id else set()
        if TRAINED not in there:
            raise UsageError(
                f"{name} cannot be trained further: its run {version.run_id} holds no folder {TRAINED}/",
                "it was trained with train.log_model: false; give its model folder to train.init_from instead",
            )
        trained = Path(server.download_artifacts(version.run_id, TRAINED, str(folder)))
        rows = training_rows.read(server, version, folder)
        digest = server.get_run(version.run_id).data.tags.get("fineline.digest.train")
    if folders.verify(trained).digest != digest:
        raise ResourceError(f"{name}: the model in its run is not the one that was trained", "its files were changed")
    seen = None if rows is None else frozenset(rows.loc[rows["split"] == "train", "id"])
    return Origin(trained, seen=seen, name=name)


def _labels_of_head(found: Origin, params: Params, task: str) -> tuple[str, ...]:
    """The labels of the head that `found` has, none when it is an encoder only."""
    config = json.loads((found.folder / "config.json").read_text(encoding="utf-8"))
    if not any("Classifi" in name for name in config.get("architectures") or ()):
        return ()
    described = found.folder / "model.json"
    if described.is_file():
        made_for = json.loads(described.read_text(encoding="utf-8"))["task"]
        if made_for != task:
            raise UsageError(
                f"train.init_from: {found.name} is a model for {made_for}, not {task}", "give another model"
            )
    pooling = config.get("pooling", "model")
    if params.pooling not in ("auto", pooling):
        raise UsageError(
            f"train.pooling = {params.pooling}, but {found.name} was trained with {pooling}", "set pooling: auto"
        )
    return labels_of(found.folder)


def labels_of(folder: Path) -> tuple[str, ...]:
    """The labels of the head of the classifier in `folder`, in the order of its logits."""
    names = loading.configuration(folder).id2label
    return tuple(names[number] for number in sorted(names))
