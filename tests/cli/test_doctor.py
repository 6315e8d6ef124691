"""fineline doctor: one finding per thing, with what to do; exit 4 when something is missing."""

import http.server
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cli import doctor
from cli.__main__ import main
from pipelines.blocks import STEPS
from tests.conftest import PROJECT


@pytest.fixture
def params(tmp_path: Path) -> Path:
    """Default parameters of every step."""
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({step: {} for step in STEPS} | {"pin": {"source": "data.csv"}}))
    return path


@pytest.fixture
def server() -> Iterator[str]:
    """A server that answers /health like MLflow, and 404 to all else."""

    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Health) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def test_a_fit_machine(params, capfd, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = main(["doctor", "--params", str(params)])
    lines = capfd.readouterr().out.splitlines()
    assert code == 0, lines
    states = [line.split()[0] for line in lines[:-1]]
    assert set(states) <= {"ok", "warn", "->"}
    text = "\n".join(lines)
    for words in ("Python 3.11", "packages:", "CPU core", "bf16", "GB memory", "GB free", "git", "dvc", "tracking in"):
        assert words in text
    assert "model bundled:all-MiniLM-L6-v2, sha256 as published" in text
    assert f"{params} is valid for all {len(STEPS)} steps" in text
    assert lines[-1] == f"{states.count('ok')} ok, {states.count('warn')} warn, 0 missing"


def test_a_checkout_without_git(capfd, tmp_path, monkeypatch, params) -> None:
    """An unpacked archive: said by the doctor, and by make run before anything is installed."""
    import shutil
    import subprocess

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / ".dvc").mkdir()
    assert main(["doctor", "--params", str(params)]) == 4
    lines = capfd.readouterr().out.splitlines()
    number = lines.index("missing  this folder has no .git, without which DVC stops")
    assert lines[number + 1] == "         -> git init"
    shutil.copyfile(PROJECT / "Makefile", tmp_path / "Makefile")
    done = subprocess.run(["make", "--no-print-directory", "run"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (
        2,
        "make run: this folder is no git repository, and DVC stops without one: git init\n",
    )
    assert not (tmp_path / ".venv").exists()


def test_nothing_heavy_is_imported() -> None:
    import subprocess
    import sys

    script = "import sys; from cli.__main__ import main; main(['doctor'])\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PROJECT)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"torch", "transformers", "mlflow", "great_expectations", "pandas", "onnxruntime", "datasets"}


def test_missing_things_end_with_4(capfd, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["doctor"]) == 4
    lines = capfd.readouterr().out.splitlines()
    number = lines.index("missing  params.yaml is not here")
    assert lines[number + 1] == "         -> go to the project's folder, or name it with --params"
    assert lines[-1].endswith("1 missing")


def test_packages() -> None:
    needed = [
        "numpy>=2",
        "pandas>=999",
        "no-such-package==1",
        "pywin32; sys_platform == 'win32'",
        "s3fs; extra == 's3'",
    ]
    found = list(doctor.packages(needed))
    assert [finding.state for finding in found] == ["missing", "missing", "ok"]
    assert "not pandas>=999" in found[0].what
    assert "no-such-package==1 is not installed" in found[1].what
    assert found[2].what.startswith("1 packages: numpy 2")
    assert "torch==2.13.0" in doctor.requirements()


def test_parameters_must_be_valid_and_agree(params, capfd, tmp_path) -> None:
    blocks = yaml.safe_load(params.read_text())
    blocks["train"] |= {"max_length": 64, "epoch": 3}
    blocks["register"] |= {"on_gate_failure": "ask", "name": ""}
    params.write_text(yaml.safe_dump(blocks))
    found = list(doctor.parameters(params))
    assert [finding.state for finding in found] == ["missing", "missing"]
    assert "train.epoch: unknown parameter, did you mean epochs?" in found[0].what
    assert "register.on_gate_failure = 'ask'" in found[1].what
    assert "register.name = ''" in found[1].what

    del blocks["train"]["epoch"]
    blocks["register"] = {}
    blocks["train"]["model"] = "owner/name"
    params.write_text(yaml.safe_dump(blocks))
    found = list(doctor.parameters(params))
    assert [finding.state for finding in found] == ["ok", "warn", "warn"]
    assert "train.model is 'owner/name', but data_quality.model is 'bundled:all-MiniLM-L6-v2'" in found[1].what
    assert "train.max_length is 64, but data_quality.max_length is 128" in found[2].what


def test_a_tracking_server(server, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    assert doctor.tracking_server() == doctor.Finding("ok", f"tracking server {server} answers")
    for uri, words in (
        (f"{server}/other", "answers 404"),
        ("http://127.0.0.1:1", "does not answer (Connection refused)"),
        ("http://ann:secret@127.0.0.1:1", "holds a user name or password"),
        ("postgresql://ann:secret@127.0.0.1:1/mlflow", "postgresql://127.0.0.1:1 does not answer"),
        ("file:///tmp/mlruns", "no longer keeps runs in a folder"),
        (f"sqlite:///{tmp_path}/none/mlflow.db", "cannot be written"),
    ):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        found = doctor.tracking_server()
        assert (found.state, words in found.what, "secret" in found.what) == ("missing", True, False), found
        assert found.remedy


def test_a_tracking_file(monkeypatch, tmp_path) -> None:
    path = tmp_path / "mlflow.db"
    assert "which the first run makes" in doctor.tracking_server().what
    sqlite3.connect(path).close()
    assert doctor.tracking_server() == doctor.Finding("ok", f"tracking in the file {path}")
    assert [file.name for file in tmp_path.iterdir()] == ["mlflow.db"]


def test_a_gpu(monkeypatch, tmp_path) -> None:
    """nvidia-smi is played by a script; torch is asked itself, and is a CPU build or sees no GPU in tests."""
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\necho 'NVIDIA H200, 9.0'\necho 'Tesla T4, 7.5'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    found = list(doctor.compute())
    assert [finding.state for finding in found] == ["ok", "ok", "ok", "warn"]
    assert found[1].what == "GPU NVIDIA H200, compute capability 9.0, native bf16"
    assert found[2].what == "GPU Tesla T4, compute capability 7.5, no native bf16"
    assert "does not use the GPU" in found[3].what


def test_a_model_that_was_changed(monkeypatch) -> None:
    package, inside, _sha256 = doctor.models.BUNDLED["all-MiniLM-L6-v2"]
    monkeypatch.setitem(doctor.models.BUNDLED, "all-MiniLM-L6-v2", (package, inside, "0" * 64))
    (found,) = doctor.bundled_models()
    assert found.state == "missing"
    assert "has sha256 53aa5117" in found.what
