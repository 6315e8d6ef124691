"""fineline new: what it finds in data of many kinds, what it asks, and a project that works wherever it lies."""

import gzip
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import components
from cli.__main__ import main
from cli.project import code, said
from cli.project.choose_columns import Choice, choose
from cli.project.look_at_data import Look, look
from cli.project.look_at_texts import look_at_texts
from fineline.tasks import get_task
from tests.conftest import PROJECT, REAL_DATA, make_rows, write_model
from tests.project import TINY

INPUTS = PROJECT / "tests" / "field_inputs"
ROWS = make_rows(120)
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")} | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_OFFLINE": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
}


def found(path: Path | str, **given: Any) -> tuple[Look, Choice]:
    seen = look(str(path), known=list(given.values()))
    return seen, choose(seen, get_task("single_label"), given)


def csv_of(path: Path, rows: pd.DataFrame, encoding: str = "utf-8", **how: Any) -> Path:
    path.write_bytes(rows.to_csv(index=False, **how).encode(encoding))
    return path


def run(folder: Path, *words: str, code: int = 0) -> str:
    """Runs a program as a shell with the activated environment does; gives its stdout and stderr."""
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


PLAIN = {"text": "text", "label": "label"}
FIELD_INPUTS = {
    "excel.CSV": (PLAIN, "cp1252", ";", 100),
    "sep-small.csv": (PLAIN, "utf-8", "", 2),
    "binary.parquet": (PLAIN, "utf-8", "", 200),
    "dotted.parquet": ({"text": "user.text", "label": "the label"}, "utf-8", "", 200),
    "emoji-labels.csv": (PLAIN, "utf-8", "", 200),
    "na-labels.csv": (PLAIN, "utf-8", "", 200),
    "nullable-int.parquet": (PLAIN, "utf-8", "", 200),
    "typed-labels.csv": (PLAIN, "utf-8", "", 200),
}


@pytest.mark.parametrize("name", FIELD_INPUTS)
def test_inputs_from_the_field(name: str) -> None:
    columns, encoding, delimiter, rows = FIELD_INPUTS[name]
    seen, choice = found(INPUTS / name)
    assert (choice.columns, seen.how.encoding, seen.how.delimiter, seen.rows, seen.names) == (
        columns,
        encoding,
        delimiter,
        rows,
        [],
    )


@pytest.mark.real_data
@pytest.mark.skipif(not (REAL_DATA / "snli_devtest").is_dir(), reason="../shared/data is absent")
def test_data_of_others() -> None:
    for name, labels in (("banking77/train.csv", 77), ("sms_spam/all.csv", 2)):
        seen, choice = found(REAL_DATA / name)
        assert choice.columns == PLAIN
        assert len(seen.column("label").counts) == labels
    _, choice = found(REAL_DATA / "snli_devtest" / "test.csv", text="text_b")
    assert choice.columns == {"text": "text_b", "label": "label"}


def test_every_field_of_the_sample_has_its_column() -> None:
    seen, choice = found(PROJECT / "data" / "sample" / "messages.csv")
    assert choice.columns == {
        "text": "text",
        "label": "label",
        "annotators": ["annotator_a", "annotator_b"],
        "id": "id",
        "time": "created_at",
    }
    assert (choice.keep, choice.unused) == (["channel"], [])
    texts = look_at_texts(seen.column("text").cells)
    assert (texts.english, texts.max_length, texts.max_characters) == (True, 128, 5_000)


