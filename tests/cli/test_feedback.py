"""Feedback: told to the server or given as a file, kept whole, read by monitor and by ingest."""

import csv
import json
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.__main__ import main
from fineline.rows.dataset import DATA, read_rows
from fineline.serving.feedback import Feedback
from tests.conftest import files_of
from tests.serving import serving

RunStep = Callable[..., tuple[int, str, str]]


def kept(folder: Path) -> list[tuple[str, str]]:
    lines = [json.loads(line) for path in sorted(folder.iterdir()) for line in path.read_text("utf-8").splitlines()]
    assert all(set(line) == {"time", "text", "label"} for line in lines)
    return [(line["text"], line["label"]) for line in lines]


def test_a_server_keeps_what_it_is_told(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "feedback"
    with serving(bundle, "--feedback-folder", folder, "--max-texts", 3) as server:
        told = [{"text": "ünïcode\n漢", "label": "card"}, {"text": "b", "label": "a new one"}]
        answer = server.post("/feedback", {"feedback": told})
        assert (answer.status_code, answer.json()) == (200, {"kept": 2})
        assert kept(folder) == [("ünïcode\n漢", "card"), ("b", "a new one")]  # on the disk when it is answered
        for content, status in (
            ({"feedback": []}, 400),
            ({"feedback": [{"text": "a"}]}, 400),
            ({"feedback": [{"text": "a", "label": ""}]}, 400),
            ({"feedback": [{"text": "a\0", "label": "card"}]}, 400),
            ({"feedback": [{"text": "a", "label": "\ud800"}]}, 400),
            ({"feedback": told * 2}, 413),
        ):
            assert server.post("/feedback", content).status_code == status, content
        for path in folder.iterdir():
            path.unlink()
        assert server.post("/feedback", {"feedback": told[:1]}).status_code == 200
        assert kept(folder) == [("ünïcode\n漢", "card")]
        assert server.metric("fineline_feedback_total") == 3
        assert server.stop() == 0
        assert "ünïcode" not in json.dumps(server.log, ensure_ascii=False)
        assert not [line for line in server.log if line["level"] == "error"]


def test_without_a_folder_none_is_taken(bundle: Path) -> None:
    with serving(bundle) as server:
        answer = server.post("/feedback", {"feedback": [{"text": "a", "label": "card"}]})
        assert (answer.status_code, "--feedback-folder" in answer.json()["error"]) == (404, True)


def test_what_does_not_fit_on_the_disk_leaves_no_half_of_a_line(tmp_path: Path) -> None:
    feedback = Feedback(tmp_path / "feedback", "--folder")
    feedback.add([("a", "card")])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))
    try:
        with pytest.raises(OSError, match=r"No space left|File too large"):
            feedback.add([("b" * 300, "card")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    feedback.add([("c", "card")])
    assert kept(tmp_path / "feedback") == [("a", "card"), ("c", "card")]


def test_a_file_is_kept_and_becomes_one_that_ingest_reads(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], run_step: RunStep
) -> None:
    folder, out = tmp_path / "feedback", tmp_path / "next.csv"
    first, second = tmp_path / "first.csv", tmp_path / "second.jsonl"
    first.write_text('body,right\n"hello, you",card\nbye,pin\n\nagain,app\n')
    second.write_text('{"text": "bye", "label": "card", "more": 1}\n')
    assert (
        main(["feedback", str(first), "--folder", str(folder), "--columns", "text=body", "--columns", "label=right"])
        == 0
    )
    assert "3 labelled texts kept" in capfd.readouterr().out
    (before,) = folder.iterdir()
    before.rename(folder / "zz.jsonl")  # the order of the files' names says nothing
    with (folder / "zz.jsonl").open("a") as stream:
        stream.write('{"time": "2026-01-01", "te')  # as a kill may leave it
    assert main(["feedback", str(second), "--folder", str(folder), "--out", str(out)]) == 0
    said = capfd.readouterr()
    assert "next.csv: 3 texts, each with the label that came last" in said.out
    assert "left out 1: " in said.err
    with out.open(newline="") as stream:
        rows = [(row["text"], row["label"]) for row in csv.DictReader(stream)]
    assert sorted(rows) == [("again", "app"), ("bye", "card"), ("hello, you", "card")]
    assert files_of(tmp_path) >= {"next.csv", "first.csv", "second.jsonl"}
    assert main(["feedback", "--folder", str(folder), "--out", str(out)]) == 2
    assert main(["feedback", "--folder", str(folder), "--out", str(out), "--force"]) == 0

    code, _, error = run_step("pin", {"source": str(out)}, source_version=tmp_path / "version")
    assert code == 0, error
    code, _, error = run_step(
        "ingest", {"columns": {"time": "time"}}, source_version=tmp_path / "version", dataset=tmp_path / "dataset"
    )
    assert code == 0, error
    found = read_rows(tmp_path / "dataset" / DATA)
    assert sorted(zip(found["text"], found["label"], strict=True)) == sorted(rows)


@pytest.mark.parametrize(
    ("arguments", "content", "code", "words"),
    [
        ([], "", 2, "there is nothing to do"),
        (["in.csv"], "text,label\na,card\nb,\n", 3, "in.csv line 3: no label"),
        (["in.csv"], "text,right\na,card\n", 2, "has no column 'label'"),
        (["none.csv"], "", 2, "none.csv does not exist"),
        (["--out", "out.txt"], "", 2, "is no CSV file"),
        (["--out", "out.csv"], "", 2, "kept does not exist"),
    ],
)
def test_wrong_use_keeps_nothing(
    arguments: list[str],
    content: str,
    code: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.csv").write_text(content)
    assert main(["feedback", *arguments, "--folder", "kept"]) == code
    assert words in capsys.readouterr().err
    assert files_of(tmp_path) == {"in.csv"}
