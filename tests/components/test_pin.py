"""pin: which version the source is; and that ingest reads exactly that version, or says that it changed."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.train import lineage
from fineline.artifacts import folders
from fineline.artifacts.folders import Manifest
from fineline.sources import source_version
from tests.components.conftest import CSV, RunStep, write
from tests.conftest import files_of

SHA256 = hashlib.sha256(CSV.encode()).hexdigest()
MORE = "text,label\nmore,x\n"


@pytest.fixture
def pin(run_step: RunStep, tmp_path: Path) -> Callable[..., str]:
    """pin(source, test_source="") makes tmp_path / 'source_version', which must succeed; gives its line of JSON."""

    def run(source: Path | str, test_source: Path | str = "") -> str:
        params = {"source": str(source), "test_source": str(test_source)}
        code, out, err = run_step("pin", params, source_version=tmp_path / "source_version")
        assert code == 0, err
        assert out.startswith("pin: source: ")
        return folders.read_run(tmp_path / "source_version")[source_version.TEXT]

    return run


@pytest.fixture
def ingest(run_step: RunStep, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """ingest(given, **params) reads by the version into tmp_path / 'dataset' -> (exit code, stderr)."""

    def run(given: Path | str = "", **params: Any) -> tuple[int, str]:
        paths = {"source_version": given or tmp_path / "source_version", "dataset": tmp_path / "dataset"}
        code, _out, err = run_step("ingest", params, **paths)
        assert err.count("\n") in (0, 2, 3)  # what was wrong, what to do, and where an earlier dataset is now
        return code, err

    return run


def figures(folder: Path) -> dict[str, Any]:
    return folders.read_manifest(folder / "source_version").figures


def changed_since(outcome: tuple[int, str], *words: str) -> bool:
    code, err = outcome
    return code == 4 and "changed since pin: " in err and "dvc repro" in err and all(word in err for word in words)


def test_the_version_of_a_file_is_the_sha256_of_its_bytes(tmp_path: Path, pin: Callable[..., str]) -> None:
    text = pin(write(tmp_path / "a.csv", CSV), write(tmp_path / "t.csv", MORE))
    assert files_of(tmp_path / "source_version") == {"version.json", "manifest.json", "run.json"}
    more = hashlib.sha256(MORE.encode()).hexdigest()
    assert figures(tmp_path) == {
        "source": {"version": f"sha256:{SHA256}", "files": 1},
        "test_source": {"version": f"sha256:{more}", "files": 1},
    }
    assert json.loads(text)["source"]["location"] == str(tmp_path / "a.csv")
    for name in ("version.json", "manifest.json"):
        assert str(tmp_path) not in (tmp_path / "source_version" / name).read_text()


def test_the_same_version_leaves_the_folder_as_it_is(tmp_path: Path, pin: Callable[..., str]) -> None:
    source = write(tmp_path / "a.csv", CSV)

    def state() -> dict[str, bytes]:
        folder = tmp_path / "source_version"
        return {name: (folder / name).read_bytes() for name in files_of(folder)}

    pin(source)
    folders.note(tmp_path / "source_version", seconds=-1)
    before = state()
    pin(source)
    assert state() == before
    (tmp_path / "source_version" / "version.json").write_text("{}")
    pin(source)
    assert {**state(), "run.json": b""} == {**before, "run.json": b""}
    assert folders.read_run(tmp_path / "source_version")["seconds"] >= 0
    before = state()
    pin(write(tmp_path / "elsewhere" / "a.csv", CSV))  # the same version at another place: only where it is changes
    assert {**state(), "run.json": b""} == {**before, "run.json": b""}
    assert state() != before
    write(source, CSV + "more,x\n")
    pin(source)
    assert state()["manifest.json"] != before["manifest.json"]


def test_ingest_is_given_the_folder_or_the_line_and_writes_the_same(
    tmp_path: Path, pin: Callable[..., str], ingest: Callable[..., tuple[int, str]]
) -> None:
    text = pin(write(tmp_path / "a.csv", CSV))

    def read(given: Path | str) -> Manifest:
        assert ingest(given) == (0, "")
        return folders.verify(tmp_path / "dataset")

    by_folder = read(tmp_path / "source_version")
    assert by_folder == read(text)
    pinned = folders.read_manifest(tmp_path / "source_version")
    assert by_folder.inputs == {"source_version": pinned.digest}
    assert by_folder.ancestors == [pinned.without_ancestors()]
    assert source_version.in_lineage(by_folder.ancestors) == {"source": f"sha256:{SHA256}"}
    for wrong in (tmp_path / "dataset", tmp_path / "none", '{"source": {"location": "a.csv"}}', "{]", '{"source": 3}'):
        code, err = ingest(str(wrong))
        said = [line for line in err.splitlines() if "an earlier run left" not in line]
        assert (code, len(said)) == (2, 2), err


def test_what_changed_since_is_not_read(
    tmp_path: Path, pin: Callable[..., str], ingest: Callable[..., tuple[int, str]]
) -> None:
    folder = tmp_path / "in"
    file, other = write(folder / "a.csv", CSV), write(folder / "b.csv", MORE)
    pin(file)
    write(file, CSV.replace("bye", "bid"))
    assert changed_since(ingest(), f"a.csv was sha256:{SHA256}, and is sha256:")
    file.unlink()
    assert changed_since(ingest(), "a.csv does not exist")
    write(file, CSV)
    assert ingest() == (0, "")
    pin(folder)
    write(folder / "c.csv", MORE)
    assert changed_since(ingest(), "c.csv came or went")
    (folder / "c.csv").unlink()
    other.unlink()
    assert changed_since(ingest(), "b.csv came or went")


def test_thousands_of_files_have_a_short_version_that_tells_all_the_same(
    tmp_path: Path, pin: Callable[..., str], ingest: Callable[..., tuple[int, str]]
) -> None:
    folder = tmp_path / "in"
    for number in range(2_000):
        write(folder / f"{number:04}.csv", f"text,label\nrow {number},x\n")
    text = pin(folder)
    assert len(text) < 500
    assert figures(tmp_path)["source"]["files"] == 2_000
    assert figures(tmp_path)["source"]["version"].startswith("files:")
    assert ingest(text) == (0, "")
    write(folder / "1234.csv", "text,label\nrow 1234,y\n")
    assert changed_since(ingest(text), "its 2,000 files are not the same any more")
    (folder / "1234.csv").unlink()
    assert changed_since(ingest(text), "its 2,000 files are not the same any more")


def test_a_file_that_changes_while_it_is_read_has_no_version(
    tmp_path: Path, run_step: RunStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    from components.pin import step

    source = write(tmp_path / "a.csv", CSV)
    found = step.find_files

    def then_written(location: str) -> Any:
        files = found(location)
        source.write_text(CSV + "more,x\n")
        return files

    monkeypatch.setattr(step, "find_files", then_written)
    code, _out, err = run_step("pin", {"source": str(source)}, source_version=tmp_path / "source_version")
    assert (code, "a.csv changed while it was read" in err) == (4, True)
    assert not (tmp_path / "source_version").exists()


@pytest.mark.parametrize(
    "source",
    ["https://me:secret@host/a.csv", "https://secret@host/a.csv", "dvc://https://me:secret@host/r.git@main:a.csv"],
)
def test_credentials_have_no_place_in_a_version(tmp_path: Path, run_step: RunStep, source: str) -> None:
    code, out, err = run_step("pin", {"source": source}, source_version=tmp_path / "source_version")
    assert (code, out, "secret" in err) == (2, "", False)
    assert "pin.source = 'dvc://https://***@" in err or "pin.source = 'https://***@" in err
    assert "environment variables" in err


def test_the_version_is_in_the_lineage_of_a_training(
    tmp_path: Path, pin: Callable[..., str], ingest: Callable[..., tuple[int, str]]
) -> None:
    pin(write(tmp_path / "a.csv", CSV), write(tmp_path / "t.csv", MORE))
    assert ingest() == (0, "")
    (tmp_path / "splits").mkdir()
    splits = folders.write_manifest(
        tmp_path / "splits",
        step="split",
        kind="splits",
        params={},
        inputs={"dataset": tmp_path / "dataset"},
        figures={},
    )
    version = {"source": f"sha256:{SHA256}", "test_source": f"sha256:{hashlib.sha256(MORE.encode()).hexdigest()}"}
    tags = lineage.tags(splits)
    assert {role: tags[f"fineline.{role}"] for role in version} == version
    training, *before = lineage.datasets(splits)
    assert json.loads(training["source"]) == {"tags": version}
    assert [entry["name"] for entry in before] == ["pin", "ingest"]


@pytest.mark.parametrize("name", ["source", "test_source"])
def test_where_the_source_was_named_before_says_where_it_is_now(tmp_path: Path, run_step: RunStep, name: str) -> None:
    paths = {"source_version": "{}", "dataset": tmp_path / "dataset"}
    code, _out, err = run_step("ingest", {name: "a.csv"}, **paths)
    assert (code, f"ingest.{name}: it is pin.{name} now" in err) == (2, True), err
