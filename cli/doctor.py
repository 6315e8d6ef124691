"""fineline doctor: is this machine fit for the pipeline, and this project consistent. Imports nothing heavy."""

import argparse
import importlib
import importlib.metadata
import os
import platform
import shutil
import socket
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import urlsplit

from fineline.pretrained import models
from fineline.process import computing
from fineline.process.errors import FinelineError, UsageError
from fineline.tracking import connection
from pipelines import blocks, client
from pipelines.blocks import STEPS

if TYPE_CHECKING:
    from fineline.steps.params import StepParams

PROJECT = Path(__file__).parents[1]

_GIGABYTE = 2**30
_MEMORY_NEEDED = 4  # GB; training the bundled model with the default parameters takes 2
_DISK_NEEDED = 5  # GB; checkpoints, artifacts and DVC's cache of a run, with room for some more
_SERVER_TIMEOUT = 3.0
_SLOW_COMMAND_TIMEOUT = 60.0
_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
_SHARED = ("model", "revision", "max_length")


class Finding(NamedTuple):
    """One line of the doctor, and what to do: ok, warn (works, but look at it), missing (something will not work), or cannot see
    (no right to look, so that nobody knows)."""

    state: Literal["ok", "warn", "missing", "cannot see"]
    what: str
    remedy: str = ""


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments: the parameters, and of which cluster."""
    blocks.add_arguments(parser)
    client.add_arguments(parser)
    parser.add_argument(
        "--cluster", action="store_true", help="check the cluster in place of this machine: all that a run needs there"
    )
    parser.epilog = (
        "examples: fineline doctor\n"
        "          fineline doctor --cluster --namespace kubeflow --host http://localhost:8080\n\n"
        "Each line begins with ok, warn, missing, or cannot see; below it, what to do. Exit code 4 when anything is missing,\n"
        "else 0. MLFLOW_TRACKING_URI says which tracking server is asked.\n\n"
        "--cluster looks with kubectl's credentials at the namespace where the steps run (--namespace; kubeflow), asks MLflow\n"
        "as the steps' user and Kubeflow Pipelines as submit does (docs/cluster.md), and changes nothing. It needs no right to\n"
        "look: what it may not see it says, with the command for someone who may."
    )


def run(flags: argparse.Namespace) -> int:
    """Prints the findings; 4 when something is missing."""
    if flags.cluster:
        from cli import preflight

        return report(preflight.examine(flags), ("ok", "warn", "missing", "cannot see"))
    if flags.namespace or flags.overrides:
        raise UsageError("--namespace and --set are for a cluster", "add --cluster, or leave them out")
    return report(examine(flags.params), ("ok", "warn", "missing"))


def report(findings: Iterable[Finding], states: tuple[str, ...]) -> int:
    """Prints findings as they come, and how many there were of each state; 4 when something is missing, else 0."""
    count = dict.fromkeys(states, 0)
    width = max(map(len, states)) + 1
    for finding in findings:
        count[finding.state] += 1
        print(f"{finding.state:{width}} {finding.what}", flush=True)
        if finding.remedy:
            print(f"{'':{width}} -> {finding.remedy}", flush=True)
    print(", ".join(f"{number} {state}" for state, number in count.items()))
    return 4 if count["missing"] else 0


def examine(params: Path) -> Iterator[Finding]:
    """All findings, as they are found."""
    yield python_version()
    yield from packages(requirements())
    yield from compute()
    yield memory()
    yield disk(Path.cwd())
    yield from tools()
    yield from pythons(Path("dvc.yaml"))
    yield tracking_server()
    yield from bundled_models()
    yield from parameters(params)


def python_version() -> Finding:
    """Whether this Python is the one that the packages are pinned for."""
    what = f"Python {platform.python_version()} ({sys.executable})"
    if sys.version_info[:2] == (3, 11):
        return Finding("ok", what)
    return Finding("missing", f"{what}, but 3.11 is needed", "make run PYTHON=/path/to/python3.11, after rm -r .venv")


def requirements() -> list[str]:
    """What pyproject.toml asks for; where there is none (an image), what the installed fineline asks for."""
    pyproject = PROJECT / "pyproject.toml"
    if pyproject.is_file():
        return tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["dependencies"]
    return importlib.metadata.requires("fineline") or []


def packages(needed: list[str]) -> Iterator[Finding]:
    """One finding for all that fit, one for each that does not."""
    from packaging.requirements import Requirement

    fitting = []
    for requirement in map(Requirement, needed):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        asked = f"{requirement.name}{requirement.specifier}"
        try:
            found = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding("missing", f"package {asked} is not installed", "pip install -c constraints.txt -e .")
            continue
        if requirement.specifier.contains(found, prereleases=True):
            fitting.append(f"{requirement.name} {found}")
        else:
            yield Finding(
                "missing", f"package {requirement.name} is {found}, not {asked}", "pip install -c constraints.txt -e ."
            )
    yield Finding("ok", f"{len(fitting)} packages: {', '.join(fitting)}")


def compute() -> Iterator[Finding]:
    """Cores, GPU, whether torch can use it, and native bf16, which `train.precision: auto` takes."""
    cores = computing.cores()
    yield Finding("ok", f"{cores} CPU core{'' if cores == 1 else 's'} ({platform.machine()})")
    try:
        build = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return  # said by `packages`
    gpus = _gpus()
    if not gpus:
        yield Finding("ok", f"no NVIDIA GPU; torch {build} trains on the CPU")
        yield _cpu_bf16()
        return
    for name, capability in gpus:
        native = float(capability) >= 8.0  # Ampere was the first
        yield Finding("ok", f"GPU {name}, compute capability {capability}, {'' if native else 'no '}native bf16")
    if _torch_sees_gpu():
        yield Finding("ok", f"torch {build} uses the GPU")
    else:
        yield Finding(
            "warn",
            f"torch {build} does not use the GPU",
            "install the CUDA build of the same version (pytorch.org), or update the driver",
        )


def memory() -> Finding:
    """Memory that is free for use."""
    import psutil

    available, total = (size / _GIGABYTE for size in (psutil.virtual_memory().available, psutil.virtual_memory().total))
    what = f"{available:.1f} GB of {total:.1f} GB memory available"
    if available >= _MEMORY_NEEDED:
        return Finding("ok", what)
    return Finding("warn", what, f"train needs about {_MEMORY_NEEDED} GB: smaller train.batch_size, or close programs")


def disk(folder: Path) -> Finding:
    """Room on the disk that holds the project."""
    free = shutil.disk_usage(folder).free / _GIGABYTE
    what = f"{free:.1f} GB free on the disk of {folder}"
    if free >= _DISK_NEEDED:
        return Finding("ok", what)
    return Finding(
        "warn", what, f"a run needs up to {_DISK_NEEDED} GB: free some, for instance with 'dvc gc --workspace'"
    )


def tools() -> Iterator[Finding]:
    """git and DVC, and whether both know this project."""
    if not shutil.which("git"):
        yield Finding(
            "missing", "git is not installed", "install it (apt-get install git); DVC and the lineage need it"
        )
    elif _in_dvc() and _output("git", "rev-parse", "--git-dir") is None:
        yield Finding("missing", "this folder has no .git, without which DVC stops", "git init")
    elif (version := _output("git", "rev-parse", "HEAD")) is None:
        yield Finding("warn", "git has no commit here", "git init, git add, git commit: then a version names its code")
    else:
        yield Finding("ok", f"git, at commit {version[:12]}")
    if shutil.which("dvc") or (Path(sys.executable).parent / "dvc").exists():
        known = _in_dvc()
        yield Finding(
            "ok" if known else "warn", "dvc" if known else "dvc, but not set up here", "" if known else "dvc init"
        )
    else:
        yield Finding("missing", "the command dvc is not there", "pip install -c constraints.txt -e .")


def pythons(dvc_yaml: Path) -> Iterator[Finding]:
    """Whether the `python` of the project's stages is this one: where it is just `python`, the shell decides."""
    import yaml

    if not dvc_yaml.is_file():
        return
    try:
        variables = (yaml.safe_load(dvc_yaml.read_text(encoding="utf-8")) or {}).get("vars") or []
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        yield Finding("missing", f"{dvc_yaml} is not valid YAML: {str(error).splitlines()[0]}", "correct the file")
        return
    named = next((entry["python"] for entry in variables if isinstance(entry, dict) and "python" in entry), "")
    if not named or os.sep in named:
        return
    found = shutil.which(named)
    if found and Path(found).parent == Path(sys.executable).parent:
        yield Finding("ok", f"{named} of {dvc_yaml} is this one")
    else:
        activate = Path(sys.executable).with_name("activate")
        what = f"{named} of {dvc_yaml} is {found or 'not there'}, and fineline is installed for {sys.executable}"
        yield Finding("missing", what, f"activate its environment before dvc repro: . {activate}")


