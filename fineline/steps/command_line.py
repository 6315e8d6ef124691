"""The command line that every step shares: flags in, `run()` called, errors as one clear line and an exit code."""

import argparse
import dataclasses
import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fineline.process import ambient, computing
from fineline.process.errors import DataRejected, FinelineError, Preempted, ResourceError, UsageError, out_of_memory
from fineline.process.patience import patient

if TYPE_CHECKING:
    from fineline.steps.params import StepParams

Run = Callable[..., str]

TELEMETRY_OFF = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "DVC_NO_ANALYTICS": "true",
    "DO_NOT_TRACK": "1",
}
"""Environment variables that keep libraries from calling their makers; each is read when its library is imported.
tests/test_nothing_phones_home.py finds what is missing."""

_SECONDS_FOR_THE_FIRST = 60.0


@dataclasses.dataclass(frozen=True)
class Step:
    """A step's command line.

    `inputs`, `outputs` and `optional` map a flag's name (an artifact folder, given to `run()` as a Path keyword; an
    optional one that is absent as None) to its help. `documents` does so for a flag that is an artifact folder or what it holds
    as a line of JSON, given as text. `overrides` maps a parameter's name to the help of a flag that, when
    given and not empty, takes its place. `load` imports and gives the parameter model and `run`, which
    returns one line for people: what came out, with its main figure.
    """

    name: str
    summary: str
    load: Callable[[], "tuple[type[StepParams], Run]"]
    outputs: Mapping[str, str]
    inputs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    optional: Mapping[str, str] = dataclasses.field(default_factory=dict)
    documents: Mapping[str, str] = dataclasses.field(default_factory=dict)
    overrides: Mapping[str, str] = dataclasses.field(default_factory=dict)


def main(step: Step, argv: list[str] | None = None) -> int:
    """Runs `step` with the command line `argv`; gives the exit code (see fineline.process.errors)."""
    flags = _parser(step).parse_args(argv)
    quiet_libraries()
    signal.signal(signal.SIGTERM, terminate)
    if (forgotten := ambient.forget()) and _is_first():
        print(
            f"{step.name}: ignores {', '.join(forgotten)}: only recorded parameters decide", file=sys.stderr, flush=True
        )
    aside: dict[str, Path] = {}
    code, line = guarded(lambda: _work(step, flags, aside), step.name)
    if code == 0 and line:
        print(f"{step.name}: {line}", flush=True)
    for name, old in aside.items() if code else ():
        if old.is_dir():
            print(f"{step.name}: what an earlier run left as {name} is now {old}", file=sys.stderr)
    return code


def _work(step: Step, flags: argparse.Namespace, aside: dict[str, Path]) -> str:
    """Checks what was given, runs the step, and says what came out; gives its line. What stood at an output before is moved
    out of the way first, and noted in `aside`."""
    from fineline.artifacts import folders
    from fineline.kubeflow import delivery, executor

    asked = executor.parse(flags.executor_input) if flags.executor_input else None
    paths = {name: getattr(flags, name) for name in [*step.inputs, *step.outputs]}
    loose = {name: getattr(flags, name) for name in [*step.optional, *step.documents]}
    overrides = {name: value for name in step.overrides if (value := getattr(flags, name))}
    if asked:
        loose, overrides = delivery.decoded(loose), delivery.decoded(overrides)
    paths |= {name: Path(loose[name]) if loose[name] else None for name in step.optional}
    outputs = {name: paths[name] for name in step.outputs}
    documents = {name: loose[name] for name in step.documents}
    read = {name: path for name, path in paths.items() if path and name not in outputs}
    read |= {name: Path(text) for name, text in documents.items() if not text.startswith("{")}
    if _is_first():  # of the processes that torchrun starts, one alone writes
        folders.check_outputs(outputs, read)
    run, params = _checked(step, flags, overrides, documents, outputs, aside)
    # torchrun's processes cannot begin again one by one: there train itself waits, where the first asks for all.
    waits = None if os.environ.get("WORLD_SIZE", "1") == "1" else ()
    line = patient(lambda: run(params=params, **paths, **documents), step.name, waits)
    for name in step.outputs if line else ():  # without a line, another process of the step has written them
        folders.note(paths[name], line=line)
    if asked and line:
        executor.write_output(asked, outputs)
    return line


