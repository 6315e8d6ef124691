"""Fine-tuning: checks before any work, the Trainer, the best checkpoint as a plain Hugging Face folder, its MLflow run."""

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from components.train import curves, examples, lineage, precision, ranks, warm_start
from components.train.checkpoints import key
from components.train.examples import Data
from components.train.params import Params
from components.train.plan import Plan
from components.train.resources import exhaustion_explained
from components.train.warm_start import Origin
from components.train.work_folder import WorkFolder, opened
from fineline.artifacts import folders
from fineline.process.errors import UsageError
from fineline.tasks.parts import UNCALIBRATED
from fineline.tracking import connection
from fineline.tracking.journal import Journal

_BESIDE_THE_TOKENIZER = ("tokenizer_config", "special_tokens_map", "added_tokens")  # the last two of older transformers
Files = dict[str, dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Trained:
    """The best `model`, plain, with its `tokenizer`; the Trainer's last `state`; the log entry of the `best` evaluation and
    its epoch; how many `parameters` the model has, and how many of them were trained."""

    model: Any
    tokenizer: Any
    state: Any
    best: dict[str, Any]
    best_epoch: int
    parameters: int
    parameters_trained: int


def run(*, params: Params, splits: Path, model: Path, checkpoints: Path | None = None) -> str:
    """Trains on `splits` and writes the artifact `model`. A killed training goes on from the folder `checkpoints`.

    Of several processes (torchrun) all train; the first alone writes and gives the line, the others give ''.
    """
    ranks.check()
    data = examples.read(splits)
    metric = _metric(data, params)
    arithmetic = precision.resolve(params.precision)
    connection.tracking_uri()  # refuses a wrong one now, not after the training

    with ranks.together(), exhaustion_explained(params), warm_start.origin(params, data.task.name) as origin:
        from components.train import fitting, network

        fitting.quiet()
        chosen = examples.choose(data, origin, params)
        plan = Plan(params, data.task, data.labels, chosen, metric, arithmetic)
        pretrained = _files_that_count(origin.folder)
        tokenizer = network.load_tokenizer(origin.folder, params.max_length)
        places = _places(_identity(plan, data, pretrained), checkpoints, model)
        with places as (work, folder), _recorded(work, folder, data, params) as journal:
            trained = _train(plan, origin, tokenizer, work, journal)
            if trained is None or journal is None:
                return ""
            _write_model(plan, trained, folder)
            journal.flush()
            manifest = folders.write_manifest(
                folder,
                step="train",
                kind="model",
                params=params.recorded(),
                inputs={"splits": splits},
                run_id=journal.run_id,
                figures=_figures(plan, origin, pretrained, trained),
            )
            _track(journal, manifest, origin, params, folder)
    return (
        f"validation {metric} {trained.best[f'eval_{metric}']:.4f} after epoch {trained.best_epoch} of {params.epochs}, "
        f"{trained.parameters_trained:,} of {trained.parameters:,} parameters trained in {arithmetic}"
    )


@contextlib.contextmanager
def _places(identity: str, checkpoints: Path | None, model: Path) -> Iterator[tuple[WorkFolder, Path]]:
    """The folders for checkpoints, one for all processes, and for the output, which only the first may touch."""
    if not ranks.first():
        while (
            path := ranks.from_first(None)
        ) is None:  # the first waits, and says so each second: no answer would be an end
            pass
        yield WorkFolder(path, kept=checkpoints is not None), model
        return
    with (
        opened(identity, checkpoints, waiting=lambda: ranks.from_first(None)) as work,
        folders.output(model) as folder,
    ):
        ranks.from_first(work.path)
        yield work, folder


@contextlib.contextmanager
def _recorded(work: WorkFolder, folder: Path, data: Data, params: Params) -> Iterator[Journal | None]:
    """The first process's journal, of which `folder` keeps a copy in the end; None for the others."""
    if not ranks.first():
        yield None
        return
    events = work.path / folders.EVENTS
    with lineage.recorded_run(events, data.manifest, params.recorded(), anew=work.finished) as journal:
        yield journal
    shutil.copyfile(events, folder / folders.EVENTS)


def _train(plan: Plan, origin: Origin, tokenizer: Any, work: WorkFolder, journal: Journal | None) -> Trained | None:
    """Builds the model of `origin` and trains it in `work`; None in all processes but the first."""
    from components.train import ewc, fitting, network
    from components.train.evaluations import epoch_of, evaluations

    adapted = network.build(plan.task, origin, tokenizer, plan.labels, plan.params)
    parameters, trained = network.parameters(adapted)
    held = ewc.consolidation(plan, origin, adapted, tokenizer, work.path)
    before = network.fingerprints(adapted)
    fitted = fitting.fit(plan, adapted, tokenizer, work, journal, held)
    if journal is None:
        return None
    model, state = fitting.best(plan, fitted, before, work.path)
    best = next(entry for entry in evaluations(state) if entry["step"] == state.best_global_step)
    return Trained(model, tokenizer, state, best, epoch_of(best["step"], state), parameters, trained)


def _write_model(plan: Plan, trained: Trained, folder: Path) -> None:
    """The Hugging Face folder, model.json beside it, and the curves."""
    from components.train import network
    from components.train.evaluations import is_due

    network.save(trained.model, trained.tokenizer, folder)
    description = {
        "task": plan.task.name,
        "labels": plan.labels,
        "max_length": plan.params.max_length,
        "precision": plan.precision,
    }
    folders.write_json(folder / "model.json", description)
    state = trained.state
    curves.write_csv(
        state.log_history,
        plan.params.logging_steps,
        lambda step: is_due(step, state, plan.params.eval_steps),
        folder / "curves.csv",
    )


def _figures(plan: Plan, origin: Origin, pretrained: Files, trained: Trained) -> dict[str, Any]:
    """What the manifest says of the training."""
    from components.train.evaluations import epoch_of

    return {
        **curves.validation(trained.best),
        "metric": plan.metric,
        "best_epoch": trained.best_epoch,
        "epochs": epoch_of(trained.state.global_step, trained.state),
        "steps": trained.state.global_step,
        "devices": ranks.devices(),
        "labels": len(plan.labels),
        "train_rows": len(plan.examples.texts["train"]),
        "validation_rows": len(plan.examples.texts["validation"]),
        "parameters": trained.parameters,
        "parameters_trained": trained.parameters_trained,
        "precision": plan.precision,
        "init": "warm" if origin.warm else "pretrained",
        "pretrained": folders.digest_of(pretrained),
        **plan.examples.figures,
    }


def _track(journal: Journal, manifest: folders.Manifest, origin: Origin, params: Params, folder: Path) -> None:
    """Tells MLflow what came out, and keeps the model there where `params` say so."""
    journal.tags({"fineline.digest.train": manifest.digest})
    if origin.warm:
        journal.tags({"fineline.init_from": origin.name})
    if params.log_model:
        warm_start.log(folder, manifest, journal.run_id)


def _metric(data: Data, params: Params) -> str:
    """The figure that picks the best checkpoint. Raises UsageError for one that the task does not have."""
    task, targets = data.task, data.targets["validation"]
    undecided = task.answers(np.zeros((len(targets), len(data.labels)), dtype=np.float32), UNCALIBRATED)
    known = ["loss", *task.metrics(targets, undecided, data.labels)]
    metric = params.metric or task.metric
    if metric not in known:
        raise UsageError(f"train.metric = '{metric}' is no figure of the task {task.name}", f"use {', '.join(known)}")
    return metric


def _identity(plan: Plan, data: Data, pretrained: Files) -> str:
    """What a training must share with an earlier one to go on with its checkpoints."""
    return key(
        splits=data.manifest.digest,
        params=plan.params.recorded(),
        pretrained=pretrained,
        precision=plan.precision,
        devices=ranks.devices(),
        rows=plan.examples.choice,
    )


def _files_that_count(source: Path) -> Files:
    """The files of a pretrained model that what is trained depends on, with their sha256."""
    described = [source / f"{name}.json" for name in ("config", "tokenizer", *_BESIDE_THE_TOKENIZER)]
    pooling = source.glob("1_Pooling/config.json")
    paths = sorted([*source.glob("*.safetensors"), *pooling, *(path for path in described if path.is_file())])
    return {str(path.relative_to(source)): {"sha256": folders.sha256_file(path)} for path in paths}