def _in_dvc() -> bool:
    return any((folder / ".dvc").is_dir() for folder in (Path.cwd(), *Path.cwd().parents))


def tracking_server() -> Finding:
    """Whether what MLFLOW_TRACKING_URI names answers."""
    try:
        uri = connection.tracking_uri()
    except FinelineError as error:
        return Finding("missing", error.what, error.hint)
    parts = urlsplit(uri)
    if parts.scheme == "sqlite":
        return _sqlite_store(Path(uri.removeprefix("sqlite:///")))
    shown = f"tracking server {parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"
    port = parts.port or _PORTS.get(parts.scheme.partition("+")[0])
    if not parts.hostname or not port:
        return Finding("warn", f"{shown} cannot be asked from here", "fineline register will tell")
    try:
        if parts.scheme in ("http", "https"):
            urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=_SERVER_TIMEOUT).close()
        else:
            socket.create_connection((parts.hostname, port), timeout=_SERVER_TIMEOUT).close()
    except urllib.error.HTTPError as error:
        return Finding("missing", f"{shown} answers {error.code}", "is it MLflow? check the address and credentials")
    except OSError as error:
        reason = getattr(error, "reason", error)
        said = getattr(reason, "strerror", "") or reason
        return Finding("missing", f"{shown} does not answer ({said})", "start it, or correct MLFLOW_TRACKING_URI")
    return Finding("ok", f"{shown} answers")


