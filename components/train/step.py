"""Fine-tuning: checks before any work, the Trainer, the best checkpoint as a plain Hugging Face folder, its MLflow run."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from components.train import curves, lineage, precision
from components.train.checkpoints import folder_for, key
from components.train.params import Params
from components.train.resources import exhaustion_explained
from fineline import artifacts, dataset, models, tracking
from fineline.errors import DataRejected, UsageError
from fineline.tasks import Task, get_task


def run(*, params: Params, splits: Path, model: Path, checkpoints: Path | None = None) -> str:
    """Trains on `splits` and writes the artifact `model`. A killed training goes on from the folder `checkpoints`."""
    data = artifacts.verify(splits)
    task = get_task(data.task)
    rows = dataset.read_splits(splits)
    labels = task.label_set(rows["train"])
    if len(labels) == 1:
        raise DataRejected(f"all training rows have the label {labels[0]}", "add rows of a second label")
    targets = {name: task.targets(part, labels) for name, part in rows.items()}
    metric = _metric(task, params, targets["validation"], labels)
    arithmetic = precision.resolve(params.precision)
    tracking.tracking_uri()  # refuses a wrong one now, not after the training
    source = models.model_folder(params.model, params.revision)
    pretrained = {
        str(path.relative_to(source)): {"sha256": artifacts.sha256_file(path)} for path in _files_that_count(source)
    }
    identity = key(splits=data.digest, params=params.recorded(), pretrained=pretrained, precision=arithmetic)

    from components.train import fitting, network
    from components.train.callbacks import evaluations, steps_per_epoch

    fitting.quiet()
    texts = {name: rows[name]["text"].tolist() for name in ("train", "validation")}
    with (
        folder_for(identity, checkpoints) as work,
        artifacts.output(model) as folder,
        exhaustion_explained(params),
    ):
        tokenizer = network.load_tokenizer(source, params.max_length)
        with lineage.recorded_run(work / artifacts.EVENTS, data, params.recorded()) as journal:
            adapted = network.build(task, source, labels, params)
            total, trained = network.parameters(adapted)
            best, state = fitting.fit(
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
            )
            network.save(best, tokenizer, folder)
            description = {
                "task": task.name,
                "labels": labels,
                "max_length": params.max_length,
                "precision": arithmetic,
            }
            artifacts.write_json(folder / "model.json", description)
            curves.write_csv(state.log_history, params.logging_steps, steps_per_epoch(state), folder / "curves.csv")
            figures = next(entry for entry in evaluations(state) if entry["step"] == state.best_global_step)
            best_epoch = figures["step"] // steps_per_epoch(state)
            journal.flush()
            manifest = artifacts.write_manifest(
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
                    "labels": len(labels),
                    "train_rows": len(texts["train"]),
                    "validation_rows": len(texts["validation"]),
                    "parameters": total,
                    "parameters_trained": trained,
                    "precision": arithmetic,
                    "pretrained": artifacts.digest_of(pretrained),
                },
            )
            journal.tags({"fineline.digest.train": manifest.digest})
        shutil.copyfile(journal.path, folder / artifacts.EVENTS)
    return (
        f"validation {metric} {figures[f'eval_{metric}']:.4f} after epoch {best_epoch} of {params.epochs}, "
        f"{trained:,} of {total:,} parameters trained in {arithmetic}"
    )


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
    described = [source / "config.json", source / "tokenizer.json", *source.glob("1_Pooling/config.json")]
    return sorted([*source.glob("*.safetensors"), *described])
