"""fineline predict: texts and lines, in processes that cannot import torch; which model answers, and what a kill leaves."""

import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.__main__ import COMMANDS, main
from fineline.bundles.bundle import open_bundle, predict
from fineline.registry import ledger, model_versions
from fineline.tracking import connection
from fineline.tracking.journal import Journal
from tests.cli.test_predict import TOLERANCE, agrees
from tests.conftest import files_of

TEXTS = ["my card was declined", "wire transfer pending", ""]

REFUSE_TORCH = """
import importlib.abc, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers"):
            raise ImportError(f"{name} is not to be imported")

sys.meta_path.insert(0, Refuse())
from cli.__main__ import main
sys.exit(main())
"""


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", REFUSE_TORCH, "predict", *map(str, arguments)]


def call(*arguments: object, stdin: bytes = b"") -> tuple[int, str, str]:
    """The exit code, stdout and stderr of fineline predict in a process that cannot import torch."""
    done = subprocess.run(command(*arguments), input=stdin, capture_output=True)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture(scope="module")
def expected(bundle: Path) -> list[dict]:
    """What the bundle answers to TEXTS."""
    return predict(open_bundle(bundle), TEXTS)


def test_texts_give_json_lines_to_a_pipe(bundle, expected) -> None:
    code, stdout, stderr = call("--model", bundle, *TEXTS)
    assert (code, stderr) == (0, "")
    lines = [json.loads(line) for line in stdout.splitlines()]
    assert [list(line) for line in lines] == [["text", "label", "score"]] * 3
    assert [line["text"] for line in lines] == TEXTS
    assert all(map(agrees, lines, expected))


def test_lines_of_stdin(bundle, expected) -> None:
    content = b"\xef\xbb\xbf" + "\r\n".join([*TEXTS, "ünïcode 漢"]).encode()
    code, stdout, stderr = call("--model", bundle, "--probabilities", stdin=content)
    assert (code, stderr) == (0, "")
    lines = [json.loads(line) for line in stdout.splitlines()]
    assert [line["text"] for line in lines] == [*TEXTS, "ünïcode 漢"]
    for line, answer in zip(lines, expected, strict=False):
        assert line["probabilities"] == pytest.approx(answer["probabilities"], abs=TOLERANCE)
        assert sum(line["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_a_slow_writer_gets_each_answer_at_once(bundle) -> None:
    process = subprocess.Popen(
        command("--model", bundle), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdin
    assert process.stdout
    for text in ("first", "second"):
        process.stdin.write(f"{text}\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], 120)
        assert ready, "no answer while the writer waits"
        assert json.loads(process.stdout.readline())["text"] == text
    process.stdin.close()
    assert process.wait(timeout=120) == 0


def test_a_terminal_gets_lines_for_people(bundle, expected) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command("--model", bundle, "--probabilities", "my card\nwas declined"), stdout=theirs, stderr=subprocess.PIPE
    )
    assert process.wait(timeout=120) == 0
    os.close(theirs)
    lines = os.read(ours, 10_000).decode().splitlines()
    os.close(ours)
    answer = predict(open_bundle(bundle), ["my card\nwas declined"])[0]
    width = max(map(len, answer["probabilities"]))
    assert lines[0] == f"{answer['label'].ljust(width)}  {answer['score']:.3f}  my card was declined"
    best = sorted(answer["probabilities"].items(), key=lambda item: -item[1])
    assert lines[1:] == [f"    {name.ljust(width)}  {value:.3f}" for name, value in best]


def test_a_reader_that_goes_away_is_no_error(bundle, tmp_path) -> None:
    many = tmp_path / "many.txt"
    many.write_text("my card was declined\n" * 20_000)
    with many.open() as stream:
        process = subprocess.Popen(
            command("--model", bundle), stdin=stream, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr
        stderr = process.stderr.read()
    assert (process.wait(timeout=120), stderr) == (141, b"")


def test_a_changed_bundle_is_refused(bundle, capfd, tmp_path) -> None:
    shutil.copytree(bundle, tmp_path / "changed")
    with (tmp_path / "changed" / "tokenizer.json").open("r+") as stream:
        stream.seek(50)
        stream.write("!")
    assert main(["predict", "--model", str(tmp_path / "changed"), "a"]) == 2
    assert "tokenizer.json was changed" in capfd.readouterr().err


def test_killed_half_way_leaves_no_output(bundle, tmp_path) -> None:
    with (tmp_path / "in.csv").open("w") as stream:
        stream.write("text\n" + "my card was declined again and again\n" * 200_000)
    process = subprocess.Popen(
        command("--model", bundle, "--file", tmp_path / "in.csv", "--out", tmp_path / "out.csv"), stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".out.csv.*")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    assert process.wait(timeout=120) == 143
    assert process.stderr
    said = process.stderr.read().decode()
    assert "stopped by SIGTERM" in said
    assert "out.csv was not written; the same command begins anew" in said
    assert "go on" not in said
    assert files_of(tmp_path) == {"in.csv"}


def test_a_registered_model(bundle, expected, tmp_path, monkeypatch) -> None:
    from components.register.logged_model import log_bundle
    from fineline.artifacts.folders import read_manifest

    monkeypatch.chdir(tmp_path)
    journal = Journal(tmp_path / "events.jsonl")
    journal.run("train", {}, {}, [])
    run_id = journal.close("FINISHED")
    server = connection.client()
    source, model_id = log_bundle(server, bundle, read_manifest(bundle), run_id)
    tags = {"bundle_sha256": read_manifest(bundle).digest.removeprefix("sha256:")}
    version = model_versions.create_version(
        server, "tiny", source=source, model_id=model_id, run_id=run_id, tags=tags, description=""
    )
    ledger.move(server, "tiny", model_versions.CHAMPION, version, verdict="promote", reason="first")
    before = files_of(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")  # which means mlflow.db here
    for uri in ("models:/tiny@champion", "models:/tiny/1"):
        code, stdout, stderr = call("--model", uri, *TEXTS)
        assert (code, stderr) == (0, "")
        assert all(map(agrees, map(json.loads, stdout.splitlines()), expected))
    assert files_of(tmp_path) == before
    for uri in ("models:/tiny@nobody", "models:/tiny/7", "models:/other/1"):
        code, stdout, stderr = call("--model", uri, "a")
        assert (code, stdout) == (2, "")
        assert f"{uri} is not in the registry" in stderr
        assert stderr.count("\n") == 2


@pytest.mark.parametrize("uri", ["http://127.0.0.1:1", "http://ann:secret@127.0.0.1:1"])
def test_registries_that_cannot_be_asked(uri, capfd, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    code = main(["predict", "--model", "models:/tiny@champion", "a"])
    stderr = capfd.readouterr().err
    assert code == (2 if "secret" in uri else 4)
    assert stderr.count("\n") == 2
    assert "secret" not in stderr


def test_help_imports_nothing_heavy_and_shows_examples(capsys) -> None:
    script = (
        "import sys; from cli.__main__ import main\ntry: main(['--help'])\nexcept SystemExit: pass\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in COMMANDS)
    assert "example: fineline" in done.stdout
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {
        "numpy",
        "pandas",
        "torch",
        "mlflow",
        "onnxruntime",
        "pydantic",
        "yaml",
        "tokenizers",
        "pyarrow",
    }
    for name in COMMANDS:
        with pytest.raises(SystemExit) as ended:
            main([name, "--help"])
        assert ended.value.code == 0
        assert f"fineline {name}" in capsys.readouterr().out.partition("example")[2]
