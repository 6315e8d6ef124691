"""Artifact folders: whole or not at all, one writer at a time, digests that know of no clock."""

import json
import multiprocessing
from pathlib import Path

import pytest

from fineline.artifacts import folders
from fineline.process.errors import ResourceError, UsageError


def make(target: Path, text: str = "a", **inputs: Path) -> folders.Manifest:
    with folders.output(target) as folder:
        (folder / "data.txt").write_text(text)
        (folder / folders.MEASUREMENTS).write_text(text * 2)
        return folders.write_manifest(
            folder, step="split", kind="splits", params={"seed": 1}, inputs=inputs, figures={}, task="single_label"
        )


def test_digest_is_of_the_files_and_not_of_what_lies_beside(tmp_path: Path) -> None:
    first, second = make(tmp_path / "one"), make(tmp_path / "two")
    (tmp_path / "two" / folders.MEASUREMENTS).write_text("another machine")
    assert first == second == folders.verify(tmp_path / "two")
    assert set(first.files) == {"data.txt"}
    assert make(tmp_path / "three", "b").digest != first.digest


def test_ancestors_are_listed_once_and_oldest_first(tmp_path: Path) -> None:
    make(tmp_path / "a")
    make(tmp_path / "b", "b", splits=tmp_path / "a")
    last = make(tmp_path / "c", "c", splits=tmp_path / "b", model=tmp_path / "a")
    digests = [folders.read_manifest(tmp_path / name).digest for name in "ab"]
    assert [entry["digest"] for entry in last.ancestors] == digests
    assert last.inputs == {"splits": digests[1], "model": digests[0]}
    assert last.task == "single_label"


def _hold(target: Path, ready: "multiprocessing.synchronize.Event", done: "multiprocessing.synchronize.Event") -> None:
    with folders.output(target):
        ready.set()
        done.wait(30)


def test_a_second_writer_is_kept_out(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path / "out", ready, done))
    process.start()
    assert ready.wait(30)
    with pytest.raises(ResourceError, match="another process is writing"):
        make(tmp_path / "out")
    done.set()
    process.join()


def hide_a_change(folder: Path) -> None:
    """Another file, and its sha256 in the manifest."""
    (folder / "data.txt").write_text("b")
    manifest = json.loads((folder / folders.MANIFEST).read_text())
    manifest["files"]["data.txt"]["sha256"] = folders.sha256_file(folder / "data.txt")
    folders.write_json(folder / folders.MANIFEST, manifest)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "data.txt").write_text("b"), "was changed after it was made"),
        (lambda folder: (folder / "data.txt").unlink(), "missing or was changed"),
        (hide_a_change, "manifest.json was changed after it was made"),
        (lambda folder: (folder / folders.MANIFEST).write_text("{"), "not a fineline manifest"),
        (lambda folder: (folder / folders.MANIFEST).unlink(), "has no manifest.json"),
    ],
)
def test_verify_refuses_what_was_changed(tmp_path: Path, damage: object, words: str) -> None:
    make(tmp_path / "out")
    damage(tmp_path / "out")
    with pytest.raises(UsageError, match=words):
        folders.verify(tmp_path / "out")
