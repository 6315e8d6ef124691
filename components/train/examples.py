"""What a training learns from: the rows of the splits, and of those that a warm start has seen the share that comes again."""

import dataclasses
import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from components.train import ranks, replay
from components.train.params import Params
from components.train.warm_start import Origin
from fineline.artifacts import folders
from fineline.process.errors import DataRejected, UsageError
from fineline.rows import dataset
from fineline.tasks import Task, get_task

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class Data:
    """The splits as train is given them: `rows` by split, and their `targets`, which index `labels`."""

    manifest: folders.Manifest
    task: Task
    labels: list[str]
    rows: "Mapping[str, pd.DataFrame]"
    targets: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Examples:
    """The `texts` and `targets` of the training rows that are trained on and of all validation rows, by split.

    `held` are the training texts of which a warm start may keep what the weights know: those that it has seen, or all.
    `choice` identifies which training rows were seen and which are trained on (sha256, hex); `figures` count them.
    """

    texts: Mapping[str, Sequence[str]]
    targets: Mapping[str, np.ndarray]
    held: Sequence[str]
    choice: str
    figures: Mapping[str, int]


def read(splits: Path) -> Data:
    """The rows of the artifact `splits`. Raises DataRejected for one label only, UsageError for labels not in training."""
    manifest = folders.verify(splits)
    task = get_task(manifest.task)
    rows = dataset.read_splits(splits)
    labels = task.label_set(rows["train"])
    if len(labels) < task.fewest:
        said = f"the label {labels[0]}" if labels else "no label"
        raise DataRejected(f"all training rows have {said}", f"add rows of {task.fewest} labels or more")
    return Data(manifest, task, labels, rows, {name: task.targets(part, labels) for name, part in rows.items()})


def choose(data: Data, origin: Origin, params: Params) -> Examples:
    """Every row that is new to `origin`, and the share of the others that `params` ask for.

    Raises UsageError when no row is left to train on.
    """
    seen = origin.seen or frozenset()
    old = replay.seen(data.rows["train"], seen)
    chosen = replay.replayed(old, params.replay_share, params.seed)
    tested = replay.seen(data.rows["test"], seen)
    texts = data.rows["train"]["text"].to_numpy()
    return Examples(
        texts={"train": texts[chosen].tolist(), "validation": data.rows["validation"]["text"].tolist()},
        targets={"train": data.targets["train"][chosen], "validation": data.targets["validation"]},
        held=texts[old if old.any() else ~old].tolist(),
        choice=hashlib.sha256(np.packbits([old, chosen]).tobytes()).hexdigest(),
        figures=_beginning(origin, data.labels, old, chosen, tested) if origin.warm else {},
    )


def _beginning(
    origin: Origin, labels: Sequence[str], old: np.ndarray, chosen: np.ndarray, tested: np.ndarray
) -> dict[str, int]:
    """What a warm start has to begin with, as figures; said in one line too. Raises UsageError when no row is left.

    `tested` says which test rows `origin` has seen, bool (n,).
    """
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
