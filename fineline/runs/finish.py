"""python -m fineline.runs.finish --status JSON: writes down in MLflow how a pipeline's run ended, whichever step it ended in.

Kubeflow runs it last, as the exit handler. FINELINE_PIPELINE_RUN names the pipeline's run. What Kubeflow says there does not
tell a gate that said no from a run that was canceled; docs/decisions/0006-how-a-run-ended.md says how it is told.
"""

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from fineline.process.errors import UsageError
from fineline.process.patience import patient
from fineline.registry import model_versions
from fineline.runs import argo
from fineline.steps.command_line import guarded, quiet_libraries
from fineline.tracking import connection
from fineline.tracking.tags import (
    CONTINUED_TAG,
    DATA_TAG,
    DECISION_TAG,
    GATE_TAG,
    PIPELINE_RUN,
    PIPELINE_RUN_TAG,
    REASON_TAG,
    SKIPPED,
)

SUCCEEDED, SAID_NO, FAILED, CANCELED, UNKNOWN = "succeeded", "said no", "failed", "canceled", "unknown"
STATE_TAG, WHY_TAG = "fineline.pipeline_state", "fineline.pipeline_why"

_STATUS = {SUCCEEDED: "FINISHED", SAID_NO: "FINISHED", FAILED: "FAILED", CANCELED: "KILLED", UNKNOWN: "FAILED"}
_WELL = (SUCCEEDED, SAID_NO)
_ALL_RAN = ("COMPLETE", "CACHED", "SUCCEEDED")  # the last is kfp.local's


@dataclasses.dataclass(frozen=True)
class End:
    """How a run ended: SUCCEEDED, SAID_NO (the gate or decide, and the rest was left out), FAILED, CANCELED or UNKNOWN; and
    why, '' when nobody said."""

    state: str
    why: str = ""


@dataclasses.dataclass(frozen=True)
class Traces:
    """What one run of the pipeline left in MLflow: its trainings, decide's decisions, and finish's own run, if any."""

    trainings: Sequence[Any] = ()
    decisions: Sequence[Any] = ()
    own: Any = None

    @property
    def said_no(self) -> str:
        """What said no, '' when nothing did."""
        if self.decisions and self.decisions[-1].data.tags[DECISION_TAG] == SKIPPED:
            return str(self.decisions[-1].data.tags.get(REASON_TAG, "decide"))
        judged = any(run.data.tags.get(GATE_TAG) == "failed" for run in self.trainings)
        return "the gate said no" if judged else ""


def finish(status: str) -> str:
    """Judges how the pipeline's run ended and writes it down (`record`); gives one line.

    `status` is Kubeflow's PipelineTaskFinalStatus as JSON. Raises UsageError when it is none, ResourceError when MLflow does
    not answer.
    """
    try:
        sent = json.loads(status)
        state, error = str(sent["state"]), str((sent.get("error") or {}).get("message", ""))
    except (json.JSONDecodeError, KeyError, AttributeError, TypeError):
        raise UsageError("--status is not the JSON that Kubeflow gives", "pass a PipelineTaskFinalStatus") from None
    with model_versions.server_errors():
        traces = look(connection.client(), pipeline_run())
    return record(ended(state, error, traces, [] if state in _ALL_RAN else _nodes()))


def ended(state: str, error: str, traces: Traces, nodes: Sequence[argo.Node]) -> End:
    """How a run ended, of which Kubeflow says `state`, from what is certain.

    COMPLETE is. Then Argo's `nodes`, where they can be read ([] where not). Then what the run's own steps wrote in MLflow:
    RUNNING is said of a run in which the gate or decide said no, and as well of one that was canceled or a driver failed.
    """
    if state in _ALL_RAN:
        return End(SUCCEEDED)
    if nodes:
        if argo.canceled(nodes):
            return End(CANCELED)
        if state == "FAILED" or argo.failed(nodes):
            return End(FAILED, argo.failure(nodes) or error)
        return End(SAID_NO, traces.said_no)
    if state == "FAILED":
        return End(FAILED, error)
    if state == "CANCELED":
        return End(CANCELED)
    if state == "RUNNING" and traces.said_no:
        return End(SAID_NO, traces.said_no)
    return End(UNKNOWN, f"Kubeflow says {state}: it was canceled, or a driver failed")


def record(end: End) -> str:
    """Writes `end` into the trainings of this run of the pipeline, or, where it has none, into a run of its own; gives a line.

    What an earlier pipeline's run ended well with stays so: a cached training is no worse for what came of it later. Of other
    runs only a decision to retrain is touched, which stays open until here. Raises ResourceError when MLflow does not answer.
    """
    this = pipeline_run()
    with model_versions.server_errors():
        server = connection.client()
        traces = look(server, this)
        for decision in traces.decisions:
            if decision.info.status == "RUNNING":
                server.set_terminated(decision.info.run_id, "FINISHED")
        told = [run for run in traces.trainings if end.state in _WELL or run.data.tags.get(STATE_TAG) not in _WELL]
        if not traces.trainings and not (traces.decisions and end.state in _WELL):
            told = [traces.own or _own(server, this)]
        for run in told:
            server.set_tag(run.info.run_id, STATE_TAG, end.state)
            server.set_tag(run.info.run_id, WHY_TAG, end.why)
            server.set_terminated(run.info.run_id, _STATUS[end.state], end_time=run.info.end_time or None)
    line = f"pipeline run {this} {end.state}" + (f" ({end.why})" if end.why else "")
    return f"{line}, recorded in {len(told)} MLflow run(s)"


def look(server: Any, this: str) -> Traces:
    """What the pipeline's run `this` has left in MLflow so far."""
    found = server.get_experiment_by_name(connection.experiment())
    if found is None:
        return Traces()
    runs = {
        run.info.run_id: run
        for tag in (PIPELINE_RUN_TAG, CONTINUED_TAG)
        for run in server.search_runs([found.experiment_id], f"tags.`{tag}` = '{this}'")
    }
    ordered = sorted(runs.values(), key=lambda run: run.info.start_time)
    return Traces(
        [run for run in ordered if DATA_TAG in run.data.tags],
        [run for run in ordered if DECISION_TAG in run.data.tags],
        next((run for run in ordered if run.info.run_name == _name(this)), None),
    )


def pipeline_run() -> str:
    """The id of this run of the pipeline. Raises UsageError when nobody gave it."""
    this = os.environ.get(PIPELINE_RUN, "")
    if not this:
        raise UsageError(f"{PIPELINE_RUN} is not set", "set it to the id of the pipeline's run")
    return this


def _own(server: Any, this: str) -> Any:
    experiment = connection.experiment_id(server, connection.experiment())
    return server.create_run(experiment, tags={PIPELINE_RUN_TAG: this}, run_name=_name(this))


def _name(this: str) -> str:
    return f"pipeline-{this}"


def _nodes() -> list[argo.Node]:
    """Argo's nodes where this pod may read them; one line on stderr where not."""
    try:
        return argo.nodes_here(pipeline_run())
    except (OSError, ValueError, KeyError) as error:
        print(f"finish: without what Argo says: {error}", file=sys.stderr)
        return []


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fineline.runs.finish", description=__doc__.splitlines()[0])
    parser.add_argument("--status", required=True, metavar="JSON", help="Kubeflow's PipelineTaskFinalStatus")
    status = parser.parse_args(argv).status
    quiet_libraries()
    code, line = guarded(lambda: patient(lambda: finish(status), "finish"), "finish")
    if code == 0:
        print(f"finish: {line}")
    return code


if __name__ == "__main__":
    sys.exit(main())
