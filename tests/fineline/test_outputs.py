"""Where a step may write: what fineline did not make stays, and a run that fails leaves nothing that passes for new."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fineline.artifacts import folders
from fineline.process.errors import UsageError
from tests.components.conftest import CSV, write
from tests.conftest import PROJECT, files_of, make_rows, write_dataset
from tests.fineline.test_artifacts import make

RunStep = Callable[..., tuple[int, str, str]]
FOREIGN = {
    "a folder with other files": lambda place: write(place / "notes.txt", "mine"),
    "another program's manifest": lambda place: write(place / "manifest.json", '{"name": "web page", "files": {}}'),
    "a broken manifest": lambda place: write(place / "manifest.json", "{"),
    "an artifact with notes": lambda place: (make(place), write(place / "notes.txt", "mine")),
    "an artifact with a report of a lower folder": lambda place: (
        make(place),
        write(place / "mine" / "report.html", ""),
    ),
    "an artifact with a link": lambda place: (make(place), (place / "link").symlink_to("/nowhere")),
    "a file": lambda place: write(place, "mine"),
    "a link": lambda place: (make(place.with_name("linked")), place.symlink_to("linked")),
    "a link to nothing": lambda place: place.symlink_to("nowhere"),
}


def tree(folder: Path) -> dict[str, bytes | str]:
    """All that lies in a folder: files with their bytes, links with where they lead; no locks."""
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or (path.is_file() and path.suffix not in (".lock", ".db"))
    }


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_fineline_did_not_make_stays(kind: str, run_step: RunStep, tmp_path: Path) -> None:
    FOREIGN[kind](tmp_path / "out")
    source = write(tmp_path / "data" / "rows.csv", CSV)
    before = tree(tmp_path)
    code, out, error = run_step("pin", {"source": str(source)}, source_version=tmp_path / "out")
    assert (code, out) == (2, "")
    assert "Traceback" not in error
    assert tree(tmp_path) == before
    with pytest.raises(UsageError):
        make(tmp_path / "out", "b")
    assert tree(tmp_path) == before


def test_the_folder_that_one_is_in_stays(run_step: RunStep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "project" / "rows.csv", CSV)
    monkeypatch.chdir(tmp_path / "project")
    for place in (".", "..", "../project", "/", "/proc"):
        code, _, error = run_step("pin", {"source": "rows.csv"}, source_version=Path(place))
        assert code == 2, error
    assert tree(tmp_path) == {"project/rows.csv": CSV.encode()}


@pytest.mark.parametrize("place", ["absent", "deep/absent", "empty", "artifact", "damaged"])
def test_what_may_be_replaced(place: str, run_step: RunStep, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    make(tmp_path / "artifact")
    make(tmp_path / "damaged")
    (tmp_path / "damaged" / "data.txt").unlink()
    source = write(tmp_path / "rows.csv", CSV)
    for _ in range(2):
        assert run_step("pin", {"source": str(source)}, source_version=tmp_path / place)[0] == 0
        assert files_of(tmp_path / place) == {"version.json", "manifest.json", "run.json"}
    assert all(path.suffix == ".lock" for path in tmp_path.rglob(".*"))


def test_an_output_is_not_what_is_read_nor_holds_it(run_step: RunStep, tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data", make_rows(), "ingest")
    (tmp_path / "same").symlink_to("data")
    before = tree(tmp_path)

    def refused(name: str, words: str, params: dict | None = None, **paths: Path) -> None:
        code, _, error = run_step(name, params or {}, **paths)
        assert (code, words in error) == (2, True), error
        assert tree(tmp_path) == before

    refused("split", "is dataset", dataset=data, splits=data)
    refused("split", "is dataset", dataset=tmp_path / "same", splits=data)
    refused("split", "lies inside dataset", dataset=data, splits=tmp_path / "same" / "splits")
    refused("data_quality", "are one place", dataset=data, clean=tmp_path / "x", quality=tmp_path / "y" / ".." / "x")
    refused("data_quality", "are one place", dataset=data, clean=tmp_path / "x", quality=tmp_path / "x" / "y")
    for source in ("data.parquet", "*.parquet", ""):
        place = f"{data}/{source}".rstrip("/")
        words = "holds source" if source == "data.parquet" else "is source"
        refused("pin", words, {"source": place}, source_version=data)
        version = tmp_path / "version"
        assert run_step("pin", {"source": place}, source_version=version)[0] == 0
        before = tree(tmp_path)
        refused("ingest", words, dataset=data, source_version=version)
        refused("ingest", "is source_version", dataset=version, source_version=version)


def test_dvc_links_of_an_artifact_are_replaced(tmp_path: Path) -> None:
    """DVC checks artifacts out as folders of read-only files or of links into its cache."""
    make(tmp_path / "cache")
    (tmp_path / "out").mkdir()
    for name in files_of(tmp_path / "cache"):
        (tmp_path / "cache" / name).chmod(0o444)
        (tmp_path / "out" / name).symlink_to(tmp_path / "cache" / name)
    made = make(tmp_path / "out", "b")
    assert folders.verify(tmp_path / "out") == made
    assert (tmp_path / "cache" / "data.txt").read_text() == "a"


FAILURES = [
    ({"test_share": 7}, 2),
    ({"mode": "time"}, 2),
    ({"rare_label": "reject"}, 3),
]


@pytest.mark.parametrize(("params", "code"), FAILURES)
def test_a_failure_leaves_no_earlier_output_in_place(
    params: dict, code: int, run_step: RunStep, tmp_path: Path
) -> None:
    rows = make_rows()
    rows.loc[0, "label"] = "rare"
    paths = {"dataset": write_dataset(tmp_path / "data", rows), "splits": tmp_path / "splits"}
    assert run_step("split", {}, **paths)[0] == 0
    before = folders.verify(tmp_path / "splits")
    for _ in range(2):
        found, _, error = run_step("split", params, **paths)
        assert found == code
        assert f"what an earlier run left as splits is now {tmp_path / '.splits.old'}" in error
        assert not (tmp_path / "splits").exists()
        assert folders.verify(tmp_path / ".splits.old") == before
    assert (
        "does not exist"
        in run_step("augment", {"lexicon": "x"}, splits=tmp_path / "splits", augmented=tmp_path / "a")[2]
    )
    assert run_step("split", {}, **paths)[0] == 0
    assert not (tmp_path / ".splits.old").exists()


def test_a_rejected_dataset_leaves_no_clean_one_of_before(run_step: RunStep, tmp_path: Path) -> None:
    paths = {"clean": tmp_path / "clean", "quality": tmp_path / "quality"}
    calm = {"on_near_duplicates": "ignore", "on_label_errors": "ignore", "on_truncation": "ignore"}
    dataset = write_dataset(tmp_path / "data", make_rows(), "ingest")
    assert run_step("data_quality", calm, dataset=dataset, **paths)[0] == 0
    assert run_step("data_quality", {**calm, "min_rows": 1000}, dataset=dataset, **paths)[0] == 3
    assert json.loads((tmp_path / "quality" / "quality.json").read_text())["rejected"]
    assert not (tmp_path / "clean").exists()
    assert (tmp_path / ".clean.old").is_dir()


def test_an_unchanged_output_comes_back_after_a_failure(run_step: RunStep, tmp_path: Path) -> None:
    """DVC keeps the version in place; it must not seem new after a failure that has passed."""
    source = write(tmp_path / "rows.csv", CSV)
    flags = {"source_version": tmp_path / "version"}
    assert run_step("pin", {"source": str(source)}, **flags)[0] == 0
    folders.note(tmp_path / "version", mark=1)
    source.rename(tmp_path / "elsewhere.csv")
    assert run_step("pin", {"source": str(source)}, **flags)[0] == 2
    assert not (tmp_path / "version").exists()
    (tmp_path / "elsewhere.csv").rename(source)
    assert run_step("pin", {"source": str(source)}, **flags)[0] == 0
    assert folders.read_run(tmp_path / "version")["mark"] == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from fineline.artifacts import folders
from fineline.steps.params import StepParams
from fineline.steps.command_line import Step, main

class Params(StepParams):
    pass

def run(*, params, thing):
    with folders.output(thing) as folder:
        (folder / "half").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)

sys.exit(main(Step(name="kill", summary="dies", load=lambda: (Params, run), outputs={"thing": "nothing"})))
"""


def test_a_kill_leaves_no_earlier_output_and_the_next_run_goes_on(tmp_path: Path) -> None:
    make(tmp_path / "thing")
    command = [sys.executable, "-c", KILLED, "--thing", str(tmp_path / "thing"), "--params", "{}"]
    for _ in range(2):
        assert subprocess.run(command, cwd=PROJECT, check=False).returncode == -signal.SIGKILL
        assert not (tmp_path / "thing").exists()
        folders.verify(tmp_path / ".thing.old")
    shutil.copytree(tmp_path / ".thing.old", tmp_path / ".thing.discarded")  # of a kill while it was removed
    make(tmp_path / "thing", "b")
    assert {path.name for path in tmp_path.iterdir()} == {"thing", ".thing.lock"}


def test_torchruns_other_processes_leave_the_output_of_the_first(
    run_step: RunStep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = write_dataset(tmp_path / "data", make_rows())
    make(tmp_path / "splits")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setattr("fineline.steps.command_line._SECONDS_FOR_THE_FIRST", 0)
    assert run_step("split", {"mode": "time"}, dataset=dataset, splits=tmp_path / "splits")[0] == 2
    folders.verify(tmp_path / "splits")
