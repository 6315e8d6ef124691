"""Runs a compiled pipeline on this machine through kfp.local: each task as a container, or as a process of this environment.

kfp decides what runs when and with which arguments. Only how a task is started is done here, in place of kfp's own task
handlers: its Docker handler can take a failed container for a good one (kubeflow/pipelines#13332), and its subprocess
handler refuses container components.
"""

import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fineline.artifacts import folders
from fineline.kubeflow import delivery
from fineline.process.errors import FinelineError, ResourceError
from pipelines import containers, expansion

_INPUT = re.compile(r"\{\{\$\.inputs\.parameters\['(?:pipelinechannel--)?(\w+)'\]\}\}")
_LAST_LINES = 15
_LOGS = "executor-logs"


@dataclasses.dataclass
class Task:
    """One task of a run: its state (waiting, running, done, failed), seconds, last line and output folders."""

    name: str
    state: str = "waiting"
    seconds: float = 0.0
    line: str = ""
    outputs: dict[str, Path] = dataclasses.field(default_factory=dict)
    code: int = 0
    log: Path = Path()


@dataclasses.dataclass(frozen=True)
class Runner:
    """How tasks are started. `environment` is set for each; `mounts` are those of its container, by task, '' for all."""

    docker: bool
    environment: Mapping[str, str]
    mounts: Mapping[str, Sequence[str]]


def execute(
    package: Path, arguments: Mapping[str, Any], folder: Path, runner: Runner, changed: Callable[[Task], None]
) -> dict[str, Task]:
    """Runs the compiled pipeline `package` with `arguments`, keeping all it writes in `folder`; gives its tasks by name.

    As on a cluster, every task gets the output executor-logs, and text in the inputs is expanded (pipelines.expansion).
    `changed` is called when a task starts, prints a line and ends. Raises FinelineError with the exit code of the task
    that failed, after the exit handler has run; kfp's own messages are in `folder`/kfp.log.
    """
    import yaml
    from kfp import components, local
    from kfp.local import docker_task_handler, subprocess_task_handler

    inputs = next(yaml.safe_load_all(package.read_text(encoding="utf-8")))["root"]["inputDefinitions"]["parameters"]
    defaults = {name: definition["defaultValue"] for name, definition in inputs.items()}
    given = expansion.expanded(defaults | delivery.encoded(dict(arguments)), folder.name, runner.environment)
    (folder / "logs").mkdir(parents=True)
    tasks: dict[str, Task] = {}

    def handler(image: str, full_command: list[str], **_: Any) -> Any:
        return _Handler(image, _with_logs(full_command), given, folder, runner, tasks, changed)

    how = local.DockerRunner() if runner.docker else local.SubprocessRunner(use_venv=False)
    local.init(how, pipeline_root=str(folder / "artifacts"), workspace_root=str(folder / "workspace"))
    places = (docker_task_handler, "DockerTaskHandler"), (subprocess_task_handler, "SubprocessTaskHandler")
    pipeline = components.load_component_from_file(str(package))
    failure = None
    with (
        (folder / "kfp.log").open("w", encoding="utf-8") as log,
        contextlib.redirect_stdout(log),
        _replaced(places, handler),
        warnings.catch_warnings(),
    ):
        # what is Kubernetes' alone
        warnings.filterwarnings("ignore", message=".*no effect in the current local runner")
        try:
            pipeline(**given)
        except RuntimeError as error:  # what kfp raises when a task failed, and for nothing else
            failure = error
    failed = next((task for task in tasks.values() if task.state == "failed"), None)
    if failed:
        last = failed.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
        raise _failed(
            f"{failed.name} failed with exit code {failed.code}:\n" + "\n".join(f"  {line}" for line in last),
            f"mend what it says and run again; the whole log is {failed.log}",
            failed.code,
        )
    if failure:
        raise ResourceError(f"kfp stopped: {failure}", f"its log is {folder / 'kfp.log'}")
    return tasks


def _with_logs(command: list[str]) -> list[str]:
    """The command with the output that Kubeflow's driver adds to every task (provisionOutputs in backend/src/v2/driver)."""
    if "--executor-input" not in command:
        return command
    place = command.index("--executor-input") + 1
    asked = json.loads(command[place])
    logs = {"name": _LOGS, "type": {"schemaTitle": "system.Artifact"}}
    logs["uri"] = str(Path(asked["outputs"]["outputFile"]).with_name(_LOGS))
    asked["outputs"].setdefault("artifacts", {})[_LOGS] = {"artifacts": [logs]}
    return [*command[:place], json.dumps(asked), *command[place + 1 :]]


