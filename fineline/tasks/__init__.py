"""The table of tasks. All that is particular to a task lies in its own folder; a step asks the table, never the name."""

import dataclasses
import importlib

from fineline.process.errors import UsageError
from fineline.tasks.parts import Answers, Figures, Model, Page, Rows

TASKS = {name: f"fineline.tasks.{name}" for name in ("single_label", "multi_label")}
"""Each task with the module that has it as TASK."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task(Rows, Model, Answers, Figures, Page):
    """What a task gives the steps, as data and functions: the parts that `parts.py` describes."""

    name: str
    pipeline_tag: str
    """What the Hugging Face hub calls the task."""


def get_task(name: str) -> Task:
    """The task of that name. Raises UsageError for an unknown one."""
    if name not in TASKS:
        raise UsageError(f"unknown task '{name}'", f"tasks: {', '.join(TASKS)}")
    return importlib.import_module(TASKS[name]).TASK
