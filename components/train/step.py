"""Fine-tuning: checks before any work, the Trainer, the best checkpoint as a plain Hugging Face folder, its MLflow run."""

import contextlib
import hashlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.train import curves, lineage, precision, ranks, replay, warm_start
from components.train.checkpoints import key
from components.train.params import Params
from components.train.resources import exhaustion_explained
from components.train.warm_start import Origin
from components.train.work_folder import WorkFolder, opened
from fineline.artifacts import folders
from fineline.process.errors import DataRejected, UsageError
from fineline.rows import dataset
from fineline.tasks import Task, get_task
from fineline.tracking import connection
from fineline.tracking.journal import Journal


def run(*, params: Params, splits: Path, model: Path, checkpoints: Path | None = None) -> str:
    """Trains on `splits` and writes the artifact `model`. A killed training goes on from the folder `checkpoints`.

    Of several processes (torchrun) all train; the first alone writes and gives the line, the others give ''.
    """
    ranks.check()
    data = folders.verify(splits)
    task = get_task(data.task)
    rows = dataset.read_splits(splits)
    labels = task.label_set(rows["train"])
    if len(labels) == 1:
        raise DataRejected(f"all training rows have the label {labels[0]}", "add rows of a second label")
    targets = {name: task.targets(part, labels) for name, part in rows.items()}
    metric = _metric(task, params, targets["validation"], labels)
    arithmetic = precision.resolve(params.precision)
    connection.tracking_uri()  # refuses a wrong one now, not after the training

    with ranks.together(), exhaustion_explained(params), warm_start.origin(params, data.task) as origin:
        from components.train import fitting, network
        from components.train.evaluations import evaluations, steps_per_epoch

        fitting.quiet()
        old = replay.seen(rows["train"], origin.seen or frozenset())
        chosen = replay.replayed(old, params.replay_share, params.seed)
        tested = replay.seen(rows["test"], origin.seen or frozenset())
        began = _beginning(origin, labels, old, chosen, tested)
        all_texts = rows["train"]["text"].to_numpy()
        held = all_texts[old if old.any() else ~old].tolist()
        texts = {"train": all_texts[chosen].tolist(), "validation": rows["validation"]["text"].tolist()}
        targets["train"] = targets["train"][chosen]
        pretrained = {
            str(path.relative_to(origin.folder)): {"sha256": folders.sha256_file(path)}
            for path in _files_that_count(origin.folder)
        }
        identity = key(
            splits=data.digest,
            params=params.recorded(),
            pretrained=pretrained,
            precision=arithmetic,
            devices=ranks.devices(),
            rows=hashlib.sha256(np.packbits([old, chosen]).tobytes()).hexdigest(),
        )
        with _places(identity, checkpoints, model) as (work, folder):
            tokenizer = network.load_tokenizer(origin.folder, params.max_length)
            with _recorded(work, data, params) as journal:
                adapted = network.build(task, origin, tokenizer, labels, params)
                total, trained = network.parameters(adapted)
                fitted = fitting.fit(
                    task=task,
                    model=adapted,
                    tokenizer=tokenizer,
                    texts=texts,
                    targets=targets,
                    labels=labels,
                    params=params,
                    metric=metric,
                    arithmetic=arithmetic,
                    work=work,
                    resumable=checkpoints is not None,
                    journal=journal,
                    consolidation=_consolidation(task, origin, adapted, tokenizer, held, labels, params, work.path),
                )
                if journal is None:
                    return ""
                best, state = fitting.best(task, fitted, work.path, labels)
                network.save(best, tokenizer, folder)
                description = {
                    "task": task.name,
                    "labels": labels,
                    "max_length": params.max_length,
                    "precision": arithmetic,
                }
                folders.write_json(folder / "model.json", description)
                curves.write_csv(state.log_history, params.logging_steps, steps_per_epoch(state), folder / "curves.csv")
                figures = next(entry for entry in evaluations(state) if entry["step"] == state.best_global_step)
                best_epoch = figures["step"] // steps_per_epoch(state)
                journal.flush()
                manifest = folders.write_manifest(
                    folder,
                    step="train",
                    kind="model",
                    params=params.recorded(),
                    inputs={"splits": splits},
                    run_id=journal.run_id,
                    figures={
                        **curves.validation(figures),
                        "metric": metric,
                        "best_epoch": best_epoch,
                        "epochs": len(evaluations(state)),
                        "steps": state.global_step,
                        "devices": ranks.devices(),
                        "labels": len(labels),
                        "train_rows": len(texts["train"]),
                        "validation_rows": len(texts["validation"]),
                        "parameters": total,
                        "parameters_trained": trained,
                        "precision": arithmetic,
                        "init": "warm" if origin.warm else "pretrained",
                        "pretrained": folders.digest_of(pretrained),
                        **began,
                    },
                )
                journal.tags({"fineline.digest.train": manifest.digest})
                if origin.warm:
                    journal.tags({"fineline.init_from": origin.name})
                if params.log_model:
                    warm_start.log(folder, manifest, journal.run_id)
            shutil.copyfile(journal.path, folder / folders.EVENTS)
    return (
        f"validation {metric} {figures[f'eval_{metric}']:.4f} after epoch {best_epoch} of {params.epochs}, "
        f"{trained:,} of {total:,} parameters trained in {arithmetic}"
    )


