"""monitor: no alarm without a shift, and each kind of shift found by the test that is for it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.monitor import drift, statistics
from components.monitor.params import Params
from fineline.artifacts import folders
from fineline.bundles import reference
from fineline.bundles.bundle import open_bundle, predict
from tests.conftest import files_of, make_rows
from tests.watched_bundle import write_watched_bundle

RunStep = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_watched_bundle(tmp_path_factory.mktemp("watched"))


@pytest.fixture
def monitor(run_step: RunStep, watched: Path, tmp_path: Path) -> Callable[..., dict]:
    """monitor(rows, **params) -> drift.json of a run that must succeed on these recent rows."""

    def run(rows: pd.DataFrame, name: str = "drift", **params: object) -> dict:
        source = tmp_path / "recent.csv"
        rows.to_csv(source, index=False)
        given = {"source": str(source), **params}
        code, _, error = run_step("monitor", given, bundle=watched, drift=tmp_path / name)
        assert code == 0, error
        return json.loads((tmp_path / name / "drift.json").read_text())

    return run


def found(content: dict) -> set[tuple[str, str]]:
    """(slice, test) of every test that found drift."""
    return {(test["slice"], test["test"]) for test in content["tests"] if test["drift"]}


def test_rows_like_the_reference_are_no_drift(monitor: Callable[..., dict], watched: Path, tmp_path: Path) -> None:
    content = monitor(make_rows(500, seed=2))
    assert content["verdict"] == "no drift"
    assert found(content) == set()
    assert (content["rows"], content["reference_rows"], content["read"], content["empty"]) == (500, 900, 500, 0)
    assert {(test["slice"], test["test"]) for test in content["tests"]} == {
        *(("", test) for test in drift.TESTS),
        *((f"channel={value}", test) for value in ("app", "mail") for test in drift.SLICE_TESTS),
    }
    folder = tmp_path / "drift"
    assert files_of(folder) == {"drift.json", "report.html", "manifest.json", "run.json"}
    manifest = folders.verify(folder)
    assert (manifest.step, manifest.kind, manifest.task) == ("monitor", "drift", "single_label")
    assert manifest.inputs == {"bundle": folders.read_manifest(watched).digest}
    assert "source" not in manifest.params
    figures = manifest.figures
    assert (figures["drifted"], figures["enough"], figures["rows"]) == (False, True, 500)
    assert figures["p"] == min(test["adjusted"] for test in content["tests"]) > 0.05
    page = (folder / "report.html").read_text()
    assert "No drift" in page
    for title in ("Tests", "Predicted labels", "Confidence", "Length", "Tokens", "Recent texts least like"):
        assert f">{title}" in page


def longer(rows: pd.DataFrame, bundle: Path) -> pd.DataFrame:
    return rows.assign(text=rows["text"].str.replace(" ", "   "))


def other_words(rows: pd.DataFrame, bundle: Path) -> pd.DataFrame:
    return rows.assign(text=rows["text"].str.replace("please", "x").str.replace("today", "x"))


def another_domain(rows: pd.DataFrame, bundle: Path) -> pd.DataFrame:
    """A third of the texts is about something else, in words of one letter."""
    strange = rows["text"].map(lambda text: " ".join(sorted(text.replace(" ", ""))[: len(text.split()) + 2]))
    return rows.assign(text=rows["text"].where(np.arange(len(rows)) % 3 > 0, strange))


def one_label(rows: pd.DataFrame, bundle: Path) -> pd.DataFrame:
    labels = pd.Series([answer["label"] for answer in predict(open_bundle(bundle), rows["text"].tolist(), 1)])
    return rows[labels.ne(labels.mode()[0]).to_numpy()]


def unsure(rows: pd.DataFrame, bundle: Path) -> pd.DataFrame:
    scores = pd.Series([answer["score"] for answer in predict(open_bundle(bundle), rows["text"].tolist(), 1)])
    return rows[(scores < scores.median()).to_numpy()]


@pytest.mark.parametrize(
    ("shift", "test"),
    [
        (longer, "characters"),
        (other_words, "token frequencies"),
        (another_domain, "embedding"),
        (one_label, "predicted labels"),
        (unsure, "confidence"),
    ],
)
def test_each_kind_of_shift_is_found(
    monitor: Callable[..., dict], watched: Path, shift: Callable[..., pd.DataFrame], test: str
) -> None:
    content = monitor(shift(make_rows(900, seed=3), watched))
    assert content["verdict"] == "drift"
    assert ("", test) in found(content)
    assert test in content["reason"]


def test_a_shift_in_one_slice_is_found_there(monitor: Callable[..., dict]) -> None:
    rows = make_rows(900, seed=4)
    rows.loc[rows["channel"] == "app", "text"] = longer(rows, Path())["text"]
    slices = {name for name, _ in found(monitor(rows))}
    assert "channel=app" in slices
    assert "channel=mail" not in slices


@pytest.mark.slow
def test_false_alarms_keep_to_their_level(watched: Path) -> None:
    """30 draws from where the reference is from: at 5 % more than 5 alarms come once in 300 such series."""
    bundle, kept = open_bundle(watched, threads=1), reference.read(watched)
    params = Params(source="drawn", min_effect=0)
    alarms = 0
    for seed in range(100, 130):
        rows = make_rows(300, seed)
        now = reference.features(bundle, rows["text"].tolist(), rows[[]])
        alarms += drift.verdict(params, drift.compare(params, kept, now).tests)[0] == drift.DRIFT
    assert alarms <= 5


def test_p_values_of_every_statistic_keep_to_their_level() -> None:
    rng = np.random.default_rng(0)
    hits: dict[str, int] = dict.fromkeys(["values", "shares", "tokens", "vectors"], 0)
    for seed in range(200):
        numbers = rng.poisson(20, 400)
        labels = rng.choice([f"label {i}" for i in range(40)], 400)
        words = rng.random((400, 60)) < np.linspace(0.01, 0.5, 60)
        before, now = (dict(enumerate(part.sum(axis=0).tolist())) for part in (words[:250], words[250:]))
        vectors = rng.standard_normal((400, 6))
        hits["values"] += statistics.values(numbers[:250], numbers[250:])[0] <= 0.05
        hits["shares"] += statistics.shares(labels[:250], labels[250:], 99, seed)[0] <= 0.05
        hits["tokens"] += statistics.tokens(before, 250, now, 150, 40)[0][1] <= 0.05
        hits["vectors"] += statistics.vectors(vectors[:250], vectors[250:], 99, seed)[0] <= 0.05
    assert max(hits.values()) <= 20, hits  # of 200 at 5 %: more come once in 1,000 series
    assert hits["shares"] >= 3
    assert hits["vectors"] >= 3


def test_statistics_on_known_rows() -> None:
    p, effect = statistics.values(np.arange(100), np.arange(100) + 50)
    assert effect == 0.5
    assert p < 1e-9
    p, effect = statistics.shares(np.repeat(["a", "b"], 50), np.repeat(["a", "c"], [20, 80]), 999, 0)
    assert effect == pytest.approx(0.8)
    assert p == 0.001
    assert statistics.shares(np.repeat("a", 9), np.repeat("a", 5), 99, 0) == (1.0, 0.0)
    first, *rest = statistics.tokens({1: 50, 2: 50, 3: 5}, 100, {1: 50, 2: 99, 4: 1}, 100, 2)
    assert first[0] == 2
    assert first[1] < 1e-9
    assert first[2] == pytest.approx(0.49)
    assert rest == [(1, 1.0, 0.0)]
    rng = np.random.default_rng(0)
    recent = rng.standard_normal((100, 5))
    recent[:, 0] += 2
    p, effect, scores = statistics.vectors(rng.standard_normal((200, 5)), recent, 199, 0)
    assert p == 1 / 200
    assert 0.5 < effect < 1  # the normal distributions themselves differ by 0.68
    assert scores.shape == (100,)


def test_what_is_sure_but_small_is_no_drift(monitor: Callable[..., dict], watched: Path) -> None:
    rows = longer(make_rows(900, seed=5), watched)
    content = monitor(rows, min_effect=0.99)
    assert content["verdict"] == "no drift"
    assert "what differs is smaller than 0.99: the nearest is" in content["reason"]
    assert min(test["adjusted"] for test in content["tests"]) < 0.05


def test_too_few_rows_is_a_verdict(monitor: Callable[..., dict], tmp_path: Path) -> None:
    content = monitor(make_rows(57))
    assert content["verdict"] == "too few rows"
    assert content["reason"] == "57 recent and 900 rows of the reference, 200 of each needed"
    assert content["tests"] == []
    figures = folders.verify(tmp_path / "drift").figures
    assert (figures["drifted"], figures["enough"], figures["p"], figures["rows"]) == (False, False, 1.0, 57)
    assert "Too few rows" in (tmp_path / "drift" / "report.html").read_text()
    dated = make_rows(57).assign(time=["2026-01-01"] * 56 + ["2026-03-01"])
    content = monitor(dated, "dated", columns={"time": "time"})
    assert content["reason"].startswith("1 recent")
    assert content["reason"].endswith("; 56 more are not of the newest 30 days")


def test_same_rows_give_the_same_bytes(monitor: Callable[..., dict], tmp_path: Path) -> None:
    rows = make_rows(700, seed=6)
    for name in ("one", "two"):
        monitor(rows, name, max_rows=300)
    assert folders.verify(tmp_path / "one") == folders.verify(tmp_path / "two")
    assert (tmp_path / "one" / "report.html").read_bytes() == (tmp_path / "two" / "report.html").read_bytes()
    other = monitor(rows, "three", max_rows=300, seed=14)
    assert other["rows"] == 300
    assert other["texts_sha256"] != json.loads((tmp_path / "one" / "drift.json").read_text())["texts_sha256"]
