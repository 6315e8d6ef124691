"""Follows a run on a Kubeflow server step by step to its end, and says what waits, what failed, and why, where that is known."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from cli.live import Table
from fineline.process.errors import FinelineError, Preempted
from fineline.runs import argo
from pipelines import client, kubernetes_says, run_tasks
from pipelines.client import Server, ServerError
from pipelines.kubernetes_says import Untold
from pipelines.local import Task

_SECONDS_BETWEEN_LOOKS = (0.5, 10.0)
_SECONDS_WITHOUT_ANSWER = 600.0
_LONG = 60.0
"""Seconds after which something that waits is worth a word: a node that is started, or an image that is pulled, takes as long."""
_SECONDS_BETWEEN_QUESTIONS = 30.0
_MESSAGES = r"""{range .items[*].status.nodes.*}{.displayName}{": "}{.message}{"\n"}{end}"""


def follow(server: Server, run_id: str, steps: Sequence[str]) -> None:
    """Shows the run until it ends. Raises FinelineError with exit code 1 when it failed, Preempted when it was canceled."""
    look_at = f"look at it: {address(server, run_id)}"
    asking = _Asking(server.namespace or client.INSTALLED_IN, run_id)
    try:
        with Table(steps) as table:
            for found in _looks(server, run_id, look_at):
                tasks = run_tasks.tasks(found, steps)
                for task in tasks:
                    table.show(task)
                if text := asking.about(found, tasks):
                    table.say(text)
    except KeyboardInterrupt:
        raise Preempted("stopped following; the run goes on", look_at) from None
    if run_tasks.canceled(found):
        raise Preempted("the run was canceled", look_at)
    if found.state == "FAILED":
        raise FinelineError(*asking.failure(found, steps, look_at))


def address(server: Server, run_id: str) -> str:
    """Where a browser shows the run."""
    return f"{server.ui}/#/runs/details/{run_id}" if server.ui else f"in the browser: /#/runs/details/{run_id}"


def _looks(server: Server, run_id: str, look_at: str) -> Iterator[Any]:
    """The run again and again, the last time ended. What may pass is waited for; the run itself does not need us."""
    began = heard = time.monotonic()
    shortest, longest = _SECONDS_BETWEEN_LOOKS
    pause, waiting = shortest, False
    while True:
        try:
            found = server.call("RunServiceApi.run_service_get_run", run_id)
        except ServerError as error:
            if not error.transient or time.monotonic() - heard > _SECONDS_WITHOUT_ANSWER:
                raise ServerError(f"{error.what}; the run goes on", look_at, error.status) from None
            if not waiting:
                print(f"waiting for the server: {error.what}", flush=True)
            pause, waiting = min(longest, 2 * pause), True
        else:
            heard, waiting = time.monotonic(), False
            yield found
            if found.state in run_tasks.ENDED:
                return
            pause = min(longest, max(shortest, (heard - began) / 20))
        time.sleep(pause)


class _Asking:
    """What is asked of Kubernetes about one run, and since when what waits does. A refusal is final, a reason is said once."""

    def __init__(self, namespace: str, run_id: str) -> None:
        self.namespace, self.run_id = namespace, run_id
        self.since: dict[str, float] = {}
        self.asked = -_SECONDS_BETWEEN_QUESTIONS
        self.said = self.refusal = ""

    def about(self, found: Any, tasks: Sequence[Task]) -> str:
        """A line on what has waited for long, '' when there is nothing new to say."""
        now = time.monotonic()
        waits = [task.name for task in tasks if task.state == run_tasks.WAITS]
        self.since = {name: self.since.get(name, now) for name in waits}
        long = [name for name, since in self.since.items() if now - since >= _LONG]
        if not long or now - self.asked < _SECONDS_BETWEEN_QUESTIONS:
            return ""
        self.asked = now
        why = self._why(run_tasks.waiting_pods(found))
        if why == self.said:
            return ""
        self.said = why
        verb = "wait" if len(long) > 1 else "waits"
        return f"{', '.join(long)} {verb} for {now - self.since[long[0]]:.0f} s now: {why}"

    def failure(self, found: Any, steps: Sequence[str], look_at: str) -> tuple[str, str]:
        """What failed and why, and where to look."""
        try:
            if reason := kubernetes_says.why_it_failed(kubernetes_says.connect(self.namespace), self.run_id):
                return f"the run failed at {reason}", look_at
        except Untold as refusal:
            self.refusal = f" (not told here: {refusal})"
        names = run_tasks.failed_steps(found, steps)
        command = (
            f"kubectl --namespace {self.namespace} get workflow --selector {argo.RUN_LABEL}={self.run_id} "
            f"--output jsonpath='{_MESSAGES}'"
        )
        where = f" at {', '.join(names)}" if names else ""
        return f"the run failed{where}{self.refusal}", f"why: {command}; {look_at}"

    def _why(self, pods: Sequence[str]) -> str:
        if not self.refusal:
            try:
                kubernetes = kubernetes_says.connect(self.namespace)
                if reason := kubernetes_says.why_it_waits(kubernetes, self.run_id, pods):
                    return reason
            except Untold as refusal:
                self.refusal = f" (not told here: {refusal})"
        return (
            "a node, an image, a secret or a claim may be missing; "
            f"kubectl --namespace {self.namespace} get events --field-selector type=Warning shows which{self.refusal}"
        )
