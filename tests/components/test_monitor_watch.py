"""monitor on the champion: the registry says which bundle; where nothing can be compared it says why and goes on."""

import json
import shutil
from pathlib import Path

import pytest

from components.monitor.watch import watch
from fineline.artifacts import folders
from fineline.bundles import reference
from fineline.registry import ledger, model_versions
from fineline.tracking import connection
from tests.conftest import files_of, make_rows
from tests.registering import register_bundle

PARAMS = json.dumps({"source": "unused", "min_rows": 50})


@pytest.fixture
def recent(tmp_path: Path) -> Path:
    make_rows(60, seed=9).to_csv(tmp_path / "recent.csv", index=False)
    return tmp_path / "recent.csv"


def made_champion(bundle: Path) -> int:
    version = register_bundle("tiny", bundle)
    ledger.move(connection.client(), "tiny", model_versions.CHAMPION, version, verdict="promote", reason="test")
    return version


def watched(drift: Path, source: object, *more: str) -> int:
    return watch(["--name", "tiny", "--source", str(source), "--drift", str(drift), "--params", PARAMS, *more])


def test_compares_recent_texts_with_the_champion(tmp_path: Path, bundle: Path, recent: Path) -> None:
    made_champion(bundle)
    assert watched(tmp_path / "drift", recent) == 0
    manifest = folders.verify(tmp_path / "drift")
    assert manifest.kind == "drift"
    assert manifest.inputs["bundle"] == folders.read_manifest(bundle).digest
    assert manifest.figures["rows"] == 60


@pytest.mark.parametrize(
    ("source", "why"),
    [("", "no source of recent texts is set"), ("recent.csv", "tiny has no champion yet")],
)
def test_says_why_nothing_is_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, why: str
) -> None:
    assert watched(tmp_path / "drift", source) == 0
    assert capsys.readouterr().out == f"monitor: not watched: {why}\n"
    assert files_of(tmp_path / "drift") == {"drift.json", "manifest.json", "report.html", "run.json"}
    figures = folders.verify(tmp_path / "drift").figures
    assert (figures["drifted"], figures["enough"], figures["reason"]) == (False, False, why)
    assert why in (tmp_path / "drift" / "report.html").read_text()


def test_a_champion_without_a_reference_is_not_watched(tmp_path: Path, bundle: Path, recent: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(bundle, old)
    for name in (reference.ROWS, reference.TOKENS):
        (old / name).unlink()
    made = folders.read_manifest(bundle)
    written = folders.write_manifest(
        old, step="quantize", kind="bundle", params=made.params, inputs={}, figures={}, task=made.task
    )
    assert reference.ROWS not in written.files
    made_champion(old)
    assert watched(tmp_path / "drift", recent) == 0
    assert "keeps no reference" in folders.verify(tmp_path / "drift").figures["reason"]


def test_kubeflow_hears_it_too(tmp_path: Path) -> None:
    asked = {
        "outputs": {
            "outputFile": str(tmp_path / "executor_output.json"),
            "artifacts": {
                name: {"artifacts": [{"name": name, "uri": str(tmp_path / name)}]} for name in ("drift", "html")
            },
        }
    }
    assert watched(tmp_path / "drift", "", "--executor-input", json.dumps(asked)) == 0
    written = json.loads((tmp_path / "executor_output.json").read_text())["artifacts"]
    assert written["drift"]["artifacts"][0]["metadata"]["drifted"] is False
    assert "not watched" in (tmp_path / "html").read_text()


@pytest.mark.parametrize(
    ("uri", "source", "code", "said"),
    [("http://127.0.0.1:9", "recent.csv", 4, "does not answer"), ("", "nowhere.csv", 2, "nowhere.csv")],
)
def test_what_cannot_be_reached_is_a_failure(
    tmp_path: Path,
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    uri: str,
    source: str,
    code: int,
    said: str,
) -> None:
    if uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    else:
        made_champion(bundle)
    assert watched(tmp_path / "drift", source) == code
    assert said in capsys.readouterr().err
    assert not (tmp_path / "drift").exists()
