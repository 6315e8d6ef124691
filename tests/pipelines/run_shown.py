"""A run's state and task details in the shape that a real server sent (tests/recorded/runs), made for any course of a run."""

import datetime
from typing import Any

WORKFLOW = "fineline-training-x7k2p"
NOT_YET = "0001-01-01T00:00:00Z"

Details = list[dict[str, Any]]

_SECONDS = {"CACHED": 0}
_TOOK = 12


def run_shown(state: str, tasks: dict[str, str]) -> dict[str, Any]:
    """`state`, `state_history` and `run_details` of a run whose `tasks` have these states.

    CANCELED of the run is what the server makes of it: FAILED, CANCELING before. Of a task, PENDING is one whose pod waits,
    CACHED one from the cache, OMITTED one that was left out; a name that ends in -driver is the driver alone.
    """
    history = ["PENDING"] if state == "PENDING" else ["PENDING", "RUNNING"]
    if state == "CANCELED":
        history, state = [*history, "CANCELING"], "FAILED"
    history += [state] if state not in history else []
    details: Details = []
    if state != "PENDING":
        for name in (WORKFLOW, "root", "exit-handler-1"):
            details += _tried(name, state, 0, 600, [])
        details += _tried("root-driver", "SUCCEEDED", 0, 10, [])
        for number, (task, task_state) in enumerate(tasks.items(), start=1):
            details += _task(task, task_state, 40 * number)
    return {
        "state": state,
        "state_history": [{"update_time": _time(number), "state": each} for number, each in enumerate(history)],
        "run_details": {"task_details": details[::-1]},  # in no order
    }


def _task(task: str, state: str, start: int) -> Details:
    """A step with its driver, attempt and pod; the nameless entry is the one of the cache."""
    if task.endswith("-driver"):
        return _tried(task, state, start, start + 10, [])
    if state == "OMITTED":
        return [_node(name, None, start, start, []) for name in (f"{task}-driver", task)]
    details = _tried(f"{task}-driver", "SUCCEEDED", start - 10, start, [])
    end = start + _SECONDS.get(state, _TOOK)
    if state == "CACHED":
        return [
            *details,
            *_tried(task, "SUCCEEDED", start, end, []),
            _node("executor", "SKIPPED", start, end, []),
        ]
    running = "RUNNING" if state == "PENDING" else state
    details += _tried(task, running, start, end, [f"{task}.executor"])
    details.append(_node("executor", running, start, end, [f"{task}.executor(0)"]))
    details.append(_node("executor(0)", state, start, end, []))
    if state != "PENDING":
        details.append({"start_time": _time(start), "end_time": _time(end), "execution_id": str(start)})
    return details


def _tried(name: str, state: str, start: int, end: int, children: list[str]) -> Details:
    """A node with the retry parent that Argo 4 gives each."""
    pod = state if name.endswith("-driver") or state != "PENDING" else "RUNNING"
    parent = "RUNNING" if pod == "PENDING" else pod
    return [_node(name, parent, start, end, [f"{name}(0)"]), _node(f"{name}(0)", pod, start, end, children)]


def _node(name: str, state: str | None, start: int, end: int, children: list[str]) -> dict[str, Any]:
    ended = state not in ("PENDING", "RUNNING")
    node: dict[str, Any] = {"display_name": name, "start_time": _time(start)}
    node |= {"end_time": _time(end) if ended else NOT_YET}
    node |= {"state": state, "state_history": [{"update_time": _time(start), "state": state}]} if state else {}
    return node | ({"child_tasks": [{"pod_name": pod_id(child)} for child in children]} if children else {})


def pod_id(name: str) -> str:
    """The id of a node, as Argo makes one: the workflow and a number of 32 bits."""
    number = 0
    for byte in name.encode():
        number = (number * 31 + byte) % 2**32
    return f"{WORKFLOW}-{number}"


def _time(seconds: int) -> str:
    moment = datetime.datetime(2026, 11, 20, 3, 0, tzinfo=datetime.UTC) + datetime.timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
