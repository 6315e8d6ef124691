"""data_quality: what is found, what leaves and why, and what is left for the user to read."""

import subprocess
import sys

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.data_quality.params import Params
from fineline.artifacts import folders
from tests.components.conftest import CALM, CARD, with_rows
from tests.conftest import PROJECT, REAL_DATA, files_of, write_dataset


@pytest.fixture(scope="module")
def messy(rows):
    """The tiny rows with one of each defect, two annotators and a channel; ids tell the defect."""
    long = " ".join(["please"] * 140)
    texts = list(rows["text"])
    defects = [
        {"id": "empty", "text": "  "},
        {"id": "short", "text": "x"},
        {"id": "huge", "text": "why " * 2000},
        {"id": "copy", "text": f" {texts[0].upper()}", "label": rows["label"][0]},
        {"id": "conflict_a", "text": "both of these"},
        {"id": "conflict_b", "text": "Both  of these", "label": "transfer"},
        {"id": "near_a", "text": f"{long} sent the wire to the wrong recipient on monday", "label": "transfer"},
        {"id": "near_b", "text": f"{long} sent the wire to the wrong recipients on monday", "label": "transfer"},
        {"id": "mojibake", "text": "the cafÃ© till declined my card"},
        {"id": "lost", "text": "the caf\ufffd machine declined it"},
        {"id": "control", "text": "pin\x00 and chip"},
        {"id": "personal", "text": f"jane.doe@example.org lost {CARD}, call +44 20 7946 0958"},
    ]
    mixed = with_rows(rows, *defects)
    mixed["annotators"] = [[label, label] for label in mixed["label"]]
    return mixed


def test_each_defect_is_found_and_leaves_or_stays(check, messy):
    outcome = check(messy, on_near_duplicates="warn")
    assert outcome.code == 0, outcome.err
    assert outcome.left == {
        "empty": "missing_text",
        "short": "text_length",
        "huge": "text_length",
        "copy": "duplicates",
        "conflict_a": "conflicts",
        "conflict_b": "conflicts",
    }
    found = {name: check["rows"] for name, check in outcome.checks.items() if check["rows"]}
    found.pop("label_errors", None)
    assert found == {
        "mojibake": 1,
        "missing_text": 1,
        "text_length": 2,
        "control_characters": 1,
        "replacement_characters": 1,
        "personal_data": 1,
        "conflicts": 2,
        "duplicates": 1,
        "near_duplicates": 1,
        "truncation": 2,
    }
    assert outcome.checks["near_duplicates"]["details"]["examples"] == [["near_a", "near_b"]]
    assert outcome.checks["control_characters"]["examples"] == ["control"]
    assert outcome.checks["truncation"]["details"]["labels"]["transfer"]["truncated"] == 2
    kept = outcome.clean.set_index("id")["text"]
    assert len(kept) == len(messy) - 6
    assert kept["mojibake"] == "the café till declined my card"
    assert CARD in kept["personal"]
    assert f"{len(kept)} of {len(messy)} rows stay, 6 in quarantine" in outcome.out


def test_files_schema_and_manifests(check, messy):
    outcome = check(messy, **CALM)
    assert files_of(outcome.clean_folder) == {"data.parquet", "manifest.json", "run.json"}
    assert files_of(outcome.quality_folder) == {
        "quality.json",
        "quarantine.parquet",
        "suite.json",
        "validation.json",
        "report.html",
        "manifest.json",
        "run.json",
    }
    source = outcome.clean_folder.parent / "dataset"
    schema = pq.read_schema(source / "data.parquet")
    assert pq.read_schema(outcome.clean_folder / "data.parquet") == schema
    quarantine = pq.read_schema(outcome.quality_folder / "quarantine.parquet")
    assert quarantine == schema.append(pa.field("reason", pa.string()))
    clean, quality = folders.verify(outcome.clean_folder), folders.verify(outcome.quality_folder)
    assert (clean.kind, quality.kind, clean.task) == ("dataset", "quality", "single_label")
    assert clean.inputs == quality.inputs == {"dataset": folders.read_manifest(source).digest}
    assert clean.figures["rows_in"] == len(messy)
    assert clean.figures["rows"] == len(outcome.clean)
    assert clean.figures["quarantined"] == 6
    assert "model" not in clean.params


