"""What monitor reads: every format, the newest days, what a server logged; and what it says of anything else."""

import datetime
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import onnx
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.monitor.params import Params
from components.monitor.quality import estimated
from components.monitor.recent import read
from components.quantize.params import Params as QuantizeParams
from components.quantize.step import run as quantize
from fineline.artifacts import folders
from fineline.bundles import reference
from fineline.bundles.bundle import embeddings, open_bundle, predict
from fineline.process.errors import DataRejected, UsageError
from fineline.rows.dataset import read_rows
from fineline.serving.feedback import Feedback
from fineline.serving.sample_log import SCHEMA
from tests.conftest import make_rows
from tests.watched_bundle import write_watched_bundle

RunStep = Callable[..., tuple[int, str, str]]
ROWS = pd.DataFrame(
    {
        "text": ["hello, you", 'she said "no"\ntwice', "  ", "bye"],
        "channel": ["001", "app", "app", "mail"],
        "time": ["2026-01-01T00:00", "2026-02-01T00:00", "2026-02-02", "2026-02-03T12:00Z"],
        "number": [1, 2, 3, 4],
    }
)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_watched_bundle(tmp_path_factory.mktemp("watched"))


def written(folder: Path, name: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith("parquet"):
        ROWS.to_parquet(path)
    elif "jsonl" in name:
        ROWS.to_json(path, orient="records", lines=True)
    else:
        ROWS.to_csv(path, index=False, sep="\t" if ".tsv" in name else ",")
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv", "a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    found = read(Params(source=str(written(tmp_path, name))), ["channel", "region"])
    assert found.rows["text"].tolist() == ["hello, you", 'she said "no"\ntwice', "bye"]
    assert found.rows["channel"].tolist() == ["001", "app", "mail"]
    assert list(found.rows) == ["text", "channel"]
    assert (found.read, found.empty, found.version) == (4, 1, "")


def test_a_folder_a_glob_and_a_url(tmp_path: Path) -> None:
    for name in ("b.csv", "a.parquet", ".c.parquet.partial", ".hidden.csv"):
        written(tmp_path / "in", name)
    (tmp_path / "in" / "notes.md").write_text("text")
    assert read(Params(source=str(tmp_path / "in")), []).read == 8
    assert read(Params(source=f"{tmp_path}/in/*.csv"), []).read == 4
    with fsspec.open("memory://monitor/a.csv", "wb") as stream:
        stream.write((tmp_path / "in" / "b.csv").read_bytes())
    assert read(Params(source="memory://monitor/a.csv"), []).read == 4


def test_only_the_newest_days_are_recent(tmp_path: Path) -> None:
    source = str(written(tmp_path, "a.csv"))
    for days, count in ((1.0, 1), (3.0, 2), (90.0, 3)):
        found = read(Params(source=source, columns={"time": "time"}, window_days=days), [])
        assert found.rows["text"].tolist() == ["hello, you", 'she said "no"\ntwice', "bye"][-count:]
        assert found.older == 3 - count


def test_times_that_cannot_be_make_no_other_row_look_old(tmp_path: Path) -> None:
    rows = [{"text": f"text {n}", "time": "2026-02-01"} for n in range(600)]
    rows += [{"text": "of the future", "time": "2106-02-07"}, {"text": "of never", "time": "9999-99-99"}]
    pd.DataFrame(rows).to_csv(tmp_path / "a.csv", index=False)
    found = read(Params(source=str(tmp_path / "a.csv"), columns={"time": "time"}), [])
    assert (len(found.rows), found.read, found.empty, found.bad) == (600, 602, 0, 2)
    assert found.first_bad == (
        "a.csv line 602: time '2106-02-07' has not come yet; a.csv line 603: time '9999-99-99' is no time"
    )


def test_bad_and_blank_rows_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,b\nhello,1\n,\nyou,2,3\n,\n\nbye,2\n")
    found = read(Params(source=str(tmp_path / "a.csv")), [])
    assert found.rows["text"].tolist() == ["hello", "bye"]
    assert (found.read, found.empty, found.bad) == (3, 0, 1)
    assert found.first_bad == "a.csv line 4: 3 cells where the header has 2"


def test_a_bad_file_does_not_stop_the_others(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = tmp_path / "in"
    written(folder, "a.csv")
    (folder / "b.parquet").write_text("no Parquet")
    whole = gzip.compress(ROWS.to_csv(index=False).encode())
    (folder / "c.csv.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "d.csv").write_text("body\nhello\n")
    (folder / "e.jsonl").touch()
    (folder / "older").mkdir()
    written(folder, "f.jsonl")
    found = read(Params(source=str(folder), count_repeats=True), [])
    assert found.rows["text"].tolist()[-3:] == found.rows["text"].tolist()[:3] == ["hello, you", *ROWS["text"][[1, 3]]]
    assert found.bad == 3
    for words in ("b.parquet is no whole Parquet file", "c.csv.gz is no whole gzip", "d.csv has no column 'text'"):
        assert words in found.first_bad
    assert list(found.left_out) == ["older/", "e.jsonl (empty)"]
    assert "; 2 left out: older/, e.jsonl (empty)" in capsys.readouterr().err
    with pytest.raises(DataRejected, match=r"3 rows cannot be read, 2 are allowed: .*b\.parquet is no whole Parquet"):
        read(Params(source=str(folder), max_bad_rows=2), [])


def test_a_text_counts_once(tmp_path: Path) -> None:
    texts = ["hello", "bye", "hello ", "hello", "Hello"]
    pd.DataFrame({"text": texts, "time": ["2026-01-01", *["2026-02-01"] * 4]}).to_csv(tmp_path / "a.csv", index=False)
    found = read(Params(source=str(tmp_path / "a.csv"), columns={"time": "time"}, window_days=1), [])
    assert (found.rows["text"].tolist(), found.repeated, found.read) == (["bye", "hello ", "hello", "Hello"], 0, 5)
    found = read(Params(source=str(tmp_path / "a.csv")), [])
    assert (found.rows["text"].tolist(), found.repeated) == (["hello", "bye", "hello ", "Hello"], 1)
    assert len(read(Params(source=str(tmp_path / "a.csv"), count_repeats=True), []).rows) == 5


def write_log(folder: Path, bundle: Path, texts: list[str], version: str, day: int, **changes: object) -> None:
    """A file as the server writes it, with the bundle's own answers."""
    answers = predict(open_bundle(bundle, threads=1), texts, 16)
    time = datetime.datetime(2026, 3, day, tzinfo=datetime.UTC)
    more = {"time": time, "model": "fineline", "version": version, "seconds": 0.01, "canary": False}
    rows = [{"text": text, **answer, **more, **changes} for text, answer in zip(texts, answers, strict=True)]
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), folder / f"{version}.parquet")


def logged(run_step: RunStep, bundle: Path, log: Path, target: Path) -> dict:
    params = {"source": str(log), "predictions": "logged"}
    code, _, error = run_step("monitor", params, bundle=bundle, drift=target)
    assert code == 0, error
    return json.loads((target / "drift.json").read_text())


def test_answers_are_those_that_were_served(run_step: RunStep, watched: Path, tmp_path: Path) -> None:
    texts = make_rows(600, seed=8)["text"].tolist()
    write_log(tmp_path / "log", watched, texts[:300], "6", day=1, label="gone")
    write_log(tmp_path / "log", watched, texts[300:], "7", day=2)
    write_log(tmp_path / "log", watched, texts[:9], "8", day=3, canary=True)  # a share that its shadow answered
    content = logged(run_step, watched, tmp_path / "log", tmp_path / "drift")
    assert (content["verdict"], content["rows"], content["read"]) == ("no drift", 300, 609)
    assert content["version"] == "7"
    assert 0.95 < content["agreement"] <= 1
    write_log(tmp_path / "unsure", watched, texts[300:], "7", day=2, score=0.34)
    content = logged(run_step, watched, tmp_path / "unsure", tmp_path / "drift")
    assert [test["test"] for test in content["tests"] if test["drift"]] == ["confidence"]


def test_the_log_of_another_model_is_refused(run_step: RunStep, watched: Path, tmp_path: Path) -> None:
    write_log(tmp_path / "log", watched, make_rows(300, seed=8)["text"].tolist(), "7", 1, label="gone")
    params = {"source": str(tmp_path / "log"), "predictions": "logged"}
    code, _, error = run_step("monitor", params, bundle=watched, drift=tmp_path / "drift")
    assert code == 2
    assert "gives 0% of the labels in the log: another model answered there" in error
    assert not (tmp_path / "drift").exists()


@pytest.mark.parametrize(
    ("name", "content", "params", "code", "words"),
    [
        ("", "", {}, 2, "does not exist"),
        ("in/notes.md", "text", {"source": "in"}, 2, "in names no data file (.csv, .tsv,"),
        ("a.csv", "body\nhello\n", {}, 2, "has no column 'text'; it has 'body'"),
        ("a.csv", "text\nhello\n", {"columns": {"time": "when"}}, 2, "has no column 'when'; it has 'text'"),
        ("a.csv", "text\nhello\n", {"predictions": "logged"}, 2, "has no column 'time', 'label', 'score', 'version'"),
        (
            "a.csv",
            "text,when\nhello,soon\n",
            {"columns": {"time": "when"}},
            3,
            "1 of 1 values of when are no time in the past, such as 'soon'",
        ),
        ("a.csv", "text,b\nhello,1\nyou,2,3\n", {"max_bad_rows": 0}, 3, "a.csv line 3: 3 cells where the header has 2"),
        ("a.csv", b"text\n\xff\xfe\n", {"max_bad_rows": 0}, 3, "set monitor.encoding, for instance to cp1252"),
        ("a.csv", "", {}, 3, "a.csv is empty"),
        ("a.jsonl", '{"text": "a"}\n{"text"', {"max_bad_rows": 0}, 3, "a.jsonl line 2: no JSON object"),
        ("a.parquet", "no Parquet", {}, 3, "a.parquet is no whole Parquet file"),
        ("a.csv.gz", "no gzip", {}, 3, "a.csv.gz is no whole gzip file"),
        ("", "", {"source": "nowhere://x/a.csv"}, 2, "is no location: Protocol not known: nowhere"),
        ("", "", {"alpha": 0.6, "min_effect": 1, "predictions": "guessed", "rows": 1}, 2, "4 parameters are wrong"),
        ("", "", {"min_rows": 300, "max_rows": 100}, 2, "min_rows 300 is more than max_rows 100"),
        ("", "", {"source": ""}, 2, "monitor.source = ''"),
    ],
)
def test_bad_input(
    name: str,
    content: str | bytes,
    params: dict,
    code: int,
    words: str,
    watched: Path,
    tmp_path: Path,
    run_step: RunStep,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    if name:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    given = {"source": name or "none.csv", **params}
    found, out, error = run_step("monitor", given, bundle=watched, drift=tmp_path / "drift")
    assert (found, out) == (code, ""), error
    assert words in error
    assert "Traceback" not in error
    assert not (tmp_path / "drift").exists()


def test_a_damaged_gzip_file(tmp_path: Path, run_step: RunStep, watched: Path) -> None:
    whole = gzip.compress(ROWS.to_csv(index=False).encode() * 50)
    (tmp_path / "a.csv.gz").write_bytes(whole[: len(whole) // 2])
    code, _, error = run_step(
        "monitor", {"source": str(tmp_path / "a.csv.gz")}, bundle=watched, drift=tmp_path / "drift"
    )
    assert code == 3
    assert "a.csv.gz is no whole gzip file" in error


def test_the_reference_is_of_held_out_rows_and_holds_no_text(watched: Path) -> None:
    folder = watched.parent
    parts = [read_rows(folder / "splits" / f"{name}.parquet") for name in ("validation", "test")]
    rows = pd.concat(parts, ignore_index=True)
    kept = reference.read(watched)
    assert list(kept.rows) == ["characters", "tokens", "label", "score", "slice:channel"]
    assert kept.rows["characters"].tolist() == rows["text"].str.len().tolist()
    assert kept.rows["slice:channel"].tolist() == rows["channel"].tolist()
    assert kept.embedding.shape == (900, 32)
    assert kept.embedding.dtype == np.float16
    bundle = open_bundle(watched, threads=1)
    answers = predict(bundle, rows["text"].tolist(), batch_size=1)
    assert kept.rows["label"].tolist() == [answer["label"] for answer in answers]
    with_please = rows["text"].str.split().map(lambda words: "please" in words).sum()
    assert kept.tokens[bundle.tokenizer.token_to_id("please")] == with_please > 100
    assert bundle.tokenizer.token_to_id("[CLS]") not in kept.tokens
    assert {reference.ROWS, reference.TOKENS} <= set(folders.verify(watched).files)


def test_a_row_does_not_depend_on_its_neighbours(watched: Path) -> None:
    bundle = open_bundle(watched, threads=1)
    texts = make_rows(40, seed=9)["text"].tolist()
    slices = pd.DataFrame(index=range(40))
    whole, half = (reference.features(bundle, part, slices[: len(part)]) for part in (texts, texts[:20]))
    assert np.array_equal(whole.embedding[:20], half.embedding)


@pytest.mark.parametrize(
    ("params", "words"),
    [({"reference_columns": ["region"]}, "quantize.reference_columns: the rows have no column region"), ({}, "")],
)
def test_quantize_draws_the_reference(
    watched: Path, tmp_path: Path, run_step: RunStep, params: dict, words: str
) -> None:
    given = {"candidates": [], "reference_rows": 60, "speed_texts": 10, "speed_rounds": 1, **params}
    paths = {"onnx": watched.parent / "onnx", "splits": watched.parent / "splits", "bundle": tmp_path / "bundle"}
    code, _, error = run_step("quantize", given, **paths)
    assert words in error
    assert code == (2 if words else 0)
    if not words:
        assert len(reference.read(tmp_path / "bundle").rows) == 60


def test_bundles_of_older_versions(watched: Path, tmp_path: Path, run_step: RunStep) -> None:
    """One without a reference, and one whose graph gives no embedding."""
    old = tmp_path / "old"
    params = QuantizeParams.model_validate(
        {"candidates": [], "reference_rows": 0, "speed_texts": 10, "speed_rounds": 1}
    )
    quantize(params=params, onnx=watched.parent / "onnx", splits=watched.parent / "splits", bundle=old)
    source = written(tmp_path, "a.csv")
    code, _, error = run_step("monitor", {"source": str(source)}, bundle=old, drift=tmp_path / "drift")
    assert code == 2
    assert "keeps no reference to compare with: it has no reference.parquet" in error
    shutil.rmtree(tmp_path / "drift", ignore_errors=True)
    graph = onnx.load(old / "model.onnx")
    del graph.graph.output[1]
    onnx.save(graph, old / "model.onnx")
    bundle = open_bundle(old)
    with pytest.raises(UsageError, match="does not give embeddings"):
        embeddings(bundle, bundle.tokenizer.encode_batch(["hello"]))


def test_what_is_no_bundle(watched: Path, tmp_path: Path, run_step: RunStep) -> None:
    for given, words in ((watched.parent / "splits", "is a splits, not a bundle"), (tmp_path, "has no manifest.json")):
        code, _, error = run_step("monitor", {"source": "x.csv"}, bundle=given, drift=tmp_path / "drift")
        assert code == 2
        assert words in error


def test_the_estimate_is_what_calibrated_scores_promise() -> None:
    """Of 200 draws of 300 calibrated answers the interval at 95 % holds what labels would show in 180 at least (190 ± 3)."""
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(200):
        scores = rng.beta(5, 2, 300)
        found = estimated(scores)
        assert found["rows"] == 300
        held += found["low"] <= (rng.random(300) < scores).mean() <= found["high"]
    assert 180 <= held <= 198
    assert estimated(np.ones(5)) == {"accuracy": 1.0, "low": 1.0, "high": 1.0, "rows": 5}


def test_feedback_is_counted_with_its_interval(run_step: RunStep, watched: Path, tmp_path: Path) -> None:
    texts = make_rows(300, seed=8)["text"].drop_duplicates().tolist()
    right = [answer["label"] for answer in predict(open_bundle(watched, threads=1), texts)]
    feedback = Feedback(tmp_path / "feedback", "--folder")
    feedback.add([(text, "wrong") for text in texts[:100]])
    (before,) = (tmp_path / "feedback").iterdir()
    before.rename(before.with_name("zz.jsonl"))
    feedback.add([*zip(texts[:60], right[:60], strict=True)])  # what came last counts, in whatever file
    (tmp_path / "feedback" / "00-old.jsonl").write_text(
        json.dumps({"time": "2020-01-01", "text": texts[200], "label": "wrong"}) + "\n"
    )
    pd.DataFrame({"text": texts}).to_csv(tmp_path / "recent.csv", index=False)
    params = {"source": str(tmp_path / "recent.csv"), "feedback": str(tmp_path / "feedback")}
    code, _, error = run_step("monitor", params, bundle=watched, drift=tmp_path / "drift")
    assert code == 0, error
    content = json.loads((tmp_path / "drift" / "drift.json").read_text())
    counted = content["accuracy_counted"]
    assert (counted["accuracy"], counted["rows"]) == (0.6, 100)
    assert (round(counted["low"], 3), round(counted["high"], 3)) == (0.502, 0.691)  # Wilson's, by hand
    assert 0 < content["accuracy_estimated"]["low"] < content["accuracy_estimated"]["accuracy"] < 1
    figures = folders.verify(tmp_path / "drift").figures
    assert figures["accuracy_counted"] == 0.6
    assert "counted on feedback" in (tmp_path / "drift" / "report.html").read_text()
    params["feedback"] = str(tmp_path / "recent.csv")
    shutil.rmtree(tmp_path / "drift")
    code, _, error = run_step("monitor", params, bundle=watched, drift=tmp_path / "drift")
    assert (code, "has no column 'time'" in error) == (2, True)
