"""decide, the step: its facts from real MLflow stores, what it records there, and two at the same moment."""

import datetime
import json
import multiprocessing
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.decide import facts as looking
from components.decide import step as deciding
from components.decide.facts import GPU_HOURS, look
from components.decide.params import Params
from components.decide.step import asked, run
from components.promote import test_set
from fineline.artifacts import folders
from fineline.process.errors import UsageError
from fineline.registry import ledger, model_versions, training_rows
from fineline.rows.dataset import read_splits
from fineline.tasks import get_task
from fineline.tracking import connection
from fineline.tracking.tags import (
    CONTINUED_TAG,
    DATA_TAG,
    DECISION_TAG,
    PIPELINE_RUN,
    PIPELINE_RUN_TAG,
    RETRAIN,
    WANTED,
)
from tests.conftest import files_of, make_rows, write_dataset, write_splits

NAME = "tiny"
ROWS = make_rows(150)
NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new store with its tables, which take seconds to make."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
        connection.client().search_experiments()
    return file


@pytest.fixture
def server(empty_store: Path, tmp_path: Path) -> Any:
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    return connection.client()


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "clean", ROWS)


@pytest.fixture
def drift(tmp_path: Path) -> Path:
    return write_drift(tmp_path / "drift")


def write_drift(folder: Path, **figures: Any) -> Path:
    """What monitor leaves of a calm week, but for `figures`."""
    folder.mkdir()
    calm = {"verdict": "no drift", "drifted": False, "enough": True, "p": 0.41, "rows": 900, "reason": "calm"}
    folders.write_manifest(folder, step="monitor", kind="drift", params={}, inputs={}, figures=calm | figures)
    return folder


def champion(server: Any, splits: Path | None, days: float = 0) -> int:
    """Makes a champion that has learned from `splits`, so many days ago; gives its version."""
    run_id = ledger.new_run("test")
    tags = {model_versions.SHA256: "a" * 64}
    if splits:
        tags[training_rows.TAG] = training_rows.write(server, NAME, run_id, splits)
    source = f"{server.get_run(run_id).info.artifact_uri}/model"
    version = model_versions.create_version(
        server, NAME, source=source, model_id="", run_id=run_id, tags=tags, description=""
    )
    ledger.move(server, NAME, model_versions.CHAMPION, version, verdict="promote", reason="test")
    return version


def training(server: Any, ended: float, **more: Any) -> str:
    """A training run that ended so many hours ago (None: it is still under way); gives its id."""
    experiment = connection.experiment_id(server, connection.experiment())
    end = int((NOW.timestamp() - ended * 3600) * 1000)
    begun = more.get("begun", end - 60_000)
    tags = {DATA_TAG: "sha256:0", **more.get("tags", {})}
    name = more.get("name", "train-4f1a2b3c4d5e")
    run_id = server.create_run(experiment, start_time=begun, tags=tags, run_name=name).info.run_id
    if GPU_HOURS in more:
        server.log_metric(run_id, GPU_HOURS, more[GPU_HOURS] / 2, step=1)
        server.log_metric(run_id, GPU_HOURS, more[GPU_HOURS], step=2)
    if status := more.get("status", "FINISHED"):
        server.set_terminated(run_id, status, end_time=end)
    return run_id


def found(server: Any, clean: Path, **params: Any) -> Any:
    return look(server, Params(name=NAME, **params), clean, None, NOW)


def test_without_a_registry_there_is_no_champion_and_nothing_else(server: Any, clean: Path) -> None:
    facts = found(server, clean)
    assert (facts.rows, facts.champion, facts.new_rows, facts.age_days) == (150, None, None, None)
    assert (facts.hours_since_training, facts.gpu_hours, facts.same_data) == (None, 0.0, "")


def test_new_rows_are_those_the_champion_never_met(server: Any, tmp_path: Path, clean: Path) -> None:
    version = champion(server, write_splits(tmp_path / "splits", ROWS[:100]))  # 70 + 15 rows, and 15 of its test
    assert found(server, clean).champion == version
    assert found(server, clean).new_rows == 65
    tested = read_splits(tmp_path / "splits")["test"]
    test_set.join(server, NAME, get_task("single_label"), tested, "version 1")
    assert found(server, clean).new_rows == 50
    again = ROWS.assign(id=[f"other{i}" for i in range(150)], text=ROWS["text"].str.upper())
    assert found(server, write_dataset(tmp_path / "again", again)).new_rows == 50  # the same texts under other ids


def test_a_champion_without_a_record_has_no_count(server: Any, clean: Path) -> None:
    champion(server, None)
    assert found(server, clean).new_rows is None


def test_age_counts_from_the_move_in_the_ledger(server: Any, clean: Path) -> None:
    champion(server, None)
    later = NOW + datetime.timedelta(days=40)
    assert look(server, Params(name=NAME), clean, None, later).age_days == pytest.approx(40, abs=0.01)