def test_same_input_same_bytes(check, messy):
    first, second = check(messy, "first"), check(messy, "second")
    for name in ("clean_folder", "quality_folder"):
        a, b = getattr(first, name), getattr(second, name)
        assert (a / "manifest.json").read_bytes() == (b / "manifest.json").read_bytes()
    assert first.report == second.report


def test_every_severity_parameter_belongs_to_a_check(check, messy, tmp_path):
    own = tmp_path / "suite.json"
    own.write_text('{"expectations": [{"type": "expect_column_to_exist", "kwargs": {"column": "text"}}]}')
    named = {name.removeprefix("on_") for name in Params.model_fields if name.startswith("on_")}
    rows = messy.assign(split=["test" if number % 5 == 0 else None for number in range(len(messy))])
    all_on = check(rows, "on", labels=["card", "login", "transfer"], suite=str(own))
    assert {name.split(":")[0] for name in all_on.checks} == named | {"classes"}
    all_off = check(rows, "off", suite=str(own), **{f"on_{name}": "ignore" for name in named})
    assert set(all_off.checks) == {"classes"}
    assert len(all_off.clean) == len(rows)
    pd.testing.assert_series_equal(all_off.clean["text"], rows["text"])


def test_report_is_one_file_without_network_or_personal_data(check, messy):
    report = check(messy).report
    assert report.count("<svg") >= 4
    for forbidden in ("<script", "<link", "src=", "@import", "url(http", CARD, "jane.doe@example.org", "7946 0958"):
        assert forbidden not in report
    for title in ("Checks", "What left, and why", "Rows per label", "Text length", "Texts cut off, per label"):
        assert f"<h2>{title}</h2>" in report
    for title in ("One text, several labels", "Repeated texts", "Near-duplicates", "Annotator agreement"):
        assert f"<h2>{title}</h2>" in report


@pytest.mark.parametrize(
    ("defect", "name", "params"),
    [
        ({"text": ""}, "missing_text", {}),
        ({"text": "y"}, "text_length", {}),
        ({"text": "please wait " * 30}, "text_length", {"max_characters": 300}),
        ({"label": "crad", "text": "pin of the till"}, "unknown_label", {"labels": ["card", "transfer", "login"]}),
        ({"text": "chip\x07 machine"}, "control_characters", {}),
        ({"text": "chip \ufffd machine"}, "replacement_characters", {}),
        ({"text": "chip Ã© machine"}, "mojibake", {}),
        ({"text": f"chip {CARD}"}, "personal_data", {}),
        ({}, "duplicates", {}),
        ({"label": "transfer"}, "conflicts", {}),
        ({"text": "please " * 40}, "truncation", {"max_length": 30, "max_truncated_share": 0}),
        ({"label": "fraud", "text": "wire of a stranger"}, "rare_label", {"min_label_share": 0.01}),
        ({"annotators": ["card", "login"], "text": "app of my card"}, "disagreement", {"min_agreement": 1}),
    ],
)
@pytest.mark.parametrize("severity", ["quarantine", "reject"])
def test_severities(check, rows, defect, name, params, severity):
    if "annotators" in defect:
        rows = rows.assign(annotators=[[label, label] for label in rows["label"]])
    outcome = check(with_rows(rows, defect), **{**CALM, **params, f"on_{name}": severity})
    assert not outcome.checks[name]["passed"]
    if severity == "reject":
        assert outcome.code == 3
        assert not outcome.wrote_clean
        assert name in outcome.err
        assert str(outcome.quality_folder / "report.html") in outcome.err
        assert "Traceback" not in outcome.err
        assert "Rejected: " in outcome.report
        return
    assert outcome.code == 0, outcome.err
    expected = {"extra0": name, "r0": name} if name == "conflicts" else {"extra0": name}
    assert outcome.left == expected
    assert len(outcome.clean) == len(rows) + 1 - len(expected)


def test_what_carries_meaning_makes_no_copy_and_no_conflict_unless_folded(check, rows):
    alike = [
        "we use C++",
        "we use C#",
        "it costs 5 %",
        "it costs $5",
        "fine 😀",
        "fine 😡",
        "😀",
        "😡",
        "ปู",
        "ปี",
        "??",
        "!",
    ]
    more = [{"id": f"m{number}", "text": text, "label": "card"} for number, text in enumerate(alike)]
    calm = {**CALM, "min_characters": 1}
    assert check(with_rows(rows, *more), **calm).left == {}
    more[1]["label"] = more[3]["label"] = "login"
    assert check(with_rows(rows, *more), "two", **calm).left == {}
    folded = check(with_rows(rows, *more), "folded", fold=["punctuation", "symbols"], **calm)
    conflicts = dict.fromkeys(("m0", "m1", "m2", "m3"), "conflicts")
    assert folded.left == {**conflicts, "m5": "duplicates"}


