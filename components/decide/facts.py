"""The facts that the decision rests on, from the rows, the registry and MLflow's runs. Nothing is written here."""

import datetime
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.decide.decision import Drift, Facts
from components.decide.params import Params
from fineline.artifacts import folders
from fineline.artifacts.folders import Manifest
from fineline.process.errors import UsageError
from fineline.registry import ledger, model_versions, test_set, training_rows
from fineline.rows import dataset
from fineline.tracking import connection
from fineline.tracking.tags import CONTINUED_TAG, DATA_TAG, PIPELINE_RUN, PIPELINE_RUN_TAG

if TYPE_CHECKING:
    import pandas as pd

GPU_HOURS = "gpu_hours"
"""Metric of a training run: what it has used so far, over all GPUs, before and after each resumption."""

_TRAININGS = f"tags.`{DATA_TAG}` LIKE '%' and attributes.status = 'FINISHED'"
_SECONDS_A_DAY = 86_400.0
_CLOCKS_DIFFER_BY = 600.0  # seconds


def look(server: Any, params: Params, rows: Path, drift: Path | None, now: datetime.datetime) -> Facts:
    """The facts at `now` (UTC) about the model params.name and the dataset folder `rows`, but for `under_way`.

    Trainings of this very run of the pipeline do not count: it was stopped in between, and goes on. Raises UsageError when
    an input is of another kind.
    """
    manifest = _checked(rows, "dataset")
    frame = dataset.read_rows(rows / dataset.DATA)
    champion, since = _champion(server, params.name)
    same = f"{_TRAININGS} and tags.`fineline.digest.{manifest.step}` = '{manifest.digest}'"
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    used = f"metrics.{GPU_HOURS} > 0 and attributes.start_time >= {int(month.timestamp() * 1000)}"
    latest = now.timestamp() + _CLOCKS_DIFFER_BY  # an end after that is of a clock set wrong
    ended = (run.info.end_time / 1000 for run in runs(server, _TRAININGS) if not own(run))
    last = next((end for end in ended if end <= latest), None)
    return Facts(
        rows=len(frame),
        champion=int(champion.version) if champion else None,
        new_rows=_new(server, champion, frame) if champion else None,
        drift=_found(_checked(drift, "drift")) if drift else None,
        age_days=max(0.0, (now - since).total_seconds()) / _SECONDS_A_DAY if since else None,
        hours_since_training=max(0.0, now.timestamp() - last) / 3600 if last else None,
        gpu_hours=sum(run.data.metrics[GPU_HOURS] for run in runs(server, used)),
        same_data=next((run.info.run_name for run in runs(server, same) if not own(run)), ""),
    )


def runs(server: Any, query: str) -> Iterator[Any]:
    """The runs of the MLflow experiment that `query` finds, those that ended last first."""
    experiment = server.get_experiment_by_name(connection.experiment())
    token = None
    while experiment is not None:
        page = server.search_runs(
            [experiment.experiment_id], query, order_by=["attributes.end_time DESC"], page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return


def own(run: Any) -> bool:
    """Whether an MLflow run belongs to this very run of the pipeline."""
    pipeline_run = os.environ.get(PIPELINE_RUN)
    tags = (PIPELINE_RUN_TAG, CONTINUED_TAG)
    return bool(pipeline_run) and pipeline_run in map(run.data.tags.get, tags)


def _champion(server: Any, name: str) -> tuple[Any, datetime.datetime | None]:
    """The champion as MLflow gives it and since when it is: by the ledger, else (moved by hand) since it was registered."""
    version = ledger.aliases(server, name).get(model_versions.CHAMPION) if model_versions.exists(server, name) else None
    if version is None:
        return None, None
    found = model_versions.version_of(server, name, version)
    moves = [line for line in ledger.read(server, name) if line["alias"] == model_versions.CHAMPION]
    if moves and moves[-1]["to"] == version:
        return found, datetime.datetime.fromisoformat(moves[-1]["when"])
    return found, datetime.datetime.fromtimestamp(found.creation_timestamp / 1000, datetime.UTC)


def _new(server: Any, champion: Any, rows: "pd.DataFrame") -> int | None:
    """How many rows the champion has not seen and the frozen test set does not hold, by id and by text; None: no record."""
    with tempfile.TemporaryDirectory(prefix="fineline-") as folder:
        seen = training_rows.read(server, champion, Path(folder))
    if seen is None:
        return None
    ids, hashes = set(seen["id"]), set(seen["text_sha256"])
    state = test_set.newest(server, champion.name)
    if state:
        frozen = test_set.fetch(server, champion.name, state)
        ids |= set(frozen["id"].astype(str))
        hashes |= set(training_rows.text_hashes(frozen["text"].tolist()))
    by_text = np.array([digest in hashes for digest in training_rows.text_hashes(rows["text"].tolist())])
    return int((~(rows["id"].astype(str).isin(ids).to_numpy() | by_text)).sum())


def _found(manifest: Manifest) -> Drift:
    figures = manifest.figures
    return Drift(figures["drifted"], figures["enough"], figures["p"], figures["reason"])


def _checked(folder: Path, kind: str) -> Manifest:
    manifest = folders.verify(folder)
    if manifest.kind != kind:
        raise UsageError(f"{folder} is a {manifest.kind}, not a {kind}", f"give a {kind} folder to --{kind}")
    return manifest