def _checked(
    step: Step,
    flags: argparse.Namespace,
    overrides: Mapping[str, str],
    documents: Mapping[str, str],
    outputs: Mapping[str, Path],
    aside: dict[str, Path],
) -> "tuple[Run, StepParams]":
    """The step's run() and its parameters. What stood at an output is set aside, also where the parameters are wrong: it was
    made with others. Raises UsageError for those, and where an output holds what the parameters or documents name."""
    from fineline.artifacts import folders
    from fineline.sources import source_version
    from fineline.steps.params import load_params

    def set_aside() -> None:
        if _is_first():
            aside.update((name, old) for name, path in outputs.items() if (old := folders.set_aside(path)))

    model, run = step.load()
    try:
        params = load_params(model, step.name, flags.params, overrides, from_kubeflow=bool(flags.executor_input))
        sources = params.local_places()
        for text in documents.values():
            sources |= source_version.local_places(text)
    except UsageError:
        set_aside()
        raise
    for path in outputs.values():
        folders.check_apart(path, sources)
    set_aside()
    return run, params


def guarded(work: Callable[[], Any], program: str) -> tuple[int, Any]:
    """Calls `work`; gives (0, its result), or the exit code after printing what was wrong. A bug keeps its traceback."""
    try:
        return 0, work()
    except FinelineError as error:
        failure = error
    except KeyboardInterrupt as stop:
        failure = Preempted(f"stopped by {str(stop) or 'Ctrl-C'}", "run the same command again to go on")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.ENOMEM):
            raise
        failure = FinelineError(
            f"{error.filename or 'input or output'}: {error.strerror}", "free space, memory or rights"
        )
        failure.code = 4
    except Exception as error:
        if not out_of_memory(error):
            raise
        failure = ResourceError(
            "memory ran out",
            "give the program more of it (on Kubeflow cluster.memory or cluster.train_memory), or fewer or shorter rows",
        )
    if not _is_first():  # it speaks for all
        if isinstance(failure, Preempted):
            return failure.code, None
        if isinstance(failure, UsageError | DataRejected):  # the first meets it too, and torchrun then ends the rest
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            time.sleep(_SECONDS_FOR_THE_FIRST)
    print(f"{program}: error: {failure.what}", file=sys.stderr)
    if failure.hint:
        print(f"{program}: to mend it: {failure.hint}", file=sys.stderr)
    sys.stderr.flush()
    return failure.code, None


def terminate(_signal: int, _frame: Any) -> None:
    """What SIGTERM does: the same as Ctrl-C, which no library catches by mistake, as many do with an Exception."""
    raise KeyboardInterrupt("SIGTERM")


def _is_first() -> bool:
    """Whether this process writes and talks: the first of those that torchrun started, or the only one."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("RANK", "0") == "0"


def quiet_libraries() -> None:
    """Switches off every library's telemetry and noise, and has its threads wait briefly, for this process and its children.

    What is set already stays.
    """
    for name, value in {
        **TELEMETRY_OFF,
        **computing.thread_settings(),
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "TOKENIZERS_PARALLELISM": "false",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        "TRANSFORMERS_VERBOSITY": "error",
        "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
        # Artifacts go through the MLflow server: what it announces is the address of its store, which is closed to others.
        "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
        "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
        "PGCONNECT_TIMEOUT": "10",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # of what it answers with 429 or 5xx: mlflow_server.answer_once
        "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",  # that may be hours
    }.items():
        os.environ.setdefault(name, value)


def _parser(step: Step) -> argparse.ArgumentParser:
    required = {**step.documents, **step.inputs, **step.outputs}
    example = " ".join(f"--{name} artifacts/{name}" for name in required)
    parser = argparse.ArgumentParser(
        prog=f"python -m components.{step.name}",
        description=step.summary,
        epilog=f"example: python -m components.{step.name} {example} --params params.yaml\n"
        "exit codes: 0 done, 2 wrong use or parameters, 3 data rejected, 4 I/O or resources, 5 gate said no, 143 preempted",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, text in required.items():
        role = "output" if name in step.outputs else "input"
        kind, metavar = (str, "DIR_OR_JSON") if name in step.documents else (Path, "DIR")
        parser.add_argument(f"--{name}", type=kind, required=True, metavar=metavar, help=f"{role}: {text}")
    for name, text in step.optional.items():
        parser.add_argument(f"--{name}", metavar="DIR", help=text)
    for name, text in step.overrides.items():
        parser.add_argument(f"--{name}", metavar="TEXT", help=text)
    parser.add_argument(
        "--params",
        required=True,
        metavar="FILE_OR_JSON",
        help=f"YAML or JSON file (its block '{step.name}' is read) or a JSON object; see docs/parameters.md",
    )
    parser.add_argument(
        "--executor-input", metavar="JSON", help="on Kubeflow: {{$}}; executor_output.json is then written too"
    )
    return parser