def test_warnings_take_nothing_out(check, messy):
    severities = {name: "warn" for name in Params.model_fields if name.startswith("on_")}
    outcome = check(messy, min_rows=1000, max_imbalance=1, **severities)
    assert outcome.code == 0, outcome.err
    assert outcome.left == {}
    warned = {name for name, found in outcome.checks.items() if found["outcome"] == "warning"}
    assert warned >= {"missing_text", "mojibake", "duplicates", "conflicts", "few_rows", "imbalance", "near_duplicates"}
    pd.testing.assert_series_equal(outcome.clean["text"], messy["text"])


def test_a_kept_column_called_reason_stays(check, rows):
    rows = rows.assign(reason=[f"because {number}" for number in range(len(rows))])
    outcome = check(with_rows(rows, {"text": "  ", "reason": "mine"}), **CALM)
    assert outcome.code == 0, outcome.err
    left = pd.read_parquet(outcome.quality_folder / "quarantine.parquet")
    assert left[["reason", "quarantine_reason"]].values.tolist() == [["mine", "missing_text"]]
    assert list(outcome.clean["reason"]) == list(rows["reason"])
    both = rows.assign(quarantine_reason="theirs")
    outcome = check(with_rows(both, {"text": "  ", "reason": "mine"}), name="both", **CALM)
    assert outcome.code == 0, outcome.err
    left = pd.read_parquet(outcome.quality_folder / "quarantine.parquet")
    assert left.iloc[0, -3:].tolist() == ["mine", "theirs", "missing_text"]


def test_repeated_ids_reject(check, rows):
    outcome = check(with_rows(rows, {"id": "r3", "text": "till of the card"}))
    assert outcome.code == 3
    assert "repeated_id (2, bound 0" in outcome.err
    assert outcome.checks["repeated_id"]["examples"] == ["r3", "r3"]


def test_all_rejecting_checks_are_named(check, rows):
    outcome = check(rows[:6], on_imbalance="reject", labels=["card", "login"])
    assert outcome.code == 3
    assert "rejected by 2 checks: unknown_label" in outcome.err
    assert "few_rows (6, bound 50" in outcome.err


def test_no_row_left(check, rows):
    outcome = check(rows, min_characters=4000)
    assert outcome.code == 3
    assert "rows_left" in outcome.err
    assert len(outcome.left) == len(rows)


def test_absent_texts_leave_whole(check, rows, tmp_path):
    """A Parquet file of another maker may hold nulls."""
    folder = write_dataset(tmp_path / "dataset", rows, "ingest")
    table = pa.Table.from_pandas(
        with_rows(rows, {"text": None}, {"label": None, "text": "wire of mine"}), preserve_index=False
    )
    pq.write_table(table, folder / "data.parquet")
    folders.write_manifest(folder, step="ingest", kind="dataset", params={}, inputs={}, figures={}, task="single_label")
    outcome = check(folder, **CALM)
    assert outcome.left == {"extra0": "missing_text", "extra1": "missing_label"}


