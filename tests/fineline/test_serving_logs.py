"""What the server writes down: requests without their texts unless asked, and the sample that `monitor` reads."""

import json
import logging
import random
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

from fineline.bundles.bundle import open_bundle
from fineline.serving.batching import Scored
from fineline.serving.logs import JsonLines
from fineline.serving.metrics import Metrics
from fineline.serving.models import Served
from fineline.serving.sample_log import SCHEMA, SampleLog
from fineline.serving.shadow import Pair
from fineline.tasks import get_task
from tests.conftest import files_of, make_rows
from tests.serving import serving, until

SECRET = "my pin is 1234"


def test_logs_hold_no_texts_unless_asked(bundle: Path) -> None:
    for flags, shown in (((), False), (("--log-texts",), True)):
        with serving(bundle, "--name", "tiny", *flags) as server:
            answer = server.predict(SECRET, "a")
            server.post("/predict", {"texts": [SECRET + "\ud800"]})
            server.post("/v2/models/tiny/infer", {"inputs": SECRET})
            server.get(f"/{SECRET}")
            server.get("/metrics")
            assert server.stop() == 0
            lines = server.events("request")
            assert [line["status"] for line in lines] == [200, 400, 400, 404]
            assert all(set(line) >= {"time", "level", "event", "method", "route", "status", "ms"} for line in lines)
            assert (lines[0]["texts"], lines[0]["version"]) == (2, answer["version"])
            assert (SECRET in json.dumps(server.log)) == shown
            if shown:
                assert lines[0]["asked"] == [SECRET, "a"]
                assert lines[0]["labels"] == [found["label"] for found in answer["predictions"]]
            assert [line["event"] for line in server.log if line["event"] != "request"] == [
                *("serving", "listening", "stopping", "stopped")
            ]


def test_whatever_is_logged_is_a_line_without_what_an_error_says() -> None:
    def fails() -> None:
        try:
            {}[SECRET]
        except KeyError as error:
            raise ValueError(f"{SECRET} \ud800") from error

    def line(words: str, **fields: Any) -> dict[str, Any]:
        record = logging.LogRecord("x", logging.ERROR, "x.py", 1, words, (), None)
        record.fields = fields  # type: ignore[attr-defined]
        try:
            fails()
        except ValueError:
            record.exc_info = sys.exc_info()
        written = JsonLines().format(record)
        assert written.isascii()
        assert written.isprintable()
        return json.loads(written)

    found = line("half \ud800\u2028\n", value=b"\xff", path=Path("/x"), float=1e400)
    assert found["event"] == "half \ud800\u2028\n"
    assert (found["value"], found["path"]) == (str(b"\xff"), "/x")
    assert found["traceback"].index("builtins.KeyError") < found["traceback"].index("builtins.ValueError")
    assert "in fails" in found["traceback"]
    assert SECRET not in found["traceback"].replace("SECRET", "")


def test_a_stream_that_has_no_unicode_is_written_to(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    with serving(bundle, "--name", "tiny", "--log-texts") as server:
        server.predict("漢 🙂")
        assert server.stop() == 0
        assert server.events("request")[0]["asked"] == ["漢 🙂"]
        assert server.process.stderr
        assert server.process.stderr.read() == ""


def test_sampled_texts_with_their_answers_as_parquet(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "asked"
    texts = [*make_rows(20)["text"], "ünïcode 漢", ""]
    with serving(bundle, "--name", "tiny", "--log-sample", 1, "--log-folder", folder, "--log-seconds", 1) as server:
        first = server.predict(*texts[:10])
        until(lambda: any(folder.glob("*.parquet")))
        second = server.predict(*texts[10:])
        assert server.stop() == 0
    assert all(name.endswith(".parquet") and not name.startswith(".") for name in files_of(folder))
    tables = [pq.read_table(folder / name) for name in sorted(files_of(folder))]
    assert all(table.schema == SCHEMA for table in tables)
    rows = {row["text"]: row for table in tables for row in table.to_pylist()}
    assert sum(table.num_rows for table in tables) == len(texts) == len(rows)
    for text, answer in zip(texts, first["predictions"] + second["predictions"], strict=True):
        row = rows[text]
        assert (row["label"], row["score"], dict(row["probabilities"])) == (
            answer["label"],
            answer["score"],
            answer["probabilities"],
        )
        assert (row["model"], row["version"]) == ("tiny", first["version"])
        assert row["time"].tzinfo is not None
        assert (row["canary"], row["other_label"]) == (False, None)
        assert 0 < row["seconds"] < 10


def test_a_share_of_the_texts_is_kept_and_a_lost_folder_is_made_again(bundle: Path, tmp_path: Path) -> None:
    random.seed(0)
    metrics = Metrics()
    folder = tmp_path / "asked"
    served = Pair(Served("tiny", "1", "0", open_bundle(bundle), 1))
    answer = {"label": "card", "score": 1.0, "probabilities": {"card": 1.0, "login": 0.0, "transfer": 0.0}}
    sample = SampleLog(folder, 0.1, 3600, metrics)
    for _ in range(50):
        sample.add(served, ["a"] * 100, Scored([answer] * 100, [0.1] * 100))
    sample.close()
    [file] = folder.iterdir()
    assert 400 < pq.read_metadata(file).num_rows < 600  # 500 ± 21

    sample = SampleLog(folder, 1.0, 3600, metrics)
    shutil.rmtree(folder)
    sample.add(served, ["a"] * 7, Scored([answer] * 7, [0.1] * 7))
    sample.close()
    [file] = folder.iterdir()
    assert pq.read_metadata(file).num_rows == 7

    sample = SampleLog(folder, 1.0, 3600, metrics)
    shutil.rmtree(folder)
    folder.touch()  # a folder that cannot be made again: what is asked is answered all the same
    sample.add(served, ["a"] * 7, Scored([answer] * 7, [0.1] * 7))
    sample.close()
    assert metrics.registry.get_sample_value("fineline_log_rows_dropped_total") == 7


@pytest.mark.parametrize("rows", [10_000, 10_001])
def test_a_file_is_due_at_a_number_of_rows_too(rows: int, tmp_path: Path) -> None:
    sample = SampleLog(tmp_path, 1.0, 3600, Metrics())
    bundle = SimpleNamespace(task=get_task("single_label"))
    served = Pair(Served("tiny", "1", "0", bundle, 1))  # type: ignore[arg-type]
    answer = {"label": "card", "score": 1.0, "probabilities": {"card": 1.0}}
    sample.add(served, ["a"] * rows, Scored([answer] * rows, [0.1] * rows))
    until(lambda: any(tmp_path.glob("*.parquet")))
    sample.close()