def test_roles_follow_from_what_columns_hold(tmp_path: Path) -> None:
    rows = ROWS.rename(columns={"text": "body", "label": "topic"}).drop(columns="channel")
    count = range(len(rows))
    rows.insert(0, "message_nr", [n % 7 for n in count])  # named like an id, and not unique
    rows["order_kind"] = ["new", "old"] * 60  # named like a group, and of two
    rows["customer_id"] = [f"c{n // 3}" for n in count]
    rows["part"] = "x"
    rows["partition"] = ["test" if n % 5 == 0 else "train" for n in count]
    rows["score"] = [n / 7 for n in count]
    rows["sent"] = [f"2026-01-{n % 28 + 1:02} 08:00" for n in count]
    rows["region"] = ["north" if n % 4 else "south" for n in count]
    rows["headline"] = [f"about thing {n}" for n in count]
    _, choice = found(csv_of(tmp_path / "a.csv", rows), label="topic")
    assert choice.columns == {
        "text": "body",
        "label": "topic",
        "id": "id",
        "group": "customer_id",
        "time": "sent",
        "split": "partition",
    }
    assert choice.keep == ["message_nr", "order_kind", "region"]
    assert choice.unused == ["part", "score", "headline"]
    _, choice = found(tmp_path / "a.csv", label="region", group="", text="headline")
    assert choice.columns["text"] == "headline"
    assert choice.columns["group"] == ""
    assert choice.why["label"] == "as you said"


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", "der Käufer wartet auf Größe “L”"),
        ("cp1251", "я всё ещё жду свою новую карту"),
        ("cp1250", "proszę o pomoc z kartą, zażółć"),
        ("gb18030", "我还在等我的卡，我能做什么呢"),
        ("cp932", "私はカードの到着をまだ待っています。どうすればよいか教えてください。"),
        ("utf-16", "der Käufer wartet"),
        ("utf-8-sig", "der Käufer wartet"),
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_encoding_and_delimiter_are_found(encoding: str, text: str, delimiter: str, tmp_path: Path) -> None:
    rows = pd.DataFrame({"text": [f"{text} {n}" for n in range(60)], "label": ["a", "b", "c"] * 20})
    seen, choice = found(csv_of(tmp_path / "a.csv", rows, encoding, sep=delimiter))
    assert seen.how.encoding == encoding.removesuffix("-sig")
    assert seen.how.delimiter == ("" if delimiter == "," else delimiter)
    assert choice.columns == PLAIN
    assert seen.column("text").cells[1] == f"{text} 1"


def test_a_mark_in_the_texts_is_no_delimiter(tmp_path: Path) -> None:
    rows = ROWS[["text", "label"]].assign(text=[f"{text}, and more; really" for text in ROWS["text"]])
    assert found(csv_of(tmp_path / "a.csv", rows))[0].how.delimiter == ""
    assert found(csv_of(tmp_path / "b.csv", rows, sep=";"))[0].how.delimiter == ";"
    assert found(csv_of(tmp_path / "b.txt", rows, sep=","))[0].how.delimiter == ","  # its name says none


def test_a_file_without_a_header(tmp_path: Path) -> None:
    path = csv_of(tmp_path / "a.tsv", ROWS[["label", "text"]], header=False, sep="\t")
    seen, choice = found(path)
    assert seen.names == ["column_1", "column_2"]
    assert seen.rows == len(ROWS)
    assert choice.columns == {"text": "column_2", "label": "column_1"}
    rows = ROWS[["label", "text"]]
    for names in (["label", "text"], ["card", "message"], [0, 1]):  # 'card' is also a value below
        assert found(csv_of(tmp_path / "b.tsv", rows.set_axis(names, axis=1), sep="\t"))[0].names == []


def test_long_and_foreign_texts_are_seen() -> None:
    texts = look_at_texts([" ".join(["word"] * 300)] * 10 + ["a short text"] * 40)
    assert texts.max_length == 512
    assert look_at_texts(["слово за слово, " * 3] * 50).writing == "Cyrillic letters"
    german = look_at_texts(["ich warte seit Tagen auf meine neue Karte und niemand hilft"] * 50)
    assert (german.english, german.writing) == (False, "Latin letters, little or no English")
    assert look_at_texts(["x" * 7_000] * 10).max_characters == 10_000