def test_age_of_a_champion_moved_by_hand_counts_from_its_version(server: Any, clean: Path) -> None:
    first = champion(server, None)
    run_id = ledger.new_run("test")
    second = server.create_model_version(NAME, server.get_run(run_id).info.artifact_uri, run_id).version
    server.set_registered_model_alias(NAME, model_versions.CHAMPION, second)
    facts = found(server, clean)
    assert facts.champion == int(second) != first
    assert facts.age_days == pytest.approx(0, abs=0.01)


def test_cooldown_counts_from_the_last_training_that_finished(server: Any, clean: Path) -> None:
    training(server, 100)
    training(server, 30, name="the good one")  # as somebody called it in the UI
    training(server, 2, status="FAILED")
    training(server, 1, status="")
    assert found(server, clean).hours_since_training == pytest.approx(30, abs=0.01)


def test_a_training_that_ended_in_the_future_neither_blocks_nor_counts(server: Any, clean: Path) -> None:
    training(server, 30)
    training(server, -5)
    assert found(server, clean).hours_since_training == pytest.approx(30, abs=0.01)
    training(server, -0.1)  # of a clock six minutes ahead
    assert found(server, clean).hours_since_training == 0


def test_a_champion_of_the_future_is_new(server: Any, clean: Path) -> None:
    champion(server, None)
    earlier = NOW - datetime.timedelta(days=1)
    assert look(server, Params(name=NAME), clean, None, earlier).age_days == 0


def test_the_same_data_is_found_by_its_digest(server: Any, tmp_path: Path, clean: Path) -> None:
    digest = {"fineline.digest.data_quality": folders.read_manifest(clean).digest}
    training(server, 3, tags=digest, status="FAILED")
    training(server, 2, tags=digest, status="")
    assert found(server, clean).same_data == ""
    training(server, 1, tags=digest)
    assert found(server, clean).same_data == "train-4f1a2b3c4d5e"
    assert found(server, write_dataset(tmp_path / "more", ROWS[:149])).same_data == ""


@pytest.mark.parametrize("tag", [PIPELINE_RUN_TAG, CONTINUED_TAG])
def test_trainings_of_this_very_run_do_not_count(
    server: Any, clean: Path, monkeypatch: pytest.MonkeyPatch, tag: str
) -> None:
    training(server, 1, tags={"fineline.digest.data_quality": folders.read_manifest(clean).digest, tag: "r1"})
    monkeypatch.setenv(PIPELINE_RUN, "r1")
    assert (found(server, clean).same_data, found(server, clean).hours_since_training) == ("", None)
    monkeypatch.setenv(PIPELINE_RUN, "r2")
    assert found(server, clean).same_data


def test_gpu_hours_are_summed_over_the_calendar_month(server: Any, clean: Path) -> None:
    month = NOW.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp() * 1000
    training(server, 0, gpu_hours=3.5, begun=int(month) + 1)
    training(server, 0, gpu_hours=1.0, begun=int(month) + 2, status="FAILED")
    training(server, 0, gpu_hours=0.25, begun=int(month) + 3, status="")
    training(server, 0, gpu_hours=100.0, begun=int(month) - 1)
    assert found(server, clean).gpu_hours == pytest.approx(4.75)


def test_more_runs_than_one_page(server: Any, clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        training(server, 0, gpu_hours=1.0, begun=int(NOW.timestamp() * 1000))
    search = type(server).search_runs
    monkeypatch.setattr(type(server), "search_runs", lambda *a, **k: search(*a, **k, max_results=2))
    assert len(list(looking.runs(server, f"metrics.{GPU_HOURS} > 0"))) == 5


def decisions(server: Any) -> list[Any]:
    return list(looking.runs(server, "attributes.run_name LIKE 'decision-%'"))


def test_step_writes_the_decision_and_records_it(
    server: Any, tmp_path: Path, clean: Path, drift: Path, run_step: Callable[..., tuple[int, str, str]]
) -> None:
    champion(server, write_splits(tmp_path / "splits", ROWS[:100]))
    target = tmp_path / "decision"
    code, out, err = run_step("decide", {"name": NAME, "max_age_days": 0}, dataset=clean, drift=drift, decision=target)
    assert (code, out, err) == (0, "decide: skipped: 65 new rows, 500 needed; drift p = 0.41\n", "")
    assert files_of(target) == {"decision.json", "manifest.json", "run.json"}
    figures = folders.verify(target).figures
    assert (figures["retrain"], figures["new_rows"], figures["drift_p"]) == (False, 65, 0.41)
    assert json.loads((target / "decision.json").read_text())["facts"]["champion"] == 1
    (recorded,) = decisions(server)
    assert recorded.info.run_name == f"decision-{folders.read_manifest(clean).digest[7:19]}"
    assert recorded.info.status == "FINISHED"
    assert (
        recorded.data.tags["fineline.reason"] == figures["reason"] == "skipped: 65 new rows, 500 needed; drift p = 0.41"
    )
    assert (recorded.data.tags["fineline.decision"], recorded.data.metrics["new_rows"]) == ("skipped", 65)
    assert folders.read_run_id(target) == recorded.info.run_id


def test_asking_records_nothing(server: Any, clean: Path) -> None:
    _, _, decision = asked(Params(name=NAME), clean, None)
    assert decision.retrain
    assert decisions(server) == []


def decided(folder: Path, clean: Path, pipeline_run: str, **params: Any) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PIPELINE_RUN, pipeline_run)
        return run(params=Params(name=NAME, **params), dataset=clean, decision=folder / pipeline_run)


