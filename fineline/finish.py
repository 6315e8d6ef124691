"""python -m fineline.finish --status JSON: writes down in MLflow how a pipeline's run ended, whichever step it ended in.

Kubeflow runs it last, as the exit handler. FINELINE_PIPELINE_RUN names the pipeline's run.
"""

import argparse
import json
import os
import sys

from fineline import tracking
from fineline.errors import UsageError
from fineline.step import guarded, quiet_libraries


def finish(status: str) -> str:
    """Tags the MLflow run that the pipeline's training opened with the pipeline's end, and marks it as failed where it is.

    A pipeline that opened none (it failed before training, or Kubeflow's cache had the training) gets a run of its own.
    `status` is Kubeflow's PipelineTaskFinalStatus as JSON. Gives one line. Raises ResourceError when MLflow does not answer.
    """
    from mlflow.exceptions import MlflowException

    try:
        final = json.loads(status)
        succeeded, error = final["state"] == "SUCCEEDED", (final.get("error") or {}).get("message", "")
    except (json.JSONDecodeError, KeyError, AttributeError, TypeError):
        raise UsageError("--status is not the JSON that Kubeflow gives", "pass a PipelineTaskFinalStatus") from None
    pipeline_run = os.environ.get(tracking.PIPELINE_RUN, "")
    if not pipeline_run:
        raise UsageError(f"{tracking.PIPELINE_RUN} is not set", "set it to the id of the pipeline's run")
    try:
        server = tracking.client()
        experiment = tracking.experiment_id(server, tracking.experiment())
        query = f"tags.`{tracking.PIPELINE_RUN_TAG}` = '{pipeline_run}'"
        runs = [run.info.run_id for run in server.search_runs([experiment], query)]
        if not runs:
            tags = {tracking.PIPELINE_RUN_TAG: pipeline_run}
            runs = [server.create_run(experiment, tags=tags, run_name=f"pipeline-{pipeline_run}").info.run_id]
        for run in runs:
            server.set_tag(run, "fineline.pipeline_state", final["state"])
            if error:
                server.set_tag(run, "fineline.pipeline_error", error)
            server.set_terminated(run, "FINISHED" if succeeded else "FAILED")
    except MlflowException as failure:
        raise tracking.unreachable(failure) from failure
    return f"pipeline run {pipeline_run} {final['state']}, recorded in {len(runs)} MLflow run(s)"


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fineline.finish", description=__doc__.splitlines()[0])
    parser.add_argument("--status", required=True, metavar="JSON", help="Kubeflow's PipelineTaskFinalStatus")
    status = parser.parse_args(argv).status
    quiet_libraries()
    code, line = guarded(lambda: finish(status), "finish")
    if code == 0:
        print(f"finish: {line}")
    return code


if __name__ == "__main__":
    sys.exit(main())
