"""register: inputs that do not belong together, parameters and addresses that cannot be used, servers that do not answer."""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fineline.artifacts import folders
from tests.conftest import make_rows, write_splits
from tests.registering import PARAMS, copy_bundle, versions, write_report


@pytest.fixture(autouse=True)
def here(ready_store: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # MLflow keeps the files of a sqlite store in mlruns/ here


@pytest.fixture
def report(tmp_path: Path, bundle: Path) -> Path:
    return write_report(tmp_path / "report", bundle)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "registration"


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("state", ["silent", "refused"])
def test_a_server_that_does_not_answer(
    state, silent_server, bundle, report, splits, out, run_step, monkeypatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", silent_server if state == "silent" else "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    code, stdout, stderr = run_step("register", PARAMS, bundle=bundle, report=report, splits=splits, registration=out)
    assert (code, stdout) == (4, "")
    assert stderr.startswith("register: error: the MLflow tracking server http://127.0.0.1:")
    assert len(stderr.splitlines()) == 2  # what was wrong, what to do
    assert not out.exists()


def _changed(bundle: Path, report: Path, folder: Path) -> dict[str, Path]:
    changed = shutil.copytree(bundle, folder / "changed")
    content = bytearray((changed / "model.onnx").read_bytes())
    content[100] ^= 1
    (changed / "model.onnx").write_bytes(content)
    return {"bundle": changed}


def _other(bundle: Path, report: Path, folder: Path) -> dict[str, Path]:
    return {"bundle": copy_bundle(bundle, folder / "other", note="other")}


def _sick(bundle: Path, report: Path, folder: Path) -> dict[str, Path]:
    sick = copy_bundle(bundle, folder / "sick", golden=[[1.0, 0.0, 0.0]] * 5)
    return {"bundle": sick, "report": write_report(folder / "of_sick", sick)}


def _other_splits(bundle: Path, report: Path, folder: Path) -> dict[str, Path]:
    return {"splits": write_splits(folder / "others", make_rows(60, seed=1))}


def _no_gate(bundle: Path, report: Path, folder: Path) -> dict[str, Path]:
    (folder / "no_gate").mkdir()
    folders.write_manifest(
        folder / "no_gate", step="evaluate", kind="report", params={}, inputs={"bundle": bundle}, figures={}
    )
    return {"report": folder / "no_gate"}


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (lambda bundle, report, folder: {"bundle": folder / "none"}, 2, "does not exist"),
        (lambda bundle, report, folder: {"report": bundle}, 2, "is a bundle, not a report"),
        (lambda bundle, report, folder: {"bundle": report}, 2, "is a report, not a bundle"),
        (_other, 2, "judges another bundle"),
        (lambda bundle, report, folder: {"splits": report}, 2, "is a report, not splits"),
        (_other_splits, 2, "was trained on other splits"),
        (_changed, 2, "model.onnx was changed"),
        (_no_gate, 2, "has no gate.json and no metrics.json"),
        (_sick, 4, "does not pass its self-test"),
    ],
    ids=[
        "missing",
        "no report",
        "no bundle",
        "other bundle",
        "no splits",
        "other splits",
        "changed",
        "no gate",
        "self-test",
    ],
)
def test_wrong_inputs(make, code, words, bundle, report, splits, out, run_step, tmp_path) -> None:
    paths = {"bundle": bundle, "report": report, "splits": splits, **make(bundle, report, tmp_path)}
    found, stdout, stderr = run_step("register", PARAMS, **paths, registration=out)
    assert (found, stdout) == (code, "")
    assert words in stderr
    assert not out.exists()
    assert versions() == {}


@pytest.mark.parametrize(
    ("params", "uri", "words"),
    [
        ({"nam": "x"}, "", "register.nam: unknown parameter, did you mean name?"),
        ({"name": "a/b", "on_gate_failure": "ask"}, "", "2 parameters are wrong"),
        ({}, "http://ann:secret@127.0.0.1:1", "holds a user name or password"),
        ({}, "file:///tmp/mlruns", "no longer keeps runs in a folder"),
    ],
)
def test_wrong_use(params, uri, words, bundle, report, splits, out, run_step, monkeypatch) -> None:
    if uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    code, stdout, stderr = run_step("register", params, bundle=bundle, report=report, splits=splits, registration=out)
    assert (code, stdout) == (2, "")
    assert words in stderr
    assert "secret" not in stderr
    assert not out.exists()
