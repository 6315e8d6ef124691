"""promote: challenger against champion on the frozen test set, through real bundles and a real registry."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from components.promote import test_set
from fineline.artifacts import folders
from fineline.registry import ledger, model_versions
from fineline.rows.dataset import read_rows
from fineline.tracking import connection
from tests.conftest import files_of
from tests.registering import register_bundle
from tests.word_bundle import answers_of, some, word_rows, write_word_bundle, write_word_splits

NAME = "words"
PARAMS = {"bootstrap": 200, "speed_texts": 2, "speed_rounds": 3, "max_latency_ratio": 0}
ROWS = word_rows(360)
TEST, TRAIN = ROWS[:300], ROWS[300:]

Promote = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture(autouse=True)
def here(ready_store: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # MLflow keeps the files of a sqlite store in mlruns/ here


@pytest.fixture
def promote(run_step: Callable[..., tuple[int, str, str]], tmp_path: Path) -> Promote:
    """promote("better", wrong=some(10, 300)) registers a bundle of that name and promotes it: (exit code, promotion.json,
    stdout or stderr). `answers` replaces what it answers, `test` the test rows of its splits, `train` the training rows."""

    def run(
        at: str,
        wrong: set[int] = frozenset(),  # type: ignore[assignment]
        answers: dict[str, str] | None = None,
        labels: tuple[str, ...] = ("card", "login", "transfer"),
        test: pd.DataFrame = TEST,
        train: pd.DataFrame = TRAIN,
        registered: bool = True,
        **params: Any,
    ) -> tuple[int, dict[str, Any], str]:
        folder = tmp_path / at
        splits = write_word_splits(folder / "splits", train, test)
        given = answers_of(TEST, wrong) if answers is None else answers
        bundle = write_word_bundle(folder / "bundle", given, labels, splits=splits, note=at)
        content: dict[str, Any] = {"registered": False, "why": "gate failed 1 of 1 rules: min_metric"}
        if registered:
            version = register_bundle(NAME, bundle, splits)
            content = {"registered": True, "name": NAME, "version": version, "uri": f"models:/{NAME}/{version}"}
        registration = folder / "registration"
        registration.mkdir()
        folders.write_json(registration / "registration.json", content)
        folders.write_manifest(
            registration,
            step="register",
            kind="registration",
            params={},
            inputs={"bundle": bundle, "splits": splits},
            figures={},
        )
        out = folder / "promotion"
        code, stdout, stderr = run_step(
            "promote", {**PARAMS, **params}, bundle=bundle, registration=registration, splits=splits, promotion=out
        )
        said = json.loads((out / "promotion.json").read_text()) if out.exists() else {}
        return code, said, stderr if code else stdout

    return run


def champion() -> int | None:
    return ledger.position(connection.client(), NAME, model_versions.CHAMPION)


def tags_of(version: int) -> dict[str, str]:
    return connection.client().get_model_version(NAME, str(version)).tags


def test_the_first_a_better_and_a_worse_one(promote, tmp_path) -> None:
    code, first, line = promote("first", some(60, 300))
    assert (code, line) == (0, "promote: promote: models:/words/1 is champion; first: there is no champion yet\n")
    assert first["moved"]
    assert files_of(tmp_path / "first" / "promotion") == {"promotion.json", "report.html", "manifest.json", "run.json"}

    code, better, line = promote("better", some(15, 300))
    assert code == 0
    assert line.startswith(
        "promote: promote: models:/words/2 is champion, before it 1; superior in accuracy: +0.1500 ("
    )
    out = tmp_path / "better" / "promotion"
    assert files_of(out) == {"promotion.json", "comparison.parquet", "report.html", "manifest.json", "run.json"}
    assert champion() == 2
    found = better["comparison"]
    assert (found["rows"], found["lost"] - found["gained"]) == (300, -45)
    answers = read_rows(out / "comparison.parquet")
    assert answers["id"].tolist() == TEST["id"].tolist()
    assert (answers["challenger"] != answers["label"]).sum() == 15
    assert (answers["champion"] != answers["label"]).sum() == 60
    page = (out / "report.html").read_text()
    for words in (
        "Version 2 of words against champion 1",
        "McNemar",
        "Labels and slices",
        "rows in the frozen test set",
    ):
        assert words in page
    assert "<script" not in page

    evidence = ledger.read(connection.client(), NAME)[-1]["evidence"]
    there = Path(connection.client().download_artifacts(evidence["run"], evidence["path"], str(tmp_path)))
    assert files_of(there) == {"promotion.json", "comparison.parquet", "report.html"}
    assert folders.sha256_file(there / "promotion.json") == evidence["sha256"]

    code, worse, line = promote("worse", some(80, 300))
    assert (code, worse["verdict"], worse["moved"]) == (0, "hold", False)
    assert "no worse in accuracy" in line
    assert champion() == 2


def test_figures_of_another_test_set_count_for_nothing(promote) -> None:
    """Both are scored again, here, on the same rows: those that either side brought."""
    promote("first", some(60, 300), test=TEST[:200])
    _, found, _ = promote("second", some(15, 300), test=TEST[150:])
    assert found["test_set"]["joined"] == 100
    assert found["rows"] == {"test_set": 300, "seen": 0, "label_not_shared": 0, "compared": 300}
    assert found["comparison"]["figures"]["accuracy"]["champion"] == 0.8
    assert found["comparison"]["figures"]["accuracy"]["challenger"] == 0.95
    assert tags_of(2)["test_set.digest"] == found["test_set"]["digest"]
    server = connection.client()
    assert server.get_registered_model(NAME).tags["test_set.digest"] == found["test_set"]["digest"]
    state = test_set.newest(server, NAME)
    frozen = test_set.fetch(server, NAME, state)
    assert (state["number"], len(frozen)) == (2, 300)
    assert frozen["joined"].tolist() == ["models:/words/1"] * 200 + ["models:/words/2"] * 100


def test_who_learned_the_new_rows_and_forgot_old_ones_is_held_back(promote, tmp_path) -> None:
    """A whole that gains hides what was lost: before it 90 % of the old rows were right, with it 75 %."""
    promote("first", set(range(20)) | set(range(200, 290)), test=TEST[:200])
    _, found, line = promote("second", set(range(50)), test=TEST[200:])
    assert found["comparison"]["figures"]["accuracy"]["gain"] > 0.15
    assert "test rows older 0.900 to 0.750 of 200 rows" in line
    assert (found["verdict"], found["moved"]) == ("hold", False)
    whole, *rest = sorted(found["comparison"]["forgetting"], key=lambda part: -part["rows"])
    assert (whole["what"], whole["rows"], whole["champion"], whole["challenger"]) == ("test rows", 200, 0.9, 0.75)
    old = TEST[:200]["label"].value_counts()
    assert {part["name"]: part["rows"] for part in rest if part["what"] == "label"} == old.to_dict()
    page = (tmp_path / "second" / "promotion" / "report.html").read_text()
    assert "Forgetting: the older test rows alone" in page


def test_nothing_stands_alone_where_no_rows_joined(promote, tmp_path) -> None:
    promote("first", some(60, 300))
    _, found, _ = promote("second", some(15, 300))
    assert found["comparison"]["forgetting"] == []
    assert "Forgetting" not in (tmp_path / "second" / "promotion" / "report.html").read_text()


def test_rows_that_a_model_has_seen_are_reported_and_left_out(promote) -> None:
    promote("first", some(60, 300), train=pd.concat([TRAIN, TEST[:30]]))
    seen_by_text = TEST[100:110].assign(
        id=[f"new{n}" for n in range(10)], text=[t.upper() for t in TEST["text"][100:110]]
    )
    _, found, _ = promote("second", some(15, 300), train=pd.concat([seen_by_text, TRAIN]))
    assert found["seen"] == {"champion": 30, "challenger": 10}
    assert found["rows"] == {"test_set": 300, "seen": 40, "label_not_shared": 0, "compared": 260}


def test_the_same_again_and_its_answer(promote, run_step, tmp_path) -> None:
    promote("first", some(60, 300))
    before = ledger.read(connection.client(), NAME)
    folder = tmp_path / "first"
    paths = {name: folder / name for name in ("bundle", "registration", "splits")}
    code, line, _ = run_step("promote", PARAMS, **paths, promotion=tmp_path / "again")
    assert (code, line) == (0, "promote: promote: it is the champion already\n")
    assert ledger.read(connection.client(), NAME) == before


def test_nothing_registered_is_hold(promote) -> None:
    code, found, line = promote("refused", registered=False)
    assert (code, found["verdict"]) == (0, "hold")
    assert line == "promote: hold: nothing was registered: gate failed 1 of 1 rules: min_metric\n"


def test_too_little_evidence_names_the_rows_that_would_decide(promote) -> None:
    promote("first", some(40, 300))
    _, found, line = promote("second", some(33, 300, seed=5))
    assert found["verdict"] == "inconclusive"
    assert f"about {found['more_rows']:,} more labelled rows would decide" in line
    assert champion() == 1


def test_manual_mode_waits(promote) -> None:
    promote("first", some(60, 300))
    _, found, line = promote("second", some(15, 300), mode="manual")
    assert (found["verdict"], found["moved"], found["waits"]) == ("promote", False, True)
    assert line.endswith("; waits: fineline approve 2 --reason ...\n")
    assert json.loads(tags_of(2)["promotion.waits"])["champion"] == 1
    assert champion() == 1


def test_a_rejected_version_stays_out(promote, run_step, tmp_path, monkeypatch) -> None:
    promote("first", some(60, 300))
    promote("second", some(15, 300), mode="manual")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    ledger.reject(connection.client(), NAME, 2, "rude")
    paths = {name: tmp_path / "second" / name for name in ("bundle", "registration", "splits")}
    _, line, _ = run_step("promote", PARAMS, **paths, promotion=tmp_path / "again")
    assert line == "promote: hold: rejected by ann: rude\n"
    assert champion() == 1


def test_labels_that_changed_are_compared_where_they_are_shared(promote, tmp_path) -> None:
    (tmp_path / "labels.yaml").write_text("card: payment\nlogin: null\n")
    promote("first", some(60, 300))
    labels = ("invoice", "payment", "transfer")
    now = {"card": "payment", "login": "invoice", "transfer": "transfer"}
    answers = {word: now[label] for word, label in answers_of(TEST, some(10, 300)).items()}
    fresh = word_rows(30, ("invoice", "payment"), first=500)
    answers |= answers_of(fresh, labels=("invoice", "payment"))
    _, found, _ = promote(
        "second",
        answers=answers,
        labels=labels,
        test=fresh,
        label_map=str(tmp_path / "labels.yaml"),
        require="superior",
    )
    assert found["rows"] == {"test_set": 330, "seen": 0, "label_not_shared": 115, "compared": 215}  # payment, transfer
    changed = {entry["label"]: (entry["what"], entry["rows"]) for entry in found["labels"]["changed"]}
    assert changed == {"card": ("renamed", 115), "invoice": ("added", 15), "login": ("removed", 100)}
    assert found["verdict"] == "promote"


def test_a_self_test_that_fails_leaves_everything_as_it_was(promote, run_step, tmp_path) -> None:
    promote("first", some(60, 300))
    promote("second", some(15, 300), mode="manual")
    folder = tmp_path / "second"
    content = json.loads((folder / "bundle" / "bundle.json").read_text())
    (folder / "bundle" / "bundle.json").write_text(json.dumps({**content, "golden": [[1.0, 0.0, 0.0]] * 5}))
    made = folders.write_manifest(folder / "bundle", step="quantize", kind="bundle", params={}, inputs={}, figures={})
    registered = json.loads((folder / "registration" / "manifest.json").read_text())
    registered["inputs"]["bundle"] = made.digest
    (folder / "registration" / "manifest.json").write_text(json.dumps(registered))
    paths = {name: folder / name for name in ("bundle", "registration", "splits")}
    code, _, error = run_step("promote", PARAMS, **paths, promotion=tmp_path / "again")
    assert code == 4
    assert "does not pass its self-test" in error
    assert not (tmp_path / "again").exists()
    assert champion() == 1


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"mods": "auto"}, "promote.mods: unknown parameter, did you mean mode?"),
        ({"metrics": "accuracy"}, "promote.metrics"),
        ({"metrics": ["accuracy", "accuracy"]}, "each figure once"),
        ({"metrics": ["bleu"]}, "the task has no bleu"),
        ({"slice_columns": ["country"]}, "the rows have no column country"),
        ({"label_map": "nowhere.yaml"}, "nowhere.yaml cannot be read"),
    ],
)
def test_wrong_parameters(params, words, promote) -> None:
    promote("first", some(60, 300))
    code, _, error = promote("second", some(15, 300), **params)
    assert code == 2
    assert words in error
    assert champion() == 1


def test_inputs_that_do_not_belong_together(promote, run_step, tmp_path) -> None:
    promote("first", some(60, 300))
    promote("second", some(15, 300), mode="manual")
    first, second = tmp_path / "first", tmp_path / "second"
    for paths, words in (
        ({"bundle": first / "bundle"}, "is of another bundle"),
        ({"splits": first / "registration"}, "is a registration, not a splits"),
        ({"bundle": tmp_path / "none"}, "does not exist"),
    ):
        given = {name: second / name for name in ("bundle", "registration", "splits")} | paths
        code, _, error = run_step("promote", PARAMS, **given, promotion=tmp_path / "out")
        assert code == 2
        assert words in error


def test_every_comparison_spends_of_one_budget_and_keeps_its_evidence(promote, tmp_path) -> None:
    promote("first", some(60, 300))
    _, second, _ = promote("second", some(58, 300))
    _, third, _ = promote("third", some(57, 300))
    assert [found["question"]["number"] for found in (second, third)] == [1, 2]
    assert second["question"]["level"] > third["question"]["level"]
    _, forced, _ = promote("better", some(15, 300))
    assert forced["moved"]
    assert forced["corrected"]["gain"] <= forced["comparison"]["figures"]["accuracy"]["gain"]
    server = connection.client()
    lines = [line for line in ledger.read(server, NAME) if line["alias"] == model_versions.CHAMPION]
    assert [line["evidence"]["anchor"] for line in lines] == [1, 4]
    for line in lines:
        there = tmp_path / "evidence" / str(line["number"])
        there.mkdir(parents=True)
        path = server.download_artifacts(
            line["evidence"]["run"], f"{line['evidence']['path']}/promotion.json", str(there)
        )
        assert folders.sha256_file(Path(path)) == line["evidence"]["sha256"]


def test_steps_that_are_only_no_worse_are_measured_from_the_anchor(promote, monkeypatch) -> None:
    """Each loses 2 % of the rows, which its margin allows; the third would lose 6 % against the first, which it does not."""
    alone = {
        "require": "non_inferior",
        "metrics": ["accuracy"],
        "metric_margin": 0.05,
        "label_margin": 1.0,
        "slice_margin": 1.0,
    }
    promote("first", set(), alpha=0.4, **alone)
    verdicts = []
    for number, name in enumerate(["second", "third", "fourth"], start=1):
        _, found, _ = promote(name, set(range(6 * number)), alpha=0.4, **alone)
        verdicts.append(found)
    assert verdicts[0]["moved"]
    last = next(found for found in verdicts if not found["moved"])
    rule = next(rule for rule in last["rules"] if "than the anchor, version 1" in rule["rule"])
    assert rule["state"] != "passed"
    passed = next(rule for rule in last["rules"] if rule["rule"] == "no worse in accuracy")
    assert passed["state"] == "passed"


def test_rows_that_join_later_say_how_good_the_champion_is(promote) -> None:
    promote("first", some(60, 300), test=TEST[:200])
    wrong = set(range(200, 225))
    _, found, _ = promote("second", wrong | some(60, 200), test=TEST[200:])
    assert found["comparison"]["since"] == {
        "rows": 100,
        "accuracy": pytest.approx(0.8, abs=0.1),
        "macro_f1": pytest.approx(0.8, abs=0.1),
    }