def test_while_one_retraining_is_under_way_there_is_no_second(server: Any, tmp_path: Path, clean: Path) -> None:
    assert decided(tmp_path, clean, "r1") == "retrain: no champion yet, 150 rows"
    assert decided(tmp_path, clean, "r2").startswith("skipped: a retraining is under way (since 20")
    assert decided(tmp_path, clean, "r1").startswith("retrain: ")  # the same pipeline's pod, tried again
    assert decided(tmp_path, clean, "r3", longest_hours=1e-9).startswith("retrain: ")  # the first counts as dead
    states = {run.data.tags[PIPELINE_RUN_TAG]: run.info.status for run in decisions(server)}
    assert states == {"r1": "RUNNING", "r2": "FINISHED", "r3": "RUNNING"}


def test_its_end_lets_the_next_one_in(
    server: Any, tmp_path: Path, clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fineline.runs.finish import finish

    decided(tmp_path, clean, "r1")
    monkeypatch.setenv(PIPELINE_RUN, "r1")
    finish('{"state": "RUNNING"}')
    assert decided(tmp_path, clean, "r2").startswith("retrain: ")


def ahead(patch: pytest.MonkeyPatch, seconds: float) -> None:
    """Sets this process's clock."""
    now = time.time
    patch.setattr(time, "time", lambda: now() + seconds)


def test_the_clocks_of_two_may_differ(
    server: Any, tmp_path: Path, clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        ahead(patch, 60)
        assert decided(tmp_path, clean, "r1").startswith("retrain: ")
    assert decided(tmp_path, clean, "r2").startswith("skipped: a retraining is under way")


def test_of_two_that_see_each_other_the_smaller_id_stays(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deciding, "_SECONDS_TO_DECIDE", 0.5)
    experiment = connection.experiment_id(server, connection.experiment())
    tags = {DECISION_TAG: WANTED, "fineline.model": NAME, PIPELINE_RUN_TAG: "other"}
    smaller, larger = sorted(server.create_run(experiment, tags=tags).info.run_id for _ in range(2))

    def in_the_way(mine: str) -> str:
        return deciding._under_way(server, Params(name=NAME), int(time.time() * 1000), mine)

    assert in_the_way(larger).endswith("run other")
    assert in_the_way(smaller) == ""  # after a while: the other was killed
    monkeypatch.setattr(time, "sleep", lambda _: server.set_tag(larger, DECISION_TAG, RETRAIN))
    assert in_the_way(smaller).endswith("run other")  # which had not seen this one, and trains


def _race(folder: Path, clean: Path, number: int, start: Any, answers: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        ahead(patch, 60 * number)
        start.wait()
        answers.put(decided(folder, clean, f"r{number}"))


def test_of_several_at_the_same_moment_one_trains(server: Any, tmp_path: Path, clean: Path) -> None:
    connection.experiment_id(server, connection.experiment())
    context = multiprocessing.get_context("spawn")
    start, answers = context.Barrier(3), context.Queue()
    racers = [context.Process(target=_race, args=(tmp_path, clean, i, start, answers)) for i in range(3)]
    for racer in racers:
        racer.start()
    said = [answers.get(timeout=120) for _ in racers]
    for racer in racers:
        racer.join()
    assert sorted(line.partition(":")[0] for line in said) == ["retrain", "skipped", "skipped"]


@pytest.mark.parametrize(
    ("params", "given", "what"),
    [
        ({}, {}, "decide.name is empty"),
        ({"name": NAME}, {"dataset": "drift"}, "is a drift, not a dataset"),
        ({"name": NAME}, {"drift": "clean"}, "is a dataset, not a drift"),
        ({"name": NAME}, {"dataset": "none"}, "does not exist"),
    ],
)
def test_wrong_input_is_said_and_nothing_written(
    tmp_path: Path, clean: Path, drift: Path, params: dict, given: dict, what: str
) -> None:
    paths = {"dataset": clean, "drift": drift} | {flag: tmp_path / name for flag, name in given.items()}
    with pytest.raises(UsageError, match=what):
        run(params=Params(**params), decision=tmp_path / "decision", **paths)
    assert not (tmp_path / "decision").exists()


def test_a_server_that_is_down_is_no_decision(
    tmp_path: Path, clean: Path, monkeypatch: pytest.MonkeyPatch, run_step: Callable[..., tuple[int, str, str]]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    code, _, err = run_step("decide", {"name": NAME}, dataset=clean, decision=tmp_path / "decision")
    assert code == 4
    assert "does not answer" in err
    assert not (tmp_path / "decision").exists()
