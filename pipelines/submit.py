"""fineline submit: starts the pipeline on a Kubeflow Pipelines server, and follows it."""

import argparse
import datetime
import re
import time
from collections.abc import Iterator
from typing import Any

from fineline.errors import FinelineError, Preempted
from pipelines import client, packages
from pipelines.client import Server, ServerError
from pipelines.live import Table
from pipelines.local import Task

_STATES = {
    "RUNNING": "running",
    "SUCCEEDED": "done",
    "SKIPPED": "skipped",
    "FAILED": "failed",
    "CANCELING": "canceled",
    "CANCELED": "canceled",
}
_POD = re.compile(r"executor|.*-driver$")
"""Argo's display names of a task's own pod, and of the one that prepares it."""
_ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
_SECONDS_BETWEEN_LOOKS = (0.5, 10.0)
_SECONDS_WITHOUT_ANSWER = 600.0


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments: the server, what to run, and whether to wait."""
    client.add_arguments(parser)
    packages.add_arguments(parser)
    parser.add_argument(
        "--wait",
        action="store_true",
        help="follow the run step by step to its end; Ctrl-C stops following, not the run",
    )
    parser.epilog = (
        "example: fineline submit --host http://localhost:8080 --set train.epochs=5 --wait\n"
        f"{packages.RULE}\n"
        "Credentials come from the environment: docs/cluster.md, 'Credentials of the client'.\n"
        "exit codes of --wait: 0 the run succeeded, 1 it failed, 143 it was canceled, 4 the server cannot be reached any more"
    )


def run(flags: argparse.Namespace) -> int:
    """Checks, uploads what is new, starts the run. With --wait the run's verdict is the exit code."""
    content = packages.prepare(flags.pipeline, flags.overrides, flags.params, cached=not flags.no_cache)
    server = client.connect(flags.host, flags.namespace)
    version, is_new = packages.upload(server, content)
    print(
        f"pipeline    {content.pipeline} {content.version}{', uploaded now' if is_new else ', on the server already'}"
    )
    print(f"arguments   {', '.join(sorted(content.arguments)) or 'none: the values of the version'}")
    started = _start(server, content, version, flags.experiment)
    print(f"run         {started.run_id}")
    print(f"            {_address(server, started.run_id)}", flush=True)
    if flags.wait:
        _follow(server, started.run_id, content.steps)
        print("the run succeeded")
    return 0


def _start(server: Server, content: packages.Package, version: Any, experiment: str) -> Any:
    from kfp_server_api import V2beta1Run

    name = f"{content.pipeline} {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"
    body = V2beta1Run(
        display_name=name,
        experiment_id=packages.experiment(server, experiment),
        **packages.references(version, content),
    )
    return server.call("RunServiceApi.run_service_create_run", body)


def _address(server: Server, run_id: str) -> str:
    return f"{server.ui}/#/runs/details/{run_id}" if server.ui else f"in the browser: /#/runs/details/{run_id}"


def _follow(server: Server, run_id: str, steps: list[str]) -> None:
    """Shows the run until it ends. Raises FinelineError with exit code 1 when it failed, Preempted when it was canceled."""
    address = _address(server, run_id)
    try:
        with Table(steps) as table:
            for found in _looks(server, run_id, address):
                for task in [*_tasks(found, steps), *_left_out(found, steps)]:
                    table.show(task)
    except KeyboardInterrupt:
        raise Preempted("stopped following; the run goes on", f"look at it: {address}") from None
    if found.state == "CANCELED":
        raise Preempted("the run was canceled", f"look at it: {address}")
    if found.state == "FAILED":
        raise FinelineError(*_failure(found, steps, server.namespace or client.INSTALLED_IN, address))


def _looks(server: Server, run_id: str, address: str) -> Iterator[Any]:
    """The run again and again, the last time ended. What may pass is waited for; the run itself does not need us."""
    began = heard = time.monotonic()
    shortest, longest = _SECONDS_BETWEEN_LOOKS
    pause, waiting = shortest, False
    while True:
        try:
            found = server.call("RunServiceApi.run_service_get_run", run_id)
        except ServerError as error:
            if not error.transient or time.monotonic() - heard > _SECONDS_WITHOUT_ANSWER:
                raise ServerError(f"{error.what}; the run goes on", f"look at it: {address}", error.status) from None
            if not waiting:
                print(f"waiting for the server: {error.what}", flush=True)
            pause, waiting = min(longest, 2 * pause), True
        else:
            heard, waiting = time.monotonic(), False
            yield found
            if found.state in _ENDED:
                return
            pause = min(longest, max(shortest, (heard - began) / 20))
        time.sleep(pause)


def _details(found: Any) -> list[Any]:
    """The run's task details, as they started. The server makes one of each Argo node, named like the pipeline's task."""
    details = (found.run_details and found.run_details.task_details) or []
    return sorted(details, key=lambda detail: detail.start_time.timestamp() if _real(detail.start_time) else 0)


def _tasks(found: Any, steps: list[str]) -> Iterator[Task]:
    """The steps that have begun, each once; of one that was tried again the last attempt."""
    newest = {_step(detail.display_name): detail for detail in _details(found)}
    for name in steps:
        detail = newest.get(name)
        if detail and (state := _STATES.get(detail.state)):
            ended = _real(detail.end_time) and _real(detail.start_time)
            seconds = (detail.end_time - detail.start_time).total_seconds() if ended else 0.0
            yield Task(name, state, seconds, _error(detail) if state == "failed" else "")


def _left_out(found: Any, steps: list[str]) -> Iterator[Task]:
    """The steps that a run that succeeded did not take: those behind evaluate's gate or decide, when these said no."""
    begun = {task.name for task in _tasks(found, steps)}
    why = "the gate said no" if "evaluate" in begun else "no reason to train"
    if found.state == "SUCCEEDED" and begun:
        yield from (Task(name, "skipped", line=why) for name in steps if name not in begun)


def _step(display_name: str) -> str:
    return str(display_name).replace("-", "_")


def _real(moment: Any) -> bool:
    """Whether a time is one; the server sends the year 1 or 1970 for what has not happened."""
    return moment is not None and moment.year > 1970


def _error(detail: Any) -> str:
    """What the server says of a failed task, '' when it says nothing."""
    errors = [detail.error, *(status.error for status in detail.state_history or [])]
    return next((" ".join(error.message.split()) for error in reversed(errors) if error and error.message), "")


def _failure(found: Any, steps: list[str], namespace: str, address: str) -> tuple[str, str]:
    """What failed and why, and where its log is."""
    failed = [detail for detail in _details(found) if detail.state == "FAILED"]
    names = [step for detail in failed if (step := _step(detail.display_name).removesuffix("_driver")) in steps]
    pods = [detail.pod_name for detail in failed if detail.pod_name and _POD.match(detail.display_name)]
    messages = [message for detail in [*failed, found] if (message := _error(detail))]
    where = f" at {', '.join(dict.fromkeys(names))}" if names else ""
    what = f"the run failed{where}{': ' + messages[-1] if messages else ''}"
    if pods:
        return (
            what,
            f"see its log: kubectl logs --namespace {namespace} {pods[-1]} --container main, or {address}",
        )
    return what, f"see its log: {address}"