TWO = "label,text_a,text_b\n" + "".join(f"{'xy'[n % 2]},some words {n},other words {n}\n" for n in range(60))
KINDS = "text,kind,status\n" + "".join(f"some words {n},{'xy'[n % 2]},{'uv'[n % 2]}\n" for n in range(60))
BAD: dict[str, tuple[str, str | bytes, list[str], int, list[str]]] = {
    "two texts": ("a.csv", TWO, [], 2, ["each of text_b, text_a may be the text", "--columns text=text_b"]),
    "two labels": ("a.csv", KINDS, [], 2, ["each of kind, status may be the label", "--columns label=kind"]),
    "no label": (
        "a.csv",
        "text,n\n" + "".join(f"some words {n},{n}\n" for n in range(60)),
        [],
        2,
        ["n holds 60 values"],
    ),
    "scores": ("a.csv", "text,v\n" + "".join(f"some words {n},{n % 5}.5\n" for n in range(60)), [], 2, ["decimals"]),
    "lists": ("a.jsonl", '{"text": "some words", "labels": ["a", "b"]}\n' * 9, [], 2, ["labels holds lists"]),
    "no texts": ("a.jsonl", '{"tokens": ["some", "words"], "label": "a"}\n' * 9, [], 2, ["tokens holds lists"]),
    "one label": ("a.csv", "text,label\nsome words,a\nmore words,a\n", [], 2, ["label holds one and the same value"]),
    "one column": ("a.csv", "text\nsome words\nmore words\n", [], 2, ["there is no other column"]),
    "array": ("a.json", '[{"text": "a b", "label": "x"}]', [], 2, ["JSON is read line by line", "jq -c"]),
    "workbook": ("a.xlsx", b"PK\x03\x04 ...", [], 2, ["is a workbook or an archive", "save what is in it as .csv"]),
    "binary": ("a.csv", b"\x00\x01\xff\xfe\x00" * 99, [], 2, ["no encoding that can be guessed", "--encoding NAME"]),
    "empty": ("a.csv", "", [], 3, ["a.csv is empty"]),
    "header alone": ("a.csv", "text,label\n", [], 3, ["has no row that can be read"]),
    "not there": ("", "", [], 2, ["a.csv does not exist"]),
    "unknown column": (
        "a.csv",
        TWO,
        ["--columns", "text=body"],
        2,
        ["has no column 'body'", "it has 'label', 'text_a'"],
    ),
    "unknown field": ("a.csv", TWO, ["--columns", "txt=text_a"], 2, ["no field txt, did you mean text?"]),
    "no pair": ("a.csv", TWO, ["--columns", "text_a"], 2, ["--columns text_a is not FIELD=NAME"]),
    "unknown task": ("a.csv", TWO, ["--task", "poetry"], 2, ["unknown task 'poetry'", "tasks: single_label"]),
    "encoding": ("a.csv", TWO, ["--encoding", "utf-9"], 2, ["no text encoding of that name"]),
    "test data": ("a.csv", TWO, ["--test-data", "none.csv"], 2, ["none.csv does not exist"]),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_chosen_is_said_in_two_lines(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, content, flags, expected, words = BAD[name]
    monkeypatch.chdir(tmp_path)
    if file:
        Path(file).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["new", "p", "--data", file or "a.csv", *flags]) == expected
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.partition(": ")[2].partition(": ")[0] for line in err.splitlines()][-1] == "to mend it"
    for word in words:
        assert word in err
    assert sorted(path.name for path in Path().iterdir()) == sorted(filter(None, [file]))


def test_what_will_go_wrong_is_said(tmp_path: Path) -> None:
    rows = pd.DataFrame({"text": [f"ein Text {n}" for n in range(40)], "label": [f"l{n // 2}" for n in range(40)]})
    path = csv_of(tmp_path / "a.csv", rows)
    path.write_text(path.read_text() + "ein Text,\n" * 11 + "one cell alone\n")
    seen, choice = found(path)
    lines = "\n".join(said.found("a.csv", seen, choice, look_at_texts(seen.column("text").cells)))
    text = " ".join(lines.split())
    assert "look at 11 rows have no label; ingest stops at more than 10 (ingest.max_bad_rows): take them out" in text
    assert "look at 20 of 20 values of label are in fewer than 3 rows, which all go to training" in text
    assert "look at 1 row cannot be read (line 53: 1 cells where the header has 2)" in text
    assert "the bundled model learned English: name another one" in text


