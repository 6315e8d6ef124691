"""The built images, run as a locked-down cluster runs them. `make images ACCELERATOR=cpu` builds them."""

import json
import runpy
import subprocess

import pytest

from components._image import image
from fineline import __version__
from pipelines import blocks
from pipelines.compiler import package
from tests.conftest import PROJECT
from tests.docker.imports import NOT_CALLED, modules, packages

pytestmark = pytest.mark.docker

BUILD = runpy.run_path(str(PROJECT / "docker" / "build.py"))
ENVIRONMENT = {target.name: target.environment for target in BUILD["targets"]()}
STEPS = [name for name in ENVIRONMENT if name not in ("mlflow", "serve", "client")]
LOCKED = (
    "--rm --network none --read-only --tmpfs /tmp --user 65532 --cap-drop ALL --security-opt no-new-privileges".split()
)
IMPORT_ALL = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\nprint(len(sys.argv) - 1)"


@pytest.fixture(scope="module", autouse=True)
def images() -> None:
    if not _answers("docker", "version"):
        pytest.skip("NO DOCKER ENGINE ANSWERS: the images are not tested; .ci/docker starts one")
    missing = [name for name in ENVIRONMENT if not _answers("docker", "image", "inspect", image(name))]
    if missing:
        pytest.skip(f"IMAGES ARE NOT BUILT: {', '.join(missing)}; make images ACCELERATOR=cpu")


def _answers(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def locked(name: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", "run", *LOCKED, image(name), *command], capture_output=True, text=True)


def config(name: str) -> dict:
    shown = subprocess.run(["docker", "image", "inspect", image(name)], capture_output=True, text=True, check=True)
    return json.loads(shown.stdout)[0]["Config"]


@pytest.mark.parametrize("step", [*STEPS, "serve", "client"])
def test_everything_that_the_step_imports_is_in_its_image(step: str) -> None:
    names = {name for name in packages(step) if name.partition(".")[0] not in NOT_CALLED[ENVIRONMENT[step]]}
    ours = {name for name in modules(step) if name != "fineline.pretrained.mean_pooled" or ENVIRONMENT[step] == "torch"}
    done = locked(step, "python", "-c", IMPORT_ALL, *sorted(ours | names))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) == len(ours | names) > 10


@pytest.mark.parametrize("step", STEPS)
def test_the_image_holds_its_own_step_and_no_packages_of_others(step: str) -> None:
    code = (
        "import importlib.util, pathlib\n"
        "for name in ('torch', 'kfp', 'sentence_transformers', 'pytest'): print(name, bool(importlib.util.find_spec(name)))\n"
        "print(*sorted(path.name for path in pathlib.Path('/app/components').iterdir()))\n"
        "print(*sorted(path.name for path in pathlib.Path('/app').iterdir()))\n"
        "print(*pathlib.Path('/app').rglob('component.py'))"
    )
    lines = locked(step, "python", "-c", code).stdout.split("\n")
    in_torch = ENVIRONMENT[step] == "torch"
    assert lines[:4] == [f"torch {in_torch}", "kfp False", "sentence_transformers False", "pytest False"]
    assert lines[4].split() == sorted(["__init__.py", step])
    assert lines[5].split() == ["components", *(["data"] if step in ("pin", "ingest", "augment") else []), "fineline"]
    assert lines[6] == ""


@pytest.mark.parametrize("step", STEPS)
def test_help_answers_and_is_what_the_image_runs_by_default(step: str) -> None:
    done = locked(step, "python", "-m", f"components.{step}", "--help")
    assert done.returncode == 0, done.stderr
    assert f"usage: python -m components.{step}" in done.stdout
    assert locked(step).stdout == done.stdout


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_nobody_in_particular_runs_it_and_only_tmp_is_writable(name: str) -> None:
    code = (
        "import getpass, os, pathlib, tempfile\n"
        "print(os.getuid(), os.getgid(), getpass.getuser(), pathlib.Path.home(), tempfile.gettempdir())\n"
        "files = [path for root in ('/app', '/opt/venv') for path in pathlib.Path(root).rglob('*')]\n"
        "print(len(files) > 100, *[path for path in files if os.access(path, os.W_OK)])\n"
        "open('/tmp/here', 'w').close()\n"
    )
    # Without --read-only, so that the files' own rights are what keeps them from being written.
    command = ["docker", "run", *[flag for flag in LOCKED if flag != "--read-only"], image(name), "python", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["65532 65532 fineline /tmp /tmp", "True"]


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_labels_user_and_command_are_in_the_image(name: str) -> None:
    found = config(name)
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in found["Labels"].items()}
    assert labels["title"] == f"fineline {name}"
    assert labels["version"] == __version__
    assert labels["licenses"] == "Apache-2.0"
    assert labels["revision"] or not (PROJECT / ".git").exists()
    assert found["User"] == "65532:65532"
    assert not found["Entrypoint"]
    environment = dict(entry.split("=", 1) for entry in found["Env"])
    assert environment.get("FINELINE_GIT_COMMIT", labels["revision"]) == labels["revision"]
    assert not [key for key in environment if key.startswith("PIP_")]


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_no_layer_names_an_index_or_a_secret(name: str) -> None:
    history = ["docker", "history", "--no-trunc", "--format", "{{.CreatedBy}}", image(name)]
    lines = subprocess.run(history, capture_output=True, text=True, check=True).stdout
    assert "COPY" in lines
    for word in ("INDEX_URL", "http://", "https://", "TOKEN", "PASSWORD", "wheels"):
        assert word not in lines


def test_the_mlflow_image_serves_with_basic_auth_to_postgresql_and_s3() -> None:
    names = ("mlflow.server.auth", "psycopg2", "boto3", "flask_wtf.csrf", "mlflow.store.artifact.s3_artifact_repo")
    code = "import os; os.environ['MLFLOW_FLASK_SERVER_SECRET_KEY'] = 'x'; os.chdir('/tmp')\n" + IMPORT_ALL
    done = locked("mlflow", "python", "-c", code, *names)
    assert done.returncode == 0, done.stderr
    assert locked("mlflow").stdout.startswith("Usage: mlflow server")


def test_the_serve_image_holds_the_one_command() -> None:
    assert locked("serve").stdout.startswith("usage: fineline serve")
    assert locked("serve", "ls", "cli", "components").stdout.split("\n\n") == [
        "cli:\n__init__.py\n__main__.py\nserve.py",
        "components:\n__init__.py\n",
    ]
    assert locked("serve", "python", "-c", "import torch").returncode == 1


def test_the_client_image_compiles_and_says_that_no_server_answers() -> None:
    assert locked("client").stdout.startswith("usage: fineline submit")
    compiled = "import sys; from pipelines import blocks, compiler; sys.stdout.write(compiler.package(*blocks.read()))"
    done = locked("client", "python", "-c", compiled)
    assert (done.returncode, done.stdout) == (0, package(*blocks.read(file=PROJECT / "params.yaml"))), done.stderr
    for command in (["submit", "--pipeline=retraining"], ["schedule", "list"]):
        done = locked("client", "python", "-m", "cli", *command, "--host=http://localhost:1")
        assert (done.returncode, "does not answer" in done.stderr, "Traceback" in done.stderr) == (4, True, False)
    assert locked("client", "python", "-c", "import torch").returncode == 1


def test_sizes_are_within_their_bounds() -> None:
    table, fine = BUILD["sizes"]("docker", [(target, image(target.name)) for target in BUILD["targets"]()])
    assert fine, table
