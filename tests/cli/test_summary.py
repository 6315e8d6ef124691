"""fineline summary: what stands in the artifacts, whole, partial or absent."""

import json
import shlex
import shutil
from pathlib import Path

import pytest

from cli.__main__ import main
from cli.summary import summary
from fineline.artifacts import folders
from pipelines.blocks import STEPS

SUMMARIES = {
    "pin": "source: 1 file, sha256 0123456789ab",
    "ingest": "1,640 rows, 10 labels from 1 file",
    "train": "validation macro_f1 0.9120 after epoch 3 of 4 " * 3,
}
PASSED = {
    "passed": True,
    "rules": [{"rule": "min_metric", "figure": 0.91, "bound": 0.8, "passed": True}],
    "summary": "passed 1",
}
FAILED = {
    "passed": False,
    "rules": [
        {"rule": "min_metric", "figure": 0.71, "bound": 0.8, "passed": False},
        {"rule": "max_drop_shipped", "figure": 0.001, "bound": 0.01, "passed": True},
    ],
    "not_judged": [{"rule": "min_label_f1", "reason": "no label has 20 test rows"}],
    "summary": "failed 1 of 2 rules",
}
REGISTERED = {"registered": True, "name": "fineline", "uri": "models:/fineline/3", "aliases": ["challenger"]}
REFUSED = {"registered": False, "why": "gate failed"}
PROMOTED = {"verdict": "promote", "reason": "superior in accuracy", "moved": True, "waits": False, "champion": 2}
PROMOTED |= {"name": "fineline", "version": 3}
WAITS = {**PROMOTED, "moved": False, "waits": True}
HELD = {"verdict": "hold", "reason": "nothing was registered", "moved": False, "waits": False}


def write(
    folder: Path,
    gate: dict = PASSED,
    registration: dict = REGISTERED,
    promotion: dict = PROMOTED,
    steps: tuple[str, ...] = tuple(STEPS),
) -> Path:
    """The artifacts of `steps`, each with run.json as its step leaves it."""
    for number, step in enumerate(steps):
        artifact = folder / STEPS[step]
        artifact.mkdir(parents=True)
        if step == "evaluate":
            folders.write_json(artifact / "gate.json", gate)
            (artifact / "report.html").write_text("")
        if step == "register":
            folders.write_json(artifact / "registration.json", registration)
        if step == "promote":
            folders.write_json(artifact / "promotion.json", promotion)
        folders.write_manifest(
            artifact, step=step, kind="any", params={}, inputs={}, figures={"rows": 7, "by": {}}, task="single_label"
        )
        folders.write_json(artifact / "run.json", {"seconds": number + 0.5})
        if step in SUMMARIES:
            folders.note(artifact, line=SUMMARIES[step])
    return folder


def test_everything_is_there(tmp_path, capfd, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "artifacts")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["summary"]) == 0
    lines = capfd.readouterr().out.splitlines()
    table = lines[: lines.index("")]
    assert table[0].split() == ["step", "seconds", "result"]
    assert [line.split()[0] for line in table if not line.startswith(" ")] == ["step", *STEPS, "total"]
    assert table[1:4] == [
        "pin                0.5  source: 1 file, sha256 0123456789ab",
        "ingest             1.5  1,640 rows, 10 labels from 1 file",
        "data_quality       2.5  rows 7",
    ]
    assert table[-1] == "total             60.5"
    assert max(map(len, table)) <= 80
    assert lines[lines.index("") + 1 :][:4] == [
        "gate     PASSED: passed 1",
        "model    models:/fineline/3 (challenger)",
        "verdict  models:/fineline/3 is champion; promote: superior in accuracy",
        "report   artifacts/report/report.html",
    ]
    commands = [shlex.split(line) for line in lines[-3:]]
    assert [command[0].rpartition("/")[2] for command in commands] == ["dvc", "fineline", "mlflow"]
    assert all(shutil.which(command[0]) for command in commands)
    assert [command[1:] for command in commands] == [
        ["plots", "show"],
        ["predict", "--model", "models:/fineline@champion", "where is my new card?"],
        ["ui", "--backend-store-uri", "sqlite:///mlflow.db"],
    ]


