"""Builds the images (one per step, MLflow, serve, client) and prints their sizes. Needs no package but this checkout.

python3 docker/build.py                            all of them; train and augment with CUDA
python3 docker/build.py split --accelerator cpu    one of them
"""

import argparse
import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from components._image import REGISTRY, image  # noqa: E402
from fineline import __version__  # noqa: E402
from fineline.process.code_version import UNKNOWN, git_state  # noqa: E402
from fineline.process.errors import ResourceError, UsageError  # noqa: E402
from fineline.steps.command_line import guarded  # noqa: E402

DOCKERFILE = PROJECT / "docker" / "Dockerfile"
WHEELS = PROJECT / "build" / "wheels"
ENGINES = ("docker", "podman")
INDEXES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
BOUNDS = {"data": 900, "onnx": 700, "registry": 700, "promotion": 850, "client": 350}
"""Environment to the largest size of its images, in MB (10^6 bytes). Promotion needs what onnx and registry need together."""
ON_GPU = ("train", "augment")
"""The steps that use a GPU; export_onnx and evaluate judge what runs on a CPU."""


@dataclasses.dataclass(frozen=True)
class Target:
    """A stage of the Dockerfile that is an image, and the environment (data, onnx, ...) that it stands on."""

    name: str
    environment: str


def targets() -> list[Target]:
    """The images of the Dockerfile, in its order: the stages that say how they are run."""
    stages = re.findall(r"^FROM (\S+) AS (\S+)\n(.*?)(?=^FROM|\Z)", DOCKERFILE.read_text(encoding="utf-8"), re.M | re.S)
    return [
        Target(name, name if parent == "runtime" else parent)
        for parent, name, body in stages
        if "\nCMD " in "\n" + body
    ]


def choose(names: list[str]) -> list[Target]:
    """The named targets, all when there are none. Raises UsageError for an unknown one."""
    known = {target.name: target for target in targets()}
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"no image is called {', '.join(unknown)}", f"images: {', '.join(known)}")
    return [known[name] for name in names] or list(known.values())


def torch_requirement(accelerator: str) -> str:
    """The build of torch for 'cpu' or 'cuda', in the version of constraints.txt.

    `===` compares the whole version: for `==`, 2.13.0+cpu is a better 2.13.0.
    """
    version = re.search(r"^torch==(\S+)$", (PROJECT / "constraints.txt").read_text(encoding="utf-8"), re.M)
    assert version, "constraints.txt pins no torch"
    return f"torch==={version[1]}" + ("+cpu" if accelerator == "cpu" else "")


def build(engine: str, names: list[str], accelerator: str, base: str, registry: str) -> list[tuple[Target, str]]:
    """Builds the named targets (all when there are none); gives each with the name of its image.

    Takes the wheels of build/wheels, without any network, where that folder is. Raises UsageError for an unknown target.
    """
    chosen = choose(names)
    arguments = {"BASE": base, "BUILDER": base, "VERSION": __version__, "REVISION": _revision()}
    options = []
    if WHEELS.is_dir():
        arguments["BUILDER"] = image("wheels", registry)
        options = ["--network", "none"]
        _build(engine, image("wheels", registry), PROJECT / "docker" / "wheels.Dockerfile", WHEELS, {"BASE": base}, [])
    built = []
    for target in chosen:
        name = image(target.name, registry)
        torch = torch_requirement(accelerator if target.name in ON_GPU else "cpu")
        _build(engine, name, DOCKERFILE, PROJECT, {**arguments, "TORCH": torch}, [*options, "--target", target.name])
        built.append((target, name))
    return built


def sizes(engine: str, built: list[tuple[Target, str]]) -> tuple[str, bool]:
    """A table of the images with their sizes, and whether all are within their bounds."""
    rows, fine = [], True
    for target, name in built:
        megabytes = int(_output(engine, "image", "inspect", "--format", "{{.Size}}", name)) / 1e6
        bound = BOUNDS.get(target.environment)
        fits = bound is None or megabytes <= bound
        fine = fine and fits
        verdict = "" if bound is None else f"{'of' if fits else 'OVER'} {bound} MB"
        rows.append(f"{name:36}  {target.environment:9}  {megabytes:7.0f} MB  {verdict}".rstrip())
    return "\n".join(rows), fine


def find_engine(name: str = "") -> str:
    """The container engine that answers: `name`, or docker or podman. Raises ResourceError when none does."""
    for engine in [name] if name else ENGINES:
        try:
            subprocess.run([engine, "version"], capture_output=True, check=True, timeout=30)
        except (OSError, subprocess.SubprocessError):
            continue
        return engine
    raise ResourceError(
        f"no container engine answers ({name or ' or '.join(ENGINES)})",
        "install and start Docker or Podman; .ci/run shows how from Debian's packages",
    )


def _build(
    engine: str, name: str, dockerfile: Path, context: Path, arguments: dict[str, str], options: list[str]
) -> None:
    print(f"== {name}", flush=True)
    command = [engine, "build", "--file", str(dockerfile), "--tag", name, *options]
    for key, value in arguments.items():
        command += ["--build-arg", f"{key}={value}"]
    for key in INDEXES:  # without their values, which the engine takes from the environment
        command += ["--build-arg", key] if os.environ.get(key) else []
    if subprocess.run([*command, str(context)]).returncode:
        raise ResourceError(f"{name} could not be built", "the last lines above say why; see docs/images.md")


def _revision() -> str:
    commit, dirty = git_state()
    return "" if commit == UNKNOWN else commit + ("-dirty" if dirty == "true" else "")


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="docker/build.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", help=f"{', '.join(t.name for t in targets())}; else all"
    )
    parser.add_argument("--engine", default="", help="docker or podman; else the first that answers")
    parser.add_argument("--accelerator", choices=("cuda", "cpu"), default="cuda", help="for train and augment (cuda)")
    parser.add_argument(
        "--base", default="python:3.11-slim", help="base image; pin it: python@sha256:... (%(default)s)"
    )
    parser.add_argument("--registry", default=REGISTRY, help="what the images' names begin with (%(default)s)")
    flags = parser.parse_args()

    def work() -> tuple[str, bool]:
        engine = find_engine(flags.engine)
        return sizes(engine, build(engine, flags.targets, flags.accelerator, flags.base, flags.registry))

    code, result = guarded(work, parser.prog)
    if code:
        return code
    table, fine = result
    print(table)
    if not fine:
        print(f"{parser.prog}: an image is larger than its bound", file=sys.stderr)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
