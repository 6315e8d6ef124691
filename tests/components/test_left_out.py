"""What lies beside the rows and is not read is named and counted; lists of refused rows replace nothing else."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.__main__ import main
from components.monitor import recent
from components.monitor.params import Params as MonitorParams
from tests.components.conftest import CSV, Ingest, RunStep, write
from tests.word_bundle import LABELS, write_word_bundle


def test_a_folder_with_more_than_rows(
    ingest: Ingest, run_step: RunStep, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "rows"
    for name in ("a.csv", "archive/b.csv", "README.md", "c.xlsx", "_SUCCESS"):
        write(folder / name, CSV)
    said = "; 4 left out: archive/, README.md, _SUCCESS, ..."
    _, out, _ = run_step("pin", {"source": str(folder)}, source_version=tmp_path / "version")
    assert out.rstrip().endswith(said)
    code, out, error = ingest(folder)
    assert (code, error) == (0, "")
    assert out.rstrip().endswith(f"2 rows, 2 labels from 1 file{said}")
    capfd.readouterr()
    assert recent.read(MonitorParams(source=str(folder)), []).read == 2
    assert f"{folder}{said}" in capfd.readouterr().err


@pytest.mark.parametrize(("pattern", "said"), [("*", "; 1 left out: notes.txt"), ("*.csv", ""), ("**/*.csv", "")])
def test_a_pattern(pattern: str, said: str, ingest: Ingest, tmp_path: Path) -> None:
    for name in ("a.csv", "notes.txt", "folder/b.csv"):
        write(tmp_path / "rows" / name, CSV)
    _, out, error = ingest(f"{tmp_path}/rows/{pattern}")
    assert error == ""
    assert out.rstrip().endswith("file" + said if "**" not in pattern else "files")


OTHERS = {
    "a text": "mine\n",
    "rows of other fields": '{"file": "a", "line": 1}\n',
    "a list": "[1, 2]\n",
    "bytes": b"\xff\xfe\x00",
    "nothing": "",
}


@pytest.mark.parametrize("kind", [*OTHERS, "a folder", "a link"])
def test_a_list_of_refused_rows_replaces_no_other_file(kind: str, ingest: Ingest, tmp_path: Path) -> None:
    place = tmp_path / "dataset.rejected.jsonl"
    if kind in OTHERS:
        write(place, OTHERS[kind])
    elif kind == "a folder":
        place.mkdir()
    else:
        place.symlink_to(write(tmp_path / "linked.jsonl", ""))
    before = place.read_bytes() if place.is_file() else None
    for content in (CSV, CSV + "one cell\n" * 11):
        code, _, error = ingest(write(tmp_path / "a.csv", content))
        assert code == 2
        assert f"{place} stands where refused rows are listed, and is no such list" in error
    assert place.is_symlink() == (kind == "a link")
    assert (place.read_bytes() if place.is_file() else None) == before


def test_one_of_an_earlier_run_is_replaced(ingest: Ingest, tmp_path: Path) -> None:
    for count in (11, 12):
        assert ingest(write(tmp_path / "a.csv", CSV + "one cell\n" * count))[0] == 3
        assert len((tmp_path / "dataset.rejected.jsonl").read_text().splitlines()) == count
    assert ingest(write(tmp_path / "a.csv", CSV))[0] == 0
    assert not (tmp_path / "dataset.rejected.jsonl").exists()


@pytest.fixture(scope="module")
def predict(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., int]:
    """predict(file, out, *flags) -> exit code."""
    model = write_word_bundle(tmp_path_factory.mktemp("model") / "bundle", {"text": LABELS[1]})

    def call(file: Path, out: Path, *flags: str) -> int:
        return main(["predict", "--model", str(model), "--file", str(file), "--out", str(out), *flags])

    return call


def test_predict_lists_what_it_skips_over_such_a_list_alone(
    predict: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source, out = write(tmp_path / "a.csv", CSV + "one cell\n"), tmp_path / "out.csv"
    listed = write(tmp_path / "out.csv.skipped.jsonl", "mine\n")
    assert predict(source, out, "--skip-bad") == 2
    assert "stands where refused rows are listed" in capfd.readouterr().err
    assert (listed.read_text(), out.exists()) == ("mine\n", False)
    listed.unlink()
    for _ in range(2):
        assert predict(source, out, "--skip-bad", "--force") == 0
        assert json.loads(listed.read_text())["content"] == "one cell"


def test_predict_reads_quotes_as_its_flags_say(
    predict: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lost = write(tmp_path / "a.csv", 'text,label\n"lost,a\nfine,b\nit is 5",a\n')
    out = tmp_path / "out.jsonl"
    assert predict(lost, out) == 3
    assert "--quoting: none where quotes are text" in capfd.readouterr().err
    assert predict(lost, out, "--quoting", "none") == 0
    texts = [json.loads(line)["text"] for line in out.read_text().splitlines()]
    assert texts == ['"lost', "fine", 'it is 5"']
    bare = write(tmp_path / "b.tsv", 'text\tlabel\n"Go on"\ta\n')
    capfd.readouterr()
    assert predict(bare, out, "--force") == 0
    assert json.loads(out.read_text())["text"] == '"Go on"'
    assert "; its quotes are text" in capfd.readouterr().err
    quoted = write(tmp_path / "c.csv", "text,label\n'a, b',c\n")
    assert predict(quoted, out, "--force", "--quotechar", "'", "--escapechar", "\\") == 0
    assert json.loads(out.read_text())["text"] == "a, b"
    assert predict(quoted, out, "--force", "--quotechar", "'", "--delimiter", "'") == 2
    assert "--delimiter, quotechar and escapechar must be different" in capfd.readouterr().err
