"""fineline predict: the rows of files and of stdin, and what is refused before any work."""

import csv
import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from cli.__main__ import main
from cli.tables import ROWS_AT_ONCE
from fineline.bundles.bundle import open_bundle, predict
from tests.conftest import files_of, make_rows
from tests.word_bundle import write_word_bundle

TOLERANCE = 1e-5


@pytest.fixture
def label(bundle: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """fineline predict --model <bundle> in this process: (exit code, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main(["predict", "--model", str(bundle), *map(str, arguments)])
        output = capfd.readouterr()
        return code, output.out, output.err

    return run


def agrees(found: dict, answer: dict) -> bool:
    return found["label"] == answer["label"] and abs(float(found["score"]) - answer["score"]) < TOLERANCE


ROWS = [
    {"id": "001", "text": "my card, was declined", "channel": "app"},
    {"id": "2", "text": 'they said "wire"\nand hung up', "channel": ""},
    {"id": "NA", "text": "", "channel": "mail"},
]


def write(path: Path, rows: list[dict] = ROWS) -> Path:
    if path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0].keys(), delimiter={".csv": ",", ".tsv": "\t"}[path.suffix])
            writer.writeheader()
            writer.writerows(rows)
    return path


def read(path: Path) -> list[dict]:
    if path.suffix == ".parquet":
        return pd.read_parquet(path).to_dict("records")
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    return list(csv.DictReader(io.StringIO(path.read_text()), delimiter={".csv": ",", ".tsv": "\t"}[path.suffix]))


@pytest.mark.parametrize(
    ("source", "target"),
    [(".csv", ".csv"), (".tsv", ".jsonl"), (".jsonl", ".parquet"), (".parquet", ".tsv"), (".csv", ".parquet")],
)
def test_files(source, target, label, bundle, tmp_path) -> None:
    out = tmp_path / f"out{target}"
    code, stdout, stderr = label("--file", write(tmp_path / f"in{source}"), "--out", out, "--probabilities")
    assert (code, stdout) == (0, "")
    assert stderr == f"{out}: 3 rows, added label, score, probabilities\n"
    answers = predict(open_bundle(bundle), [row["text"] for row in ROWS])
    found = read(out)
    assert [list(row) for row in found] == [["id", "text", "channel", "label", "score", "probabilities"]] * 3
    for row, origin, answer in zip(found, ROWS, answers, strict=True):
        assert {name: row[name] for name in origin} == origin
        assert agrees(row, answer)
        shares = row["probabilities"]
        shares = json.loads(shares) if isinstance(shares, str) else shares
        assert shares == pytest.approx(answer["probabilities"], abs=TOLERANCE)
    assert files_of(tmp_path) == {f"in{source}", f"out{target}"}


def test_rows_keep_their_order_and_all_arrive(label, bundle, tmp_path) -> None:
    rows = [{"number": str(n), "text": text} for n, text in enumerate(make_rows(3_000)["text"])]
    out = tmp_path / "out.csv"
    assert label("--file", write(tmp_path / "in.csv", rows), "--out", out)[0] == 0
    found = read(out)
    assert [row["number"] for row in found] == [row["number"] for row in rows]
    opened = open_bundle(bundle, threads=1)
    texts = [row["text"] for row in rows]
    # The same batches: int8 answers of one text differ in the 4th digit with what else is in its batch.
    answers = [
        answer
        for start in range(0, len(texts), ROWS_AT_ONCE)
        for answer in predict(opened, texts[start : start + ROWS_AT_ONCE])
    ]
    assert len({answer["score"] for answer in answers}) > 100
    assert [float(row["score"]) for row in found] == [answer["score"] for answer in answers]


def test_columns_of_the_same_name_are_kept(label, tmp_path) -> None:
    rows = [{"body": "my card", "label": "truth", "score": "7"}]
    out = tmp_path / "out.csv"
    code, _, stderr = label("--file", write(tmp_path / "in.csv", rows), "--out", out, "--columns", "text=body")
    assert code == 0
    assert "added predicted_label, predicted_score" in stderr
    (row,) = read(out)
    assert list(row) == ["body", "label", "score", "predicted_label", "predicted_score"]
    assert (row["label"], row["score"]) == ("truth", "7")


def test_file_without_out_goes_to_stdout(label, tmp_path) -> None:
    code, stdout, _ = label("--file", write(tmp_path / "in.tsv"))
    assert code == 0
    lines = [json.loads(line) for line in stdout.splitlines()]
    assert [{name: line[name] for name in ROWS[0]} for line in lines] == ROWS
    assert all({"label", "score"} <= line.keys() for line in lines)


def test_jsonl_keeps_types_and_rows_may_differ(label, tmp_path) -> None:
    rows = [{"text": 12, "n": 1.5}, {"text": None, "more": [1, {"a": None}]}]
    source = write(tmp_path / "in.jsonl", rows)
    assert label("--file", source, "--out", tmp_path / "out.jsonl")[0] == 0
    assert [
        {name: row[name] for name in origin} for row, origin in zip(read(tmp_path / "out.jsonl"), rows, strict=True)
    ] == rows
    assert label("--file", source, "--out", tmp_path / "out.csv")[0] == 0
    found = read(tmp_path / "out.csv")
    assert [(row["text"], row["n"], row["more"]) for row in found] == [("12", "1.5", ""), ("", "", '[1, {"a": null}]')]


def test_a_file_with_only_a_header(label, tmp_path) -> None:
    (tmp_path / "in.csv").write_text("id,text\n")
    assert label("--file", tmp_path / "in.csv", "--out", tmp_path / "out.csv")[0] == 0
    assert (tmp_path / "out.csv").read_text() == "id,text,label,score\n"


@pytest.mark.parametrize(
    ("name", "content", "code", "words"),
    [
        ("in.csv", None, 2, "does not exist"),
        ("in.xlsx", b"text\n", 2, "must end in .csv, .tsv, .jsonl, .ndjson, .parquet"),
        ("in.csv", b"", 3, "is empty"),
        ("in.csv", b"id,body\n1,a\n", 2, "has no column 'text'; it has 'id', 'body'"),
        ("in.csv", b"text,text\na,b\n", 3, "two columns are named text"),
        ("in.csv", b"id,text\n1,a\n2,b,c\n", 3, "line 3: 3 cells where the header has 2"),
        ("in.csv", b'id,text\n1,"a\n2,b\n', 3, "line 2"),
        ("in.csv", b"text\nok\ncaf\xe9\n", 3, "line 3: byte 0xe9"),
        ("in.csv", b"text\na\0b\n", 3, "line 2: a NUL byte"),
        ("in.csv", "text\na\n".encode("utf-16"), 3, "UTF-16"),
        ("in.jsonl", b'{"text": "a"}\n{"text": \n', 3, "line 2: no JSON"),
        ("in.json", b'[{"text": "a"}]', 2, "jq -c '.[]'"),
        ("in.jsonl", b'{"text": "a"}\n[1]\n', 3, "line 2: no JSON object: not a JSON object"),
        ("in.jsonl", b'{"text": ["a"]}\n', 3, "line 1: text is a list, not one value"),
        ("in.jsonl", b'{"text": "a"}\n{"body": "a"}\n', 3, "line 2: no text"),
        ("in.jsonl", b'{"text": "\\ud800"}\n', 3, "half of a surrogate pair"),
        ("in.jsonl", b"\n", 3, "in.jsonl is empty"),
        ("in.parquet", b"PAR1 no", 3, "is no whole Parquet file"),
    ],
)
def test_bad_files_end_before_any_work_and_leave_nothing(name, content, code, words, label, tmp_path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    before = files_of(tmp_path)
    found, stdout, stderr = label("--file", tmp_path / name, "--out", tmp_path / "out.csv")
    assert (found, stdout) == (code, "")
    assert words in stderr
    assert "Traceback" not in stderr
    assert files_of(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--file", "in.csv", "a text"], 2, "both texts and --file"),
        (["--out", "out.csv", "a text"], 2, "--out is for the rows of --file"),
        (["--file", "in.csv", "--out", "in.csv"], 2, "the same file"),
        (["--file", "in.csv", "--out", "none/out.csv"], 2, "none does not exist"),
        (["--file", "in.csv", "--out", "folder"], 2, "cannot tell its format"),
        (["--file", "in.csv", "--out", "folder.csv"], 2, "is a folder"),
        (["--file", "in.csv", "--out", "link.csv"], 2, "exists already"),
        (["--file", "folder.csv"], 2, "is a folder"),
        (["--file", "in.csv", "--out", "out.parquet.gz"], 2, "cannot tell its format"),
        (["--file", "in.csv", "--encoding", "utf-9"], 2, "Python knows no text encoding of that name"),
        (["--file", "in.csv", "--delimiter", "ab"], 2, "must be one character"),
        (["bad \udce9"], 3, "text 1: byte 0xe9"),
        (["--model", "nowhere", "a"], 2, "nowhere is no folder"),
        (["--model", "folder.csv", "a"], 2, "is no bundle"),
        (["--model", "models:/tiny@champion", "a"], 4, "mlflow.db does not exist"),
    ],
)
def test_wrong_use(arguments, code, words, label, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "in.csv")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "link.csv").symlink_to("elsewhere.csv")
    found, stdout, stderr = label(*arguments)
    assert (found, stdout) == (code, "")
    assert words in stderr
    assert stderr.count("\n") == 2
    assert files_of(tmp_path) == {"in.csv"}


@pytest.fixture
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle made in milliseconds."""
    return write_word_bundle(tmp_path_factory.mktemp("words") / "bundle", {"wire": "transfer"})


def test_what_is_there_is_replaced_only_by_force(words, capfd, tmp_path) -> None:
    source, out = write(tmp_path / "in.csv"), tmp_path / "out.csv"
    out.write_text("the work of a week")
    command = ["predict", "--model", str(words), "--file", str(source), "--out"]
    assert main([*command, str(out)]) == 2
    stderr = capfd.readouterr().err
    assert "out.csv exists already" in stderr
    assert "--force" in stderr
    assert out.read_text() == "the work of a week"
    assert main([*command, str(out), "--force"]) == 0
    assert out.read_text().startswith("id,text,channel,label,score")
    (tmp_path / "link.csv").symlink_to(tmp_path / "nowhere.csv")
    assert main([*command, str(tmp_path / "link.csv")]) == 2


def test_bad_rows_are_left_out_in_order_and_listed(words, capfd, tmp_path) -> None:
    (tmp_path / "in.csv").write_bytes(b"n,text\n1,a\n2,caf\xe9\n,\n3,b\n4,c,d\n5,wire\n")
    arguments = ["predict", "--model", str(words), "--file", str(tmp_path / "in.csv"), "--skip-bad"]
    assert main([*arguments, "--out", str(tmp_path / "out.csv.gz")]) == 0
    assert capfd.readouterr().err.endswith("3 rows, added label, score; left out 2 bad and 1 blank\n")
    lines = gzip.decompress((tmp_path / "out.csv.gz").read_bytes()).decode().splitlines()
    assert [line.split(",")[0] for line in lines] == ["n", "1", "3", "5"]
    listed = [json.loads(line) for line in (tmp_path / "out.csv.gz.skipped.jsonl").read_text().splitlines()]
    assert [(row["line"], row["content"]) for row in listed] == [(3, "2,caf\\xe9"), (6, "4,c,d")]
    assert files_of(tmp_path) == {"in.csv", "out.csv.gz", "out.csv.gz.skipped.jsonl"}
    assert main(arguments) == 0
    output = capfd.readouterr()
    assert [json.loads(line)["n"] for line in output.out.splitlines()] == ["1", "3", "5"]
    assert [json.loads(line)["line"] for line in output.err.splitlines()[:2]] == [3, 6]


def run_words(words: Path, *arguments: str, stdin: bytes, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "cli", "predict", "--model", str(words), *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, env={**os.environ, **environment})


def test_rows_of_stdin(words) -> None:
    done = run_words(words, "--file", "-", stdin='{"n": 1.10, "text": "wire ü"}\n{"n": 2, "text": null}\n'.encode())
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert lines[0].startswith('{"n": 1.10, "text": "wire ü", "label": "transfer"')
    assert json.loads(lines[1])["text"] is None
    done = run_words(words, "--file", "-", "--delimiter", ";", stdin=b"n;text\n1;wire\n")
    assert json.loads(done.stdout)["label"] == "transfer"
    done = run_words(words, stdin=b'{"text": "wire"}\n')
    assert done.stderr == b"these lines look like JSON: --file - reads them as rows\n"


def test_json_lines_are_utf8_whatever_the_locale(words) -> None:
    settings = {"LC_ALL": "C", "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = run_words(words, "--encoding", "gb18030", stdin="wire 漢\n".encode("gb18030"), **settings)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout.decode("utf-8"))["text"] == "wire 漢"


def test_lines_that_are_no_text_can_be_left_out(words) -> None:
    content = b"wire\ncaf\xe9\nbye\n"
    done = run_words(words, stdin=content)
    assert (done.returncode, b"stdin line 2: byte 0xe9" in done.stderr) == (3, True)
    done = run_words(words, "--skip-bad", stdin=content)
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == ["wire", "bye"]
    assert done.stderr.startswith(b"stdin line 2: byte 0xe9")
