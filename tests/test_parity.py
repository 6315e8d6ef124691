"""The same inputs give the same bytes whoever runs the steps: DVC, kfp with processes, kfp with containers."""

import shutil
import subprocess
from pathlib import Path

import pytest

from fineline.artifacts.folders import read_manifest, verify
from tests.project import TINY, make_project, run

pytestmark = pytest.mark.slow

SAME = "source_version dataset clean quality splits augmented model onnx bundle report".split()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the sample and a tiny model, in which `dvc repro` has run."""
    folder = make_project(tmp_path_factory.mktemp("parity") / "project", TINY)
    run(folder, "dvc", "repro")
    return folder


def digests(artifacts: Path) -> dict[str, str]:
    return {name: verify(artifacts / name).digest for name in SAME}


def run_compiled(project: Path, runner: str) -> Path:
    """Runs the compiled pipeline; gives the folder with its results, named as DVC names them."""
    before = set((project / ".fineline" / "runs").glob("*"))
    output = run(project, "fineline", "run", "--runner", runner)
    (folder,) = set((project / ".fineline" / "runs").glob("*")) - before
    assert "gate     PASSED" in output
    assert "models:/tiny/" in output
    return folder / "results"


def test_processes_of_the_compiled_pipeline_give_what_dvc_gives(project: Path) -> None:
    assert digests(run_compiled(project, "subprocess")) == digests(project / "artifacts")


@pytest.mark.docker
def test_containers_of_the_compiled_pipeline_give_what_dvc_gives(project: Path) -> None:
    if not shutil.which("docker") or subprocess.run(["docker", "version"], capture_output=True).returncode:
        pytest.skip("no Docker engine answers")
    results = run_compiled(project, "docker")
    assert digests(results) == digests(project / "artifacts")
    assert read_manifest(results / "registration").figures["registered"] is True