@contextlib.contextmanager
def _places(identity: str, checkpoints: Path | None, model: Path) -> Iterator[tuple[WorkFolder, Path]]:
    """The folders for checkpoints, one for all processes, and for the output, which only the first may touch."""
    if not ranks.first():
        while (
            path := ranks.from_first(None)
        ) is None:  # the first waits, and says so each second: no answer would be an end
            pass
        yield WorkFolder(path), model
        return
    with (
        opened(identity, checkpoints, waiting=lambda: ranks.from_first(None)) as work,
        folders.output(model) as folder,
    ):
        ranks.from_first(work.path)
        yield work, folder


def _recorded(
    work: WorkFolder, data: folders.Manifest, params: Params
) -> contextlib.AbstractContextManager[Journal | None]:
    """The first process's journal; None for the others."""
    if ranks.first():
        return lineage.recorded_run(work.path / folders.EVENTS, data, params.recorded(), anew=work.finished)
    return contextlib.nullcontext()


def _beginning(
    origin: Origin, labels: Sequence[str], old: np.ndarray, chosen: np.ndarray, tested: np.ndarray
) -> dict[str, int]:
    """What a warm start has to begin with, as figures; said in one line too. Raises UsageError when no row is left.

    `tested` says which test rows `origin` has seen, bool (n,).
    """
    if not origin.warm:
        return {}
    if not chosen.any():
        raise UsageError(
            f"no rows to train on: {origin.name} has seen all {len(old):,}, and train.replay_share is too small",
            "raise replay_share, or wait for new rows",
        )
    kept = sum(label in origin.labels for label in labels)
    figures = {"labels_carried": kept}
    told = f"its training rows are not recorded: all {len(old):,} are used"
    if origin.seen is not None:
        figures |= {"rows_replayed": int((old & chosen).sum()), "rows_new": int((~old).sum())}
        figures["test_rows_seen"] = int(tested.sum())
        told = f"{figures['rows_new']:,} new rows and {figures['rows_replayed']:,} of the {old.sum():,} it has seen"
    if ranks.first():
        print(f"train: goes on from {origin.name}: {kept} of {len(labels)} labels known; {told}", file=sys.stderr)
        if tested.any():
            print(
                f"train: {tested.sum():,} of {len(tested):,} test rows were training rows of {origin.name}: "
                "evaluate's figures will be too good by as many; promote leaves them out",
                file=sys.stderr,
            )
    return figures


def _consolidation(
    task: Task,
    origin: Origin,
    adapted: Any,
    tokenizer: Any,
    texts: Sequence[str],
    labels: Sequence[str],
    params: Params,
    work: Path,
) -> Any:
    """The callback that holds what `origin` needs for `texts`, or None where nothing is held."""
    if not params.ewc_lambda or not origin.warm:
        return None
    if not origin.labels:
        raise UsageError(
            f"train.ewc_lambda: {origin.name} has no head, so nothing says which weights it needs",
            "give init_from a trained classifier, or set ewc_lambda: 0",
        )
    import torch

    from components.train import ewc, fitting

    before = task.load_model(origin.folder, origin.labels)

    def compute() -> ewc.Tensors:
        encoded = fitting.encode(tokenizer, texts, np.zeros(len(texts), dtype=np.int64), params.max_length)
        on_device = before.to("cuda" if torch.cuda.is_available() else "cpu")
        return ewc.fisher(on_device, encoded, task.collator(tokenizer), params.seed)

    found = ewc.kept(work / ewc.FISHER, compute)
    found = ewc.relabelled(found, warm_start.output_layer(before), origin.labels, labels)
    return ewc.Consolidation(adapted, found, params.ewc_lambda)


def _metric(task: Task, params: Params, targets: np.ndarray, labels: Sequence[str]) -> str:
    """The figure that picks the best checkpoint. Raises UsageError for one that the task does not have."""
    undecided = task.probabilities(np.zeros((len(targets), len(labels)), dtype=np.float32), 1.0)
    known = ["loss", *task.metrics(targets, undecided, labels)]
    metric = params.metric or task.metric
    if metric not in known:
        raise UsageError(f"train.metric = '{metric}' is no figure of the task {task.name}", f"use {', '.join(known)}")
    return metric


def _files_that_count(source: Path) -> list[Path]:
    """The files of a pretrained model that what is trained depends on."""
    described = [source / name for name in ("config.json", "tokenizer.json", "tokenizer_config.json")]
    pooling = source.glob("1_Pooling/config.json")
    return sorted([*source.glob("*.safetensors"), *pooling, *(path for path in described if path.is_file())])