@contextlib.contextmanager
def _replaced(places: Sequence[tuple[Any, str]], value: Any) -> Iterator[None]:
    before = [getattr(module, name) for module, name in places]
    for module, name in places:
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name), old in zip(places, before, strict=True):
            setattr(module, name, old)


@contextlib.contextmanager
def _held(*numbers: signal.Signals) -> Iterator[None]:
    """Signals that come during the block act at its end: one inside of Popen would leave a process that nobody knows."""
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for held in came:
        signal.raise_signal(held)


def _failed(what: str, hint: str, code: int) -> FinelineError:
    error = FinelineError(what, hint)
    error.code = code if code in (2, 3, 4, 5, 143) else 4
    return error


@dataclasses.dataclass(frozen=True)
class _Handler:
    """What kfp asks to run one task: its image and command, with all placeholders filled in."""

    image: str
    command: list[str]
    arguments: Mapping[str, Any]
    folder: Path
    runner: Runner
    tasks: dict[str, Task]
    changed: Callable[[Task], None]

    def run(self) -> Any:
        from kfp.local.status import Status

        name = self.command[2].rpartition(".")[2]
        task = self.tasks[name] = Task(name, "running", log=self.folder / "logs" / f"{name}.log")
        task.outputs = self._outputs()
        self.changed(task)
        started = time.monotonic()
        task.code = self._process(task, started)
        task.seconds = time.monotonic() - started
        missing = [path for path in task.outputs.values() if not (path / folders.MANIFEST).is_file()]
        if task.code == 0 and missing:
            with task.log.open("a", encoding="utf-8") as log:
                log.write(f"{name} ended with exit code 0 without writing {missing[0]}\n")
            task.code = 4
        task.state = "failed" if task.code else "done"
        self.changed(task)
        return Status.FAILURE if task.code else Status.SUCCESS

    def _outputs(self) -> dict[str, Path]:
        """Folders of the artifacts that the task is to write, by flag; their parents are made, as Kubeflow's launcher does."""
        if "--executor-input" not in self.command:
            return {}
        asked = json.loads(self.command[self.command.index("--executor-input") + 1])["outputs"]
        found = {name: Path(entry["artifacts"][0]["uri"]) for name, entry in asked.get("artifacts", {}).items()}
        for path in [*found.values(), Path(asked["outputFile"])]:
            path.parent.mkdir(parents=True, exist_ok=True)
        return {name: path for name, path in found.items() if f"--{name}" in self.command}

    def _process(self, task: Task, started: float) -> int:
        """Runs the program to its end; its lines go to the log and to the task. Gives the exit code."""
        program, environment = self._program(task.name)
        process = None
        with task.log.open("w", encoding="utf-8") as log:
            try:
                with _held(signal.SIGINT, signal.SIGTERM):
                    process = subprocess.Popen(
                        program,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.STDOUT,
                        text=True,
                        errors="replace",
                        env=environment,
                    )
                assert process.stdout
                for line in process.stdout:
                    log.write(line)
                    log.flush()
                    task.line = line.strip().removeprefix(f"{task.name}: ") or task.line
                    task.seconds = time.monotonic() - started
                    self.changed(task)
                code = process.wait()
                if self.runner.docker and code == containers.LOST:
                    log.write(containers.remove(self._container(task.name)))
                return code
            except BaseException:  # such as Ctrl-C: the step must not go on alone
                if process:
                    process.terminate()
                    log.write(process.communicate()[0] or "")
                    if self.runner.docker:
                        log.write(containers.remove(self._container(task.name)))
                raise

    def _program(self, name: str) -> tuple[list[str], dict[str, str]]:
        environment = {**os.environ, **self.runner.environment}
        if not self.runner.docker:
            return [sys.executable, *self.command[1:]], environment
        mounts = [
            containers.mount(self.folder),
            *self.runner.mounts.get("", []),
            *self.runner.mounts.get(name, []),
        ]
        image = _INPUT.sub(lambda found: str(self.arguments[found[1]]), self.image)
        container = self._container(name)
        return containers.command(container, image, self.command, self.runner.environment, mounts), environment

    def _container(self, name: str) -> str:
        return f"fineline-{self.folder.name}-{name}"