def test_rows_of_the_test_split_stay(check, rows):
    """A copy between training and test costs the training row; what is within the test split is only counted."""
    texts = list(rows["text"])
    rows = rows.assign(split=["test" if number >= 120 else None for number in range(len(rows))])
    plus = with_rows(
        rows,
        {"id": "train_copy_of_test", "text": texts[130].upper(), "label": rows["label"][130]},
        {"id": "test_copy_of_train", "text": texts[5].upper(), "label": rows["label"][5], "split": "test"},
        {"id": "test_copy_of_test", "text": texts[140].title(), "label": rows["label"][140], "split": "test"},
        {"id": "train_against_test", "text": texts[121], "label": "card" if rows["label"][121] != "card" else "login"},
        {"id": "test_near_train", "text": f"{texts[7]} {texts[8]}", "label": rows["label"][7], "split": "test"},
        {"id": "train_near_test", "text": f"{texts[7]} {texts[8]} of", "label": rows["label"][7]},
    )
    outcome = check(plus, on_near_duplicates="quarantine", on_label_errors="quarantine", near_duplicate_threshold=0.9)
    assert outcome.code == 0, outcome.err
    assert set(outcome.clean["id"]) >= set(plus["id"][plus["split"] == "test"])
    assert {name: outcome.left.get(name) for name in ("train_copy_of_test", "r5", "train_against_test")} == {
        "train_copy_of_test": "duplicates",
        "r5": "duplicates",
        "train_against_test": "conflicts",
    }
    assert outcome.left["train_near_test"] == "near_duplicates"
    details = outcome.checks["duplicates"]["details"]
    assert (details["between_training_and_test"], details["within_test"]) == (2, 1)
    assert outcome.checks["near_duplicates"]["details"]["pairs_between_training_and_test"] == 1


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"min_characters": 9, "max_characters": 5}, "min_characters (9) is above max_characters (5)"),
        ({"labels": ["card"]}, "give at least 2 labels"),
        ({"patterns": [{"name": "x", "pattern": "("}]}, "not a regular expression"),
        ({"patterns": [{"name": "x", "pattern": "a"}, {"name": "x", "pattern": "b"}]}, "the same name"),
        ({"patterns": [{"name": "x", "pattern": "a", "must": True}]}, "unknown parameter"),
        ({"on_conflicts": "delete"}, "on_conflicts = 'delete'"),
        ({"on_duplicate": "warn", "max_length": 3, "min_agreement": 2}, "3 parameters are wrong"),
        ({"model": "bundled:nothing"}, "no bundled model 'nothing'"),
        ({"model": "./nowhere"}, "does not exist"),
    ],
)
def test_wrong_parameters(check, rows, params, words):
    outcome = check(rows, **params)
    assert outcome.code == 2
    assert words in outcome.err
    assert "Traceback" not in outcome.err
    assert not outcome.wrote_clean


def test_wrong_dataset(check, rows, tmp_path):
    outcome = check(tmp_path / "nothing")
    assert outcome.code == 2
    assert "does not exist" in outcome.err
    folder = write_dataset(tmp_path / "changed", rows, "ingest")
    content = bytearray((folder / "data.parquet").read_bytes())
    content[100] ^= 1
    (folder / "data.parquet").write_bytes(content)
    outcome = check(folder, "second")
    assert outcome.code == 2
    assert "was changed after it was made" in outcome.err


def test_numbers_as_kubeflow_gives_them(check, rows):
    assert check(rows, max_length=128.0, min_rows=50.0, seed=13.0, label_folds=5.0, **CALM).code == 0


def test_runs_without_torch(rows, tmp_path):
    folder = write_dataset(tmp_path / "dataset", rows, "ingest")
    flags = [
        "--dataset",
        str(folder),
        "--clean",
        str(tmp_path / "c"),
        "--quality",
        str(tmp_path / "q"),
        "--params",
        "{}",
    ]
    script = (
        "import sys\n"
        "from components.data_quality.__main__ import STEP\n"
        "from fineline.steps.command_line import main\n"
        "heavy = {'torch', 'pandas', 'great_expectations', 'sklearn', 'pydantic'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        f"code = main(STEP, {flags!r})\n"
        "assert code == 0, code\n"
        "assert 'great_expectations' in sys.modules and 'cleanlab' in sys.modules\n"
        "assert not {'torch', 'transformers', 'mlflow'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "150 of 150 rows stay" in done.stdout


@pytest.mark.real_data
def test_sms_spam(check, tmp_path):
    source = REAL_DATA / "sms_spam" / "all.csv"
    if not source.is_file():
        pytest.skip(f"{source} is absent")
    rows = pd.read_csv(source, dtype=str, keep_default_na=False)
    rows.insert(0, "id", [f"r{number}" for number in range(len(rows))])
    outcome = check(rows)
    assert outcome.code == 0, outcome.err
    assert outcome.checks["duplicates"]["left"] == 416  # 27 more are not the same but for case and spacing
    assert outcome.checks["mojibake"]["details"]["repaired"] == 35
    assert outcome.checks["label_errors"]["details"]["classifier_accuracy"] > 0.97
    assert len(outcome.clean) == 5158
