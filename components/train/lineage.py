"""What the MLflow run says about where the model comes from: parameters, tags and datasets of all steps before it."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fineline import __version__
from fineline.artifacts.folders import Manifest
from fineline.process.code_version import git_state
from fineline.process.errors import Preempted
from fineline.sources import source_version
from fineline.tracking.journal import Journal
from fineline.tracking.tags import DATA_TAG

_SHORT = 12


@contextlib.contextmanager
def recorded_run(path: Path, data: Manifest, params: dict[str, Any], anew: bool) -> Iterator[Journal]:
    """The journal at `path` of a run on `data`, sent to MLflow meanwhile; FINISHED in the end, FAILED on an error.

    A preempted run is left open: the training that goes on goes on with it. With `anew` the journal at `path` is of a
    run that has ended well with the model that this one takes: this one gets a run of its own with the same curves.
    """
    journal = Journal(path)
    before = journal if anew else None
    if before:
        path.unlink()
        journal = Journal(path)
    if not journal.started:
        journal.run(run_name(data), all_params(data, params), tags(data), datasets(data))
    if before:
        journal.tags({"fineline.trained_by": before.run_id})
        for event in before.events:
            if event["kind"] == "metrics":  # its GPU hours stay with the run that used them
                journal.metrics({k: v for k, v in event["values"].items() if k != "gpu_hours"}, event["step"])
    journal.goes_on()
    journal.send_in_background()
    try:
        yield journal
    except (Preempted, KeyboardInterrupt):
        journal.close()
        raise
    except BaseException:
        journal.close("FAILED")
        raise
    journal.close("FINISHED")


def run_name(data: Manifest) -> str:
    """Such as train-4f1a2b3c4d5e, after the data."""
    return f"train-{data.digest.removeprefix('sha256:')[:_SHORT]}"


def all_params(data: Manifest, params: dict[str, Any]) -> dict[str, str]:
    """Parameters of every step up to train, as step.name; lists and mappings as JSON."""
    steps = [(entry["step"], entry["params"]) for entry in [*data.ancestors, data.without_ancestors()]]
    return {
        f"{step}.{name}": value if isinstance(value, str) else json.dumps(value)
        for step, block in [*steps, ("train", params)]
        for name, value in block.items()
    }


def tags(data: Manifest) -> dict[str, str]:
    """Digest of every input by step, the data's digest, the versions of its sources, the code's version, and its commit."""
    entries = [*data.ancestors, data.without_ancestors()]
    commit, dirty = git_state()
    return {
        **{f"fineline.digest.{entry['step']}": entry["digest"] for entry in entries},
        DATA_TAG: data.digest,
        **{f"fineline.{role}": version for role, version in source_version.in_lineage(data.ancestors).items()},
        "fineline.version": __version__,
        "fineline.task": data.task,
        "mlflow.source.git.commit": commit,
        "fineline.git_dirty": dirty,
    }


def datasets(data: Manifest) -> list[dict[str, str]]:
    """The splits as training data, with the versions of their sources, and what they were made from."""
    source = json.dumps({"tags": source_version.in_lineage(data.ancestors)})
    return [
        {"name": data.kind, "digest": data.digest, "context": "training", "source": source},
        *({"name": entry["step"], "digest": entry["digest"], "context": "lineage"} for entry in data.ancestors),
    ]
