"""What a run on a Kubeflow server shows of the pipeline's steps: state, seconds, attempts, and which pods wait.

The server makes one task detail of each of Argo's nodes. A step is there as `train`, each attempt of it as `train(0)`, its pod
as `executor`, whose attempts are `executor(0)`, what prepares it as `train-driver`; which pod is whose, only times say. Steps
that were left out have no state, the cache's own entries no name. tests/recorded/runs has what a real server sent.
"""

import dataclasses
import datetime
import re
from collections.abc import Sequence
from typing import Any

from pipelines.local import Task

WAITING, WAITS = "waiting", "waits"
"""States of a step: not begun, and begun without a pod that runs."""
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
"""States of a run that has ended."""

_NAME = re.compile(r"(.+?)(?:\((\d+)\))?")
_POD, _DRIVER = "executor", "-driver"
_AFTER_ALL = "finish"
_STATES = {
    "PENDING": WAITS,
    "RUNNING": "running",
    "SUCCEEDED": "done",
    "CACHED": "cached",
    "SKIPPED": "skipped",
    "FAILED": "failed",
    "CANCELING": "canceled",
    "CANCELED": "canceled",
    None: "skipped",
}


@dataclasses.dataclass(frozen=True)
class Entry:
    """One of Argo's nodes: `name` without the number of its `attempt`, which is None for what is none; `end` is None while it
    is under way; `children` are ids of Argo's."""

    name: str
    attempt: int | None
    state: str | None
    start: datetime.datetime
    end: datetime.datetime | None
    children: tuple[str, ...]

    def spans(self, other: "Entry") -> bool:
        """Whether it was under way when `other` began."""
        return self.start <= other.start and (self.end is None or other.start <= self.end)


def canceled(run: Any) -> bool:
    """Whether somebody ended the run: the server calls it FAILED then, and CANCELING before."""
    history = [status.state for status in run.state_history or []]
    return run.state == "CANCELED" or (run.state == "FAILED" and "CANCELING" in history)


def tasks(run: Any, steps: Sequence[str]) -> list[Task]:
    """Every step, in the order of `steps`, and `finish` where only that is left and waits. A step that has not begun is WAITING;
    of a run that has ended it was left out, and where that succeeded evaluate's gate or decide said no before."""
    found = entries(run)
    shown = [_task(run, found, step, steps) for step in steps]
    if run.state in ENDED:
        no = "the gate said no" if _of(found, "evaluate") else "no reason to train"
        why = no if run.state == "SUCCEEDED" else ""
        return [Task(task.name, "skipped", line=why) if task.state == WAITING else task for task in shown]
    unclaimed = [
        entry for entry in found if _pending(entry) and not any(_may_own(found, step, entry) for step in steps)
    ]
    if unclaimed or (run.state == "PENDING" and not found):  # what stands before the next step, or before all
        for task in [*shown, Task(_AFTER_ALL)]:
            if task.state == WAITING:
                task.state = WAITS
                return shown if task in shown else [*shown, task]
    return shown


def waiting_pods(run: Any) -> list[str]:
    """Argo's ids of the pods that wait: <workflow>-<number>, which begins and ends the pod's name."""
    found = entries(run)
    pending = {(entry.name, entry.start) for entry in found if _pending(entry)}
    parents = [entry for entry in found if entry.attempt is None and entry.state == "RUNNING" and entry.children]
    return [
        parent.children[-1]
        for parent in parents
        if any(name == parent.name and start >= parent.start for name, start in pending)
    ]


def failed_steps(run: Any, steps: Sequence[str]) -> list[str]:
    """The steps that failed, themselves or in their driver, those that began last at the end."""
    names = [entry.name.removesuffix(_DRIVER) for entry in entries(run) if entry.state == "FAILED"]
    return [step for name in dict.fromkeys(names) if (step := name.replace("-", "_")) in steps]


def entries(run: Any) -> list[Entry]:
    """The nodes of a run that have a name, as they began."""
    details = (run.run_details and run.run_details.task_details) or []
    found = []
    for detail in details:
        if detail.display_name and _real(detail.start_time) and (parts := _NAME.fullmatch(detail.display_name)):
            attempt = int(parts[2]) if parts[2] else None
            end = detail.end_time if _real(detail.end_time) else None
            children = tuple(child.pod_name for child in detail.child_tasks or [] if child.pod_name)
            found.append(Entry(parts[1], attempt, detail.state, detail.start_time, end, children))
    return sorted(found, key=lambda entry: entry.start)


def _task(run: Any, found: Sequence[Entry], step: str, steps: Sequence[str]) -> Task:
    entry, driver = _of(found, step), [node for node in found if node.name == _named(step) + _DRIVER]
    if [node.state for node in driver if node.attempt is None][-1:] == ["FAILED"]:
        return Task(step, "canceled" if canceled(run) else "failed", line="in its driver")
    if entry is None:
        return Task(step, WAITS if any(map(_pending, driver)) else WAITING)
    pods = [pod for pod in found if pod.name == _POD and pod.attempt is not None and entry.spans(pod)]
    seconds = (entry.end - entry.start).total_seconds() if entry.end else 0.0
    state = _STATES.get(entry.state, WAITING)
    if state == "running" and any(map(_pending, pods)) and not any(pod.state == "RUNNING" for pod in pods):
        state = WAITS
    elif state == "done" and not seconds:
        state = "cached"
    elif state == "failed" and canceled(run):
        state = "canceled"
    attempts = _attempts(found, entry, [each for name in steps if (each := _of(found, name))])
    return Task(step, state, seconds, f"attempt {attempts}" if attempts > 1 else "")


def _of(found: Sequence[Entry], step: str) -> Entry | None:
    """The step itself; of several with its name (a level above was tried again) the one that began last."""
    return next((entry for entry in reversed(found) if entry.name == _named(step) and entry.attempt is None), None)


def _may_own(found: Sequence[Entry], step: str, pod: Entry) -> bool:
    """Whether a pod that waits may be that of a step, or its driver's."""
    entry = _of(found, step)
    return pod.name == _named(step) + _DRIVER or (pod.name == _POD and entry is not None and entry.spans(pod))


def _attempts(found: Sequence[Entry], entry: Entry, steps: Sequence[Entry]) -> int:
    """How often a step was tried, itself and its pod. A later pod of two steps that run side by side is counted for none."""
    itself = len([node for node in found if node.name == entry.name and node.attempt is not None])
    later = [pod for pod in found if pod.name == _POD and pod.attempt]
    return itself + len([pod for pod in later if [step for step in steps if step.spans(pod)] == [entry]])


def _pending(entry: Entry) -> bool:
    return entry.state == "PENDING" and entry.attempt is not None


def _named(step: str) -> str:
    return step.replace("_", "-")


def _real(moment: Any) -> bool:
    """Whether a time is one; the server sends the year 1 or 1970 for what has not happened."""
    return moment is not None and moment.year > 1970
