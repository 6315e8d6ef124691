"""fineline serve: what it refuses before it listens, and how it ends."""

import asyncio
import json
import re
import shutil
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cli.__main__ import main
from cli.serve import default_model
from fineline.process.errors import UsageError
from fineline.serving.server import _listen
from fineline.serving.settings import Settings
from tests.conftest import files_of
from tests.serving import REFUSE_TORCH, command, serving, until, variant


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--model", "nowhere"], 2, "nowhere does not exist"),
        (["--model", "empty"], 2, "empty has no manifest.json"),
        (["--model", "models:/tiny"], 2, "models:/tiny names no model"),
        (["--model", "models:/tiny@champion"], 4, "there is no model registry here"),
        (["--model", "changed"], 2, "tokenizer.json was changed"),
        (["--model", "failing"], 4, "does not pass its self-test"),
        (["--port", "70000", "--threads", "0"], 2, "--port 70000 is not between 0 and 65535; --threads 0 is not"),
        (["--log-sample", "nan"], 2, "--log-sample nan is not between 0 and 1"),
        (["--max-texts", "10", "--max-queue", "9"], 2, "--max-texts 10 does not fit into --max-queue 9"),
        (["--log-sample", "0.5"], 2, "--log-sample and --log-folder need each other"),
        (["--log-folder", "log"], 2, "--log-sample and --log-folder need each other"),
        (["--log-folder", "a file", "--log-sample", "1"], 4, "--log-folder a file cannot be written"),
        (["--host", "203.0.113.1"], 4, "cannot listen at 203.0.113.1 port 0"),
        (["--host", "no.such.host.invalid"], 4, "cannot listen at no.such.host.invalid"),
    ],
)
def test_refused_before_it_listens(arguments, code, words, bundle, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "a file").touch()
    variant(bundle, tmp_path / "failing", temperature=2.0, passes=False)
    with (shutil.copytree(bundle, tmp_path / "changed") / "tokenizer.json").open("r+") as stream:
        stream.seek(50)
        stream.write("!")
    before = files_of(tmp_path)
    done = subprocess.run(command("--model", bundle, "--port", 0, *arguments), capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert done.stderr.count("\n") == 2
    assert "listening" not in done.stdout
    assert files_of(tmp_path) == before


def test_a_port_that_is_taken(bundle) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = subprocess.run(command("--model", bundle, "--port", port), capture_output=True, text=True)
    assert done.returncode == 4
    assert f"cannot listen at 127.0.0.1 port {port}: Address already in use" in done.stderr


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_says_not_ready_then_answers_what_was_accepted(end: signal.Signals, fp32) -> None:
    arguments = ("--max-wait-ms", 1000, "--max-batch", 64, "--drain-seconds", 1.5, "--name", "tiny")
    with serving(fp32, *arguments) as server, ThreadPoolExecutor(12) as pool:
        early = [pool.submit(server.predict, f"card {number}", "pin") for number in range(8)]
        until(lambda: server.metric("fineline_queue_texts") > 0)
        server.process.send_signal(end)
        until(lambda: server.get("/v2/health/ready").status_code == 503)
        assert server.get("/v2/models/tiny/ready").status_code == 503
        assert server.get("/v2/health/live").status_code == 200
        late = server.post("/predict", {"texts": ["card"]})  # whoever does not know yet is still answered
        assert (late.status_code, late.headers["connection"]) == (200, "close")
        assert [len(answer.result(60)["predictions"]) for answer in early] == [2] * 8
        started = time.monotonic()
        assert server.process.wait(timeout=60) == 0
        assert time.monotonic() - started < 5
        until(lambda: server.events("stopped"))
        assert {line["status"] for line in server.events("request")} == {200, 503}
        assert server.process.stderr.read() == ""


def test_requests_that_take_too_long_do_not_keep_it_from_ending(fp32) -> None:
    arguments = ("--max-wait-ms", 1000, "--max-batch", 64, "--shutdown-seconds", 0)
    with serving(fp32, *arguments) as server, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.post, "/predict", {"texts": ["card"]})
        until(lambda: server.metric("fineline_queue_texts") == 1)
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 5
        waiting.exception(60)


def test_answers_are_sent_at_once_and_not_held_for_an_acknowledgement() -> None:
    async def held_back() -> int:
        accepted = asyncio.get_running_loop().create_future()
        with _listen(Settings("unused", port=0)) as listener:
            server = await asyncio.start_server(lambda _, writer: accepted.set_result(writer), sock=listener)
            async with server:
                _, writer = await asyncio.open_connection(*listener.getsockname())
                connection = (await accepted).get_extra_info("socket")
                nodelay = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                writer.close()
                return nodelay

    assert asyncio.run(held_back())


def test_a_second_signal_hastens_the_end(bundle) -> None:
    with serving(bundle, "--drain-seconds", 60) as server:
        server.process.send_signal(signal.SIGTERM)
        until(lambda: server.get("/v2/health/ready").status_code == 503)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(timeout=10) == 0


def test_it_serves_without_torch_transformers_or_kfp(bundle) -> None:
    probe = REFUSE_TORCH.replace(
        "sys.exit(main())", "code = main()\nprint(*sys.modules, file=sys.stderr)\nsys.exit(code)"
    )
    process = subprocess.Popen(
        [*command()[:2], probe, "serve", "--model", str(bundle), "--port", "0", "--drain-seconds", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while json.loads(process.stdout.readline())["event"] != "listening":
        pass
    time.sleep(0.5)  # until uvicorn has taken the signals over
    process.terminate()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0
    loaded = {name.partition(".")[0] for name in stderr.split()}
    assert {"uvicorn", "fastapi", "onnxruntime", "tokenizers", "prometheus_client"} <= loaded
    assert not loaded & {"torch", "transformers", "kfp", "mlflow", "pandas", "sklearn", "scipy", "onnx", "datasets"}


@pytest.mark.parametrize(
    ("content", "model"),
    [
        (None, "models:/fineline@champion"),
        ("register:\n", "models:/fineline@champion"),
        ("register: {name: complaints}\n", "models:/complaints@champion"),
    ],
)
def test_the_model_of_the_project_here(content: str | None, model: str, tmp_path: Path) -> None:
    if content:
        (tmp_path / "params.yaml").write_text(content)
    assert default_model(tmp_path / "params.yaml") == model


@pytest.mark.parametrize("content", ["register: [", "train: {}\n"])
def test_a_project_that_cannot_be_read_is_not_guessed(content: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(content)
    with pytest.raises(UsageError):
        default_model(tmp_path / "params.yaml")


def test_help_shows_every_setting_and_imports_nothing_heavy(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    shown = capsys.readouterr().out
    from fineline.serving.settings import flag, ranged

    assert all(re.search(rf"{flag(field)} [NX]\b", shown) for field in ranged())
    script = "import sys; from cli.__main__ import main\ntry: main(['serve', '--help'])\nexcept SystemExit: print(*sys.modules)"
    done = subprocess.run([command()[0], "-c", script], capture_output=True, text=True, check=True)
    assert not set(done.stdout.splitlines()[-1].split()) & {
        "numpy",
        "fastapi",
        "uvicorn",
        "pydantic",
        "mlflow",
        "pyarrow",
    }