def test_a_gate_that_said_no(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    folder = write(tmp_path / "artifacts", FAILED, REFUSED, HELD)
    lines = list(summary(folder, 100))
    start = lines.index("gate     FAILED: failed 1 of 2 rules")
    assert lines[start + 1 : start + 5] == [
        "         no: min_metric is 0.71, bound 0.8",
        "         not judged: min_label_f1, no label has 20 test rows",
        "model    nothing registered: the gate said no (what serves stays as it is)",
        "verdict  hold: nothing was registered",
    ]
    assert f"predict --model {folder / 'bundle'} " in lines[-2]
    assert lines[-1] == "  open http://127.0.0.1:1"


def test_commands_can_be_typed_as_they_are_printed(tmp_path, monkeypatch) -> None:
    """Names with spaces and quotes: the shell hands on what was meant."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/my runs.db")
    folder = write(tmp_path / "art ifacts", FAILED, REFUSED, HELD)
    _, predict, ui = (shlex.split(line) for line in list(summary(folder, 100))[-3:])
    assert predict[1:] == ["predict", "--model", str(folder / "bundle"), "where is my new card?"]
    assert ui[-1] == f"sqlite:///{tmp_path}/my runs.db"
    moved = {"name": "bank's own", "champion": 2, "moved": True, "verdict": "promote", "version": 3}
    (folder / "promotion" / "promotion.json").write_text(json.dumps({**HELD, **moved}))
    predict = shlex.split(list(summary(folder, 100))[-2])
    assert predict[1:4] == ["predict", "--model", "models:/bank's own@champion"]


def test_a_version_that_waits_says_how_to_go_on(tmp_path) -> None:
    lines = list(summary(write(tmp_path / "artifacts", promotion=WAITS), 100))
    assert any(line.endswith("; waits: fineline approve 3 --reason ...") for line in lines)


def test_half_way(tmp_path) -> None:
    """What is missing is named, and how to go on."""
    lines = list(summary(write(tmp_path / "artifacts", steps=("pin", "ingest", "data_quality")), 100))
    assert sum(line.endswith("not run yet") for line in lines) == 8
    assert lines[lines.index("") + 1 :][:4] == [
        "gate     no verdict yet",
        "model    nothing registered yet",
        "verdict  not compared with the champion yet",
        "report   none yet",
    ]
    assert lines[-2].endswith("dvc repro")


@pytest.mark.parametrize("broken", ["", "registration/registration.json", "dataset/manifest.json"])
def test_nothing_to_show(broken, tmp_path, capfd) -> None:
    if broken:
        write(tmp_path / "artifacts")
        (tmp_path / "artifacts" / broken).write_text("{")
        shutil.rmtree(tmp_path / "artifacts" / "clean")
        (tmp_path / "artifacts" / "dataset" / "run.json").unlink()
    code = main(["summary", "--artifacts", str(tmp_path / "artifacts")])
    stderr = capfd.readouterr().err
    assert code == 2
    assert (Path(broken).name if broken else "holds nothing that the pipeline made") in stderr
    assert stderr.count("\n") == 2


def test_each_step_leaves_its_line(tmp_path, run_step) -> None:
    """What the table shows is what the step itself said."""
    source = tmp_path / "rows.csv"
    source.write_text("text,label\n" + "".join(f"text {n},{'ab'[n % 2]}\n" for n in range(10)))
    version, dataset = tmp_path / "source_version", tmp_path / "dataset"
    for code, stdout, stderr in (
        run_step("pin", {"source": str(source)}, source_version=version),
        run_step("ingest", {}, source_version=version, dataset=dataset),
    ):
        assert code == 0, stderr
        step = stdout.partition(":")[0]
        folder = {"pin": version, "ingest": dataset}[step]
        assert stdout == f"{step}: {json.loads((folder / 'run.json').read_text())['line']}\n"
