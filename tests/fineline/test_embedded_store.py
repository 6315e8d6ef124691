"""A project without a server goes on wherever its folder was moved, renamed or copied to, and never writes outside of it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fineline.artifacts import folders
from fineline.registry import ledger
from fineline.tracking import connection
from tests.conftest import PROJECT, files_of
from tests.registering import write_report
from tests.word_bundle import answers_of, word_rows, write_word_bundle, write_word_splits

ROWS = word_rows(60)
IN_A_PROJECT = """
import json, sys, tempfile
from pathlib import Path
from fineline.artifacts import folders
from fineline.registry import fetch
from fineline.tracking import connection
from fineline.steps.command_line import quiet_libraries
from tests.registering import register_bundle

quiet_libraries()
for bundle in sys.argv[1:]:
    register_bundle("tiny", Path(bundle))
found = {}
for version in connection.client().search_model_versions("name='tiny'"):
    with tempfile.TemporaryDirectory() as folder:
        bundle = fetch.download(fetch.find(f"models:/tiny/{version.version}"), Path(folder))
        found[version.version] = folders.read_manifest(bundle).digest
print(json.dumps(found))
"""


def in_project(folder: Path, *words: str | Path) -> str:
    """Runs Python with `words` in the project `folder`, as a process of its own: MLflow remembers addresses; gives its stdout."""
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def versions(folder: Path, *new: Path) -> list[str]:
    """The digests of the bundles that the project in `folder` gives for its versions, after the bundles `new` were registered."""
    found = json.loads(in_project(folder, "-c", IN_A_PROJECT, *new))
    return [found[number] for number in sorted(found, key=int)]


@pytest.mark.slow
def test_a_project_goes_on_where_it_was_moved_and_copied_to(tmp_path: Path) -> None:
    splits = write_word_splits(tmp_path / "splits", ROWS[20:], ROWS[:20])
    bundles = [
        write_word_bundle(tmp_path / f"bundle{number}", answers_of(ROWS), splits=splits, note=str(number))
        for number in range(4)
    ]
    digests = [folders.read_manifest(bundle).digest for bundle in bundles]
    report = write_report(tmp_path / "report", bundles[0])
    given = f"--bundle {bundles[0]} --report {report} --splits {splits} --registration registration".split()
    first, moved, copied = tmp_path / "first", tmp_path / "feature%2Fx #2", tmp_path / "copied"
    first.mkdir()
    in_project(first, "-m", "components.register", *given, "--params", '{"name": "tiny"}')

    first.rename(moved)
    places = {*tmp_path.iterdir()}
    assert versions(moved, bundles[1]) == digests[:2]
    assert {*tmp_path.iterdir()} == places  # neither the old folder again, nor what a decoded %2F would make

    shutil.copytree(moved, copied)
    before = files_of(moved)
    assert versions(copied, bundles[2]) == digests[:3]
    assert files_of(moved) == before
    shutil.rmtree(copied)
    assert versions(moved, bundles[3]) == [*digests[:2], digests[3]]


def test_artifacts_go_beside_the_database_from_whatever_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    run_id = ledger.new_run("test")
    connection.client().log_text(run_id, "text", "note.txt")
    assert list(elsewhere.iterdir()) == []
    assert [path.parent.parent.parent.parent for path in tmp_path.rglob("note.txt")] == [tmp_path / "mlruns"]


def test_what_lies_in_another_folder_on_purpose_stays_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "large" / "mlruns" / "7"
    client = connection.client()
    experiment = client.create_experiment("large", artifact_location=str(place))
    run_id = client.create_run(experiment).info.run_id
    client.log_text(run_id, "text", "note.txt")
    assert connection.client().get_experiment(experiment).artifact_location == str(place)
    assert Path(connection.client().download_artifacts(run_id, "note.txt")).read_text() == "text"
