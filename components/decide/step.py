"""decide: looks, decides, and says so in MLflow."""

import dataclasses
import datetime
import math
import os
import time
from pathlib import Path
from typing import Any

from components.decide import facts as looking
from components.decide.decision import Decision, Facts, decide
from components.decide.params import Params
from fineline.artifacts import folders
from fineline.process.errors import UsageError
from fineline.registry import model_versions
from fineline.tracking import connection
from fineline.tracking.tags import DECISION_TAG, PIPELINE_RUN, PIPELINE_RUN_TAG, REASON_TAG, RETRAIN, SKIPPED, WANTED

DECISION = "decision.json"

_SHORT = 12
_SECONDS_TO_DECIDE = 60.0
_SECONDS_BETWEEN_LOOKS = 0.2
_MODEL_TAG = "fineline.model"


def run(*, params: Params, dataset: Path, decision: Path, drift: Path | None = None) -> str:
    """Decides whether to train on `dataset`, given what monitor wrote to `drift`; gives the reason.

    The decision is a run of its own in MLflow, which stays open while the pipeline trains: fineline.runs.finish ends it, and
    until then every other retraining of the model is refused. Raises UsageError for inputs of another kind, ResourceError
    when the server does not answer.
    """
    with model_versions.server_errors():
        server, facts, found = asked(params, dataset, drift)
        digest = folders.read_manifest(dataset).digest.removeprefix("sha256:")[:_SHORT]
        run_id, facts, found = _recorded(server, params, f"decision-{digest}", facts, found)
    with folders.output(decision) as folder:
        content = {**dataclasses.asdict(found), "facts": dataclasses.asdict(facts), "params": params.recorded()}
        folders.write_json(folder / DECISION, content)
        folders.write_manifest(
            folder,
            step="decide",
            kind="decision",
            params=params.recorded(),
            inputs={"dataset": dataset, **({"drift": drift} if drift else {})},
            figures={"retrain": found.retrain, "reason": found.reason, **_figures(facts)},
            run_id=run_id,
        )
    return found.reason


def asked(params: Params, dataset: Path, drift: Path | None) -> tuple[Any, Facts, Decision]:
    """(the MLflow server, the facts, the decision) as they are now; nothing is recorded, and nothing claimed."""
    if not params.name:
        raise UsageError("decide.name is empty: no model to decide about", "give --name, the name in register.name")
    server = connection.client()
    facts = looking.look(server, params, dataset, drift, datetime.datetime.now(datetime.UTC))
    return server, facts, decide(params, facts)


def _recorded(server: Any, params: Params, name: str, facts: Facts, found: Decision) -> tuple[str, Facts, Decision]:
    """Writes the decision down as a run; gives its id. One to train counts only if no other retraining is under way.

    It is written, as wanted, before the others are looked at: of two at the same moment, one at least sees the other, and
    no clock says which of them stays (`_under_way`).
    """
    now = int(time.time() * 1000)
    tags = {_MODEL_TAG: params.name, **_tags(found)}
    if found.retrain:
        tags[DECISION_TAG] = WANTED
    if pipeline_run := os.environ.get(PIPELINE_RUN):
        tags[PIPELINE_RUN_TAG] = pipeline_run
    experiment = connection.experiment_id(server, connection.experiment())
    mine = server.create_run(experiment, start_time=now, tags=tags, run_name=name).info
    for figure, value in _figures(facts).items():
        server.log_metric(mine.run_id, figure, float(value))
    if found.retrain:
        facts = dataclasses.replace(facts, under_way=_under_way(server, params, now, mine.run_id))
        found = decide(params, facts)
        for tag, text in _tags(found).items():
            server.set_tag(mine.run_id, tag, text)
    if not (found.retrain and pipeline_run):  # nobody would end it
        server.set_terminated(mine.run_id, "FINISHED")
    return mine.run_id, facts, found


def _under_way(server: Any, params: Params, now: int, mine: str) -> str:
    """Since when, and in which pipeline run, another decision to retrain this model is being carried out; '' when none.

    Of those that want to and see each other, the one with the smallest run id stays. It waits until each of the others, which
    may not have seen it, has become a retraining or given way; one that does neither for a minute was killed.
    """
    longest = int(params.longest_hours * 3_600_000)
    query = (
        f"attributes.status = 'RUNNING' and attributes.start_time >= {now - longest} "
        f"and attributes.start_time <= {now + longest} and tags.`{DECISION_TAG}` != '{SKIPPED}' "
        f"and tags.`{_MODEL_TAG}` = '{params.name}'"
    )
    deadline = time.monotonic() + _SECONDS_TO_DECIDE
    while True:
        others = [run for run in looking.runs(server, query) if run.info.run_id != mine and not looking.own(run)]
        for other in others:
            if other.data.tags[DECISION_TAG] == RETRAIN or other.info.run_id < mine:
                since = datetime.datetime.fromtimestamp(other.info.start_time / 1000, datetime.UTC)
                return (
                    f"since {since:%Y-%m-%d %H:%M} UTC, run {other.data.tags.get(PIPELINE_RUN_TAG, other.info.run_id)}"
                )
        if not others or time.monotonic() > deadline:
            return ""
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _tags(found: Decision) -> dict[str, str]:
    return {DECISION_TAG: RETRAIN if found.retrain else SKIPPED, REASON_TAG: found.reason}


def _figures(facts: Facts) -> dict[str, float]:
    """The facts that are numbers and known, rounded to what people read."""
    figures = {
        "rows": facts.rows,
        "new_rows": facts.new_rows,
        "champion": facts.champion,
        "champion_age_days": facts.age_days,
        "hours_since_training": facts.hours_since_training,
        "gpu_hours_this_month": facts.gpu_hours,
        "drift_p": facts.drift.p if facts.drift and facts.drift.enough else None,
    }
    return {name: round(value, 6) for name, value in figures.items() if value is not None and math.isfinite(value)}