def test_neither_or_both_of_data_and_example_and_a_folder_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "p"]) == 2
    assert main(["new", "p", "--data", "a.csv", "--example", "single_label"]) == 2
    assert capsys.readouterr().err.count("give either --data or --example") == 2
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "kept").write_text("")
    assert main(["new", "p", "--data", "a.csv"]) == 2
    assert "p is there already" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "p").iterdir()] == ["kept"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new project on tiny rows without a header, semicolons between its cells; in no repository."""
    folder = tmp_path_factory.mktemp("new")
    rows = make_rows(240)[["id", "text", "label", "channel"]]
    (folder / "rows.csv.gz").write_bytes(gzip.compress(rows.to_csv(index=False, header=False, sep=";").encode()))
    words = ["--columns", "id=column_1", "--columns", "label=column_3"]
    said = run(folder, "fineline", "new", "complaints", "--data", "rows.csv.gz", *words)
    assert "240 rows, 4 columns; utf-8, cells separated by ';'" in said
    assert "the copy begins with column_1, column_2, column_3, column_4" in said
    assert said.endswith("next:\n  cd complaints\n  dvc repro\n  fineline summary\n")
    return folder / "complaints"


def test_a_project_says_only_what_differs_and_names_no_path_of_the_machine(project: Path) -> None:
    params = yaml.safe_load((project / "params.yaml").read_text())
    columns = {"text": "column_2", "label": "column_3", "id": "column_1"}
    assert {name: block for name, block in params.items() if block} == {
        "pin": {"source": "data/rows.csv.gz"},
        "ingest": {"columns": columns, "keep_columns": ["column_4"], "delimiter": ";"},
        "augment": {"lexicon": "data/lexicon.tsv"},
        "register": {"name": "complaints"},
        "monitor": {"source": "data/rows.csv.gz", "columns": {"text": "column_2"}, "delimiter": ";"},
    }
    tracked = run(project, "git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    assert sorted(tracked) == [
        ".dvc/.gitignore",
        ".dvc/config",
        ".dvcignore",
        ".gitignore",
        "README.md",
        "data/.gitignore",
        "data/lexicon.tsv",
        "data/rows.csv.gz.dvc",
        "dvc.yaml",
        "params.yaml",
    ]
    for name in tracked:
        text = (project / name).read_text(encoding="utf-8")
        assert not any(str(place) in text for place in (project.parent, PROJECT, sys.prefix)), name
    assert gzip.decompress((project / "data" / "rows.csv.gz").read_bytes()).startswith(b"column_1;column_2;")


def test_the_commands_work_in_a_project(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert main(["compile"]) == 0
    assert "data/rows.csv.gz" in (project / "build" / "training.yaml").read_text()
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", "http://localhost:1")
    alone = "on this machine alone, where no pod can read it: pin.source = 'data/rows.csv.gz'"
    for words in (["submit"], ["schedule", "apply", "nightly", "--cron", "0 3 * * *"]):
        assert main(words) == 2
        assert alone in capsys.readouterr().err
    assert main(["submit", "--set", "pin.source=dvc://https://git.example.com/data.git@main:rows.csv.gz"]) == 4
    assert "http://localhost:1" in capsys.readouterr().err  # all was right but the server
    monkeypatch.setenv("PATH", ENVIRONMENT["PATH"])
    assert main(["doctor"]) == 0
    doctor = capsys.readouterr().out
    assert "params.yaml is valid for all 11 steps" in doctor
    assert "ok       python of dvc.yaml is this one" in doctor
    monkeypatch.setenv("PATH", os.defpath)
    assert main(["doctor"]) == 4
    assert f"activate its environment before dvc repro: . {sys.prefix}" in capsys.readouterr().out
    assert main(["predict", "a text"]) == 4
    assert "there is no model registry here" in capsys.readouterr().err
    stages, own = (yaml.safe_load((place / "dvc.yaml").read_text())["stages"] for place in (project, PROJECT))
    assert list(stages) == ["code", *own]
    for name, stage in own.items():
        code_of_step = {f"components/{name}", "fineline"}
        assert set(stages[name]["deps"]) == {*stage["deps"], f"artifacts/code/{name}"} - code_of_step


def test_a_project_in_a_repository_is_a_part_of_it(tmp_path: Path) -> None:
    run(tmp_path, "git", "init", "-q")
    csv_of(tmp_path / "a.csv", ROWS)
    run(tmp_path, "fineline", "new", "one", "--data", "a.csv")
    assert not (tmp_path / "one" / ".git").exists()
    assert (tmp_path / "one" / ".dvc").is_dir()
    assert (tmp_path / "one" / "data" / "a.csv.dvc").is_file()


def test_the_digest_of_a_step_follows_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in ("split", "pin"):
        (tmp_path / "components" / step).mkdir(parents=True)
        (tmp_path / "components" / step / "step.py").write_text("1")
    monkeypatch.setattr(components, "__path__", [str(tmp_path / "components")])
    code.main(tmp_path / "before")
    (tmp_path / "components" / "split" / "step.py").write_text("2")
    code.main(tmp_path / "after")
    before, after = (
        {path.name: path.read_text() for path in (tmp_path / name).iterdir()} for name in ("before", "after")
    )
    assert before.keys() == after.keys() == {"split", "pin"}
    assert before["pin"] == after["pin"] != before["split"] != after["split"]


@pytest.mark.slow
def test_a_whole_run_in_a_project(project: Path) -> None:
    write_model(project / "tiny", head="none")
    params = yaml.safe_load((project / "params.yaml").read_text())
    tiny = {name: block for name, block in TINY.items() if name != "register"}
    params |= {name: {**params[name], **block} for name, block in tiny.items()}
    params["train"]["epochs"] = 1
    (project / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    run(project, "dvc", "repro")
    again = run(project, "dvc", "repro")
    assert [line for line in again.splitlines() if line.startswith("Running")] == [
        "Running stage 'code':",
        "Running stage 'pin':",
    ]
    assert "models:/complaints/1 is champion" in run(project, "fineline", "summary")
    assert run(project, "fineline", "predict", "my card was declined").startswith('{"text": "my card was declined"')
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    run(project, "git", "add", "-A")
    run(project, "git", *identity, "commit", "-q", "-m", "first")
    run(project, "dvc", "exp", "run", "-S", "++split.seed=14", "--single-item", "split")
    assert yaml.safe_load((project / "params.yaml").read_text())["split"] == {"seed": 14}