def bundled_models() -> Iterator[Finding]:
    """Whether the weights that came with a package are the published ones."""
    for name in models.BUNDLED:
        try:
            models.model_folder(f"bundled:{name}")
        except FinelineError as error:
            yield Finding("missing", error.what, error.hint)
        else:
            yield Finding("ok", f"model bundled:{name}, sha256 as published")


def parameters(path: Path) -> Iterator[Finding]:
    """Whether the parameters of every step are valid, and data_quality looks at what train trains."""
    from fineline.steps.params import load_params

    if not path.is_file():
        yield Finding("missing", f"{path} is not here", "go to the project's folder, or name it with --params")
        return
    valid: dict[str, StepParams] = {}
    for step in STEPS:
        try:
            model = importlib.import_module(f"components.{step}.params").Params
            valid[step] = load_params(model, step, str(path))
        except FinelineError as error:
            yield Finding("missing", error.what.replace("\n", f"\n{'':8}"), error.hint)
    if len(valid) == len(STEPS):
        yield Finding("ok", f"{path} is valid for all {len(STEPS)} steps")
    if not {"train", "data_quality"} <= valid.keys():
        return
    for name in _SHARED:
        trained, checked = (getattr(valid[step], name) for step in ("train", "data_quality"))
        if trained != checked:
            yield Finding(
                "warn",
                f"train.{name} is {trained!r}, but data_quality.{name} is {checked!r}: truncation is counted for another model",
                f"give both the same value in {path}",
            )


def _gpus() -> list[tuple[str, str]]:
    found = _output("nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader")
    lines = [line.rpartition(", ") for line in (found or "").splitlines()]
    return [(name, capability) for name, _, capability in lines if capability.replace(".", "").isdigit()]


def _torch_sees_gpu() -> bool:
    """Asked in another process: importing torch takes seconds and memory."""
    return _output(sys.executable, "-c", "import torch; print(torch.cuda.is_available())") == "True"


def _cpu_bf16() -> Finding:
    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text(encoding="utf-8", errors="replace").split()) if cpuinfo.is_file() else set()
    if flags & {"avx512_bf16", "amx_bf16", "bf16"}:
        return Finding("ok", "the CPU has native bf16: train.precision auto trains in bf16")
    return Finding("ok", "the CPU has no native bf16: train.precision auto trains in fp32, 2 to 3 times slower")


def _sqlite_store(path: Path) -> Finding:
    what = f"tracking in the file {path}"
    if path.is_file():
        writable = os.access(path, os.W_OK)
        return Finding(
            "ok" if writable else "missing", what, "" if writable else f"{path} cannot be written: chmod u+w"
        )
    if os.access(path.absolute().parent, os.W_OK):
        return Finding("ok", f"{what}, which the first run makes")
    return Finding("missing", f"{what}, whose folder cannot be written", "correct MLFLOW_TRACKING_URI or the rights")


def _output(*command: str) -> str | None:
    """What a command printed; None when it is not there or failed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SLOW_COMMAND_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
