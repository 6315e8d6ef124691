"""register: pairs, gate, the registered model as others load it, one version however often and from however many."""

import importlib.metadata
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from components.register import lineage
from components.register.logged_model import log_bundle
from fineline.artifacts import folders
from fineline.bundles.bundle import open_bundle, predict
from fineline.registry import ledger, model_versions, training_rows
from fineline.rows.dataset import read_rows, read_splits, write_rows
from fineline.tracking import connection
from fineline.tracking.journal import Journal
from tests.conftest import files_of, make_rows, write_splits
from tests.registering import PARAMS, RULE, copy_bundle, registration_of, versions, write_report

TEXTS = ["my card was declined", "wire transfer pending", ""]
LOAD_WITHOUT_TORCH = """
import importlib.abc, json, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers"):
            raise ImportError(f"{name} is not to be imported")

sys.meta_path.insert(0, Refuse())
import mlflow
model = mlflow.pyfunc.load_model(sys.argv[1])
import fineline
answers = [answer.model_dump() for answer in model.predict(json.loads(sys.argv[2]))]
print(json.dumps({"answers": answers, "fineline": fineline.__file__}))
"""


@pytest.fixture(autouse=True)
def store(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)  # MLflow keeps the files of a sqlite store in mlruns/ here
    monkeypatch.setenv("FINELINE_GIT_COMMIT", "c0ffee-dirty")
    monkeypatch.delenv("FINELINE_IMAGE", raising=False)


@pytest.fixture
def report(tmp_path: Path, bundle: Path) -> Path:
    return write_report(tmp_path / "report", bundle)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "registration"


def moves() -> list[dict]:
    return ledger.read(connection.client(), "tiny")


def training_rows_of(run_id: str) -> Path:
    return Path(connection.client().download_artifacts(run_id, training_rows.FILE))


def test_one_version_with_its_lineage(bundle, report, splits, out, run_step, monkeypatch) -> None:
    monkeypatch.setenv("FINELINE_IMAGE", "registry/register@sha256:1")
    code, stdout, stderr = run_step("register", PARAMS, bundle=bundle, report=report, splits=splits, registration=out)
    assert (code, stderr) == (0, "")
    assert stdout == "register: models:/tiny/1 (challenger); gate passed 1 rule\n"
    assert files_of(out) == {"registration.json", "manifest.json", "run.json", "events.jsonl"}
    found = registration_of(out)
    run_id = found.pop("run_id")
    assert found == {
        "registered": True,
        "name": "tiny",
        "version": 1,
        "aliases": ["challenger"],
        "uri": "models:/tiny/1",
        "gate": "passed 1 rule",
    }
    assert folders.read_run_id(out) == run_id
    made, ancestors = folders.read_manifest(bundle), {}
    for entry in made.ancestors:
        ancestors[entry["step"]] = entry
    tags = versions()[1]
    evidence = json.loads(tags.pop("evidence"))
    assert evidence == {
        "report": folders.read_manifest(report).digest,
        "gate": "passed 1 rule",
        "rules": [RULE],
        "figures": {"macro_f1": {"value": 0.9, "low": 0.88, "high": 0.92}},
    }
    assert tags == {
        "bundle_sha256": made.digest.removeprefix("sha256:"),
        "data_digest": "unknown",  # the fixture's splits were made from nothing
        "data_revision": "unknown",
        "splits_digest": ancestors["train"]["inputs"]["splits"],
        "git_commit": "c0ffee",
        "git_dirty": "true",
        "image": "registry/register@sha256:1",
        "task": "single_label",
        "base_model": "tiny",
        "fineline_version": importlib.metadata.version("fineline"),
        "gate": "passed",
        "training_rows": folders.sha256_file(training_rows_of(run_id)),
    }
    (move,) = moves()
    assert (move["alias"], move["from"], move["to"], move["verdict"]) == ("challenger", None, 1, "registered")
    assert move["evidence"] == {"run": run_id, "report": evidence["report"], "gate": "passed 1 rule"}
    version = connection.client().get_model_version("tiny", "1")
    assert (version.run_id, version.description) == (run_id, "gate passed 1 rule")


def test_it_keeps_which_rows_the_model_has_seen(bundle, report, splits, out, run_step, rows) -> None:
    run_step("register", PARAMS, bundle=bundle, report=report, splits=splits, registration=out)
    kept = read_rows(training_rows_of(registration_of(out)["run_id"]))
    parts = read_splits(splits)
    assert kept.columns.tolist() == ["id", "text_sha256", "split"]  # no texts
    for name in ("train", "validation"):
        assert kept["id"][kept["split"] == name].tolist() == parts[name]["id"].tolist()
    shouted = ["  " + text.upper() for text in parts["train"]["text"]]
    assert kept["text_sha256"][kept["split"] == "train"].tolist() == training_rows.text_hashes(shouted)
    assert not set(training_rows.text_hashes(parts["test"]["text"].tolist())) & set(kept["text_sha256"])


def test_an_augmented_row_stands_for_its_parent_too(bundle, splits, tmp_path) -> None:
    parts = read_splits(splits)
    grown = parts["train"].assign(parent_id=None)
    grown.loc[len(grown)] = {**grown.loc[0], "id": "new", "text": "changed", "parent_id": "of-another-split"}
    folder = tmp_path / "augmented"
    folder.mkdir()
    for name, part in {**parts, "train": grown}.items():
        write_rows(part, folder / f"{name}.parquet")
    journal = Journal(tmp_path / "events.jsonl")
    journal.run("train", {}, {}, [])
    run_id = journal.close()
    training_rows.write(connection.client(), "tiny", run_id, folder)
    assert {"new", "of-another-split"} <= set(read_rows(training_rows_of(run_id))["id"])


def test_who_goes_on_from_a_version_has_seen_what_it_had_seen(bundle, report, splits, out, run_step, tmp_path) -> None:
    run_step("register", PARAMS, bundle=bundle, report=report, splits=splits, registration=out)
    journal = Journal(tmp_path / "second.jsonl")
    journal.run("train", {}, {"fineline.init_from": "models:/tiny/1"}, [])
    run_id = journal.close()
    others = write_splits(tmp_path / "others", make_rows(60, seed=1).assign(id=lambda rows: "new " + rows["id"]))
    training_rows.write(connection.client(), "tiny", run_id, others)
    seen = set(read_rows(training_rows_of(run_id))["id"])
    for folder in (splits, others):
        assert set(read_splits(folder)["train"]["id"]) <= seen


def test_loads_without_torch_and_answers_the_same(bundle, report, splits, out, run_step, tmp_path) -> None:
    assert run_step("register", PARAMS, bundle=bundle, report=report, splits=splits, registration=out)[0] == 0
    command = [sys.executable, "-c", LOAD_WITHOUT_TORCH, "models:/tiny@challenger", json.dumps(TEXTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["answers"] == predict(open_bundle(bundle), TEXTS)
    assert "/mlruns/" in found["fineline"]  # the code that was logged, not the code that lies here

    import mlflow

    folder = Path(mlflow.artifacts.download_artifacts("models:/tiny/1", tracking_uri=connection.tracking_uri()))
    assert files_of(folder / "artifacts") == {
        f"bundle/{name}" for name in ("bundle.json", "manifest.json", "model.onnx", "tokenizer.json")
    } | {f"bundle/{name}" for name in folders.read_manifest(bundle).files}
    requirements = dict(line.split("==") for line in (folder / "requirements.txt").read_text().split())
    names = ("mlflow", "numpy", "onnxruntime", "pydantic", "tokenizers")
    assert requirements == {name: importlib.metadata.version(name) for name in names}
    signature = mlflow.models.get_model_info("models:/tiny/1").signature.to_dict()
    assert json.loads(signature["inputs"]) == [{"type": "string", "required": True}]
    (output,) = json.loads(signature["outputs"])
    assert set(output["properties"]) == {"label", "score", "probabilities"}


def test_the_same_bundle_again_is_the_same_version(bundle, report, splits, out, run_step) -> None:
    first = run_step("register", PARAMS, bundle=bundle, report=report, splits=splits, registration=out)
    before = registration_of(out), folders.read_manifest(out).digest
    again = run_step("register", PARAMS, bundle=bundle, report=report, splits=splits, registration=out)
    assert first == again
    assert (registration_of(out), folders.read_manifest(out).digest) == before
    assert list(versions()) == [1]
    assert len(moves()) == 1


def test_the_next_becomes_challenger(bundle, report, splits, out, run_step, tmp_path) -> None:
    run_step("register", PARAMS, bundle=bundle, report=report, splits=splits, registration=out)
    other = copy_bundle(bundle, tmp_path / "other", note="other")
    judged = write_report(tmp_path / "judged", other)
    code, stdout, _ = run_step(
        "register", PARAMS, bundle=other, report=judged, splits=splits, registration=tmp_path / "second"
    )
    assert (code, stdout) == (0, "register: models:/tiny/2 (challenger); gate passed 1 rule\n")
    assert ledger.aliases(connection.client(), "tiny") == {"challenger": 2}
    assert (moves()[-1]["from"], moves()[-1]["to"]) == (1, 2)


def test_a_gate_that_said_no(bundle, splits, out, run_step, tmp_path) -> None:
    refused = write_report(tmp_path / "refused", bundle, passed=False)
    code, stdout, stderr = run_step("register", PARAMS, bundle=bundle, report=refused, splits=splits, registration=out)
    assert (code, stderr) == (0, "")
    assert stdout == "register: nothing registered; gate failed 1 of 1 rules: min_metric\n"
    assert files_of(out) == {"registration.json", "manifest.json", "run.json"}
    assert registration_of(out) == {
        "registered": False,
        "why": "gate failed 1 of 1 rules: min_metric",
        "gate": "failed 1 of 1 rules: min_metric",
    }
    assert versions() == {}

    stop = {**PARAMS, "on_gate_failure": "stop"}
    code, stdout, stderr = run_step(
        "register", stop, bundle=bundle, report=refused, splits=splits, registration=tmp_path / "stopped"
    )
    assert (code, stdout) == (5, "")
    assert "gate failed 1 of 1 rules: min_metric" in stderr
    assert not (tmp_path / "stopped").exists()


def test_goes_on_with_the_run_and_sends_what_is_pending(bundle, splits, out, run_step, tmp_path) -> None:
    journal = Journal(tmp_path / "events.jsonl")
    journal.run("train", {"epochs": 1}, {}, [])
    run_id = journal.close("FINISHED")
    Journal(tmp_path / "events.jsonl").metrics({"test.shipped.macro_f1": 0.9})
    before = connection.client().get_run(run_id).info
    judged = write_report(tmp_path / "judged", bundle, journal=tmp_path / "events.jsonl")
    assert run_step("register", PARAMS, bundle=bundle, report=judged, splits=splits, registration=out)[0] == 0
    assert registration_of(out)["run_id"] == run_id
    run = connection.client().get_run(run_id)
    assert run.data.metrics == {"test.shipped.macro_f1": 0.9}
    assert (run.info.status, run.info.end_time) == ("FINISHED", before.end_time)
    (output,) = run.outputs.model_outputs
    logged = connection.client().get_logged_model(output.model_id)
    assert (logged.experiment_id, logged.status, logged.params) == (run.info.experiment_id, "READY", {"epochs": "1"})
    assert connection.client().search_logged_models(["0"]) == []  # MLflow's experiment Default


def test_replays_the_journal_where_the_run_is_not_known(bundle, splits, out, run_step, tmp_path, empty_store) -> None:
    journal = Journal(tmp_path / "events.jsonl")
    journal.run("train", {"epochs": 1}, {}, [])
    journal.metrics({"loss": 0.5})
    elsewhere = journal.close("FINISHED")
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")  # the store was lost
    judged = write_report(tmp_path / "judged", bundle, journal=tmp_path / "events.jsonl")
    assert run_step("register", PARAMS, bundle=bundle, report=judged, splits=splits, registration=out)[0] == 0
    run = connection.client().get_run(registration_of(out)["run_id"])
    assert run.info.run_id != elsewhere
    assert (run.info.status, run.data.params, run.data.metrics) == ("FINISHED", {"epochs": "1"}, {"loss": 0.5})


@pytest.mark.slow
def test_two_at_once_end_with_one_version(bundle, report, splits, tmp_path) -> None:
    outs = [tmp_path / "a", tmp_path / "b"]
    given = f"-m components.register --bundle {bundle} --report {report} --splits {splits} --registration".split()
    started = [
        subprocess.Popen(
            [sys.executable, *given, str(folder), "--params", json.dumps(PARAMS)], stderr=subprocess.PIPE, text=True
        )
        for folder in outs
    ]
    errors = [process.communicate(timeout=300)[1] for process in started]
    assert [(process.returncode, error) for process, error in zip(started, errors, strict=True)] == [(0, "")] * 2
    assert list(versions()) == [1]
    assert {registration_of(folder)["version"] for folder in outs} == {1}
    assert ledger.aliases(connection.client(), "tiny") == {"challenger": 1}


def test_who_created_second_takes_the_first(bundle, report, splits, out, run_step) -> None:
    """Both looked, found none, and created: the order of events that two processes at once can have."""
    assert run_step("register", PARAMS, bundle=bundle, report=report, splits=splits, registration=out)[0] == 0
    server = connection.client()
    first = server.get_model_version("tiny", "1")
    kept = model_versions.create_version(
        server,
        "tiny",
        source=first.source,
        model_id="",
        run_id=first.run_id,
        tags=first.tags,
        description=first.description,
    )
    assert (kept, list(versions())) == (1, [1])
    assert server.get_logged_model(first.source.removeprefix("models:/"))


def test_a_second_version_goes_with_the_model_that_was_logged_for_it(bundle, report, splits, out, run_step) -> None:
    """As after the race above, where each process has logged the bundle for itself."""
    assert run_step("register", PARAMS, bundle=bundle, report=report, splits=splits, registration=out)[0] == 0
    server = connection.client()
    first = server.get_model_version("tiny", "1")
    source, model_id = log_bundle(server, bundle, folders.read_manifest(bundle), first.run_id)
    described = {"run_id": first.run_id, "tags": first.tags, "description": first.description}
    assert model_versions.create_version(server, "tiny", source=source, model_id=model_id, **described) == 1
    left = server.search_logged_models([server.get_run(first.run_id).info.experiment_id])
    archive, model = sorted(left, key=lambda model: model.name)
    assert (archive.name, f"models:/{model.model_id}") == ("ledger", first.source)


def test_a_server_that_fails_half_way_leaves_nothing_and_running_again_works(
    bundle, report, splits, out, run_step, monkeypatch
) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def fail(*_arguments: object, **_named: object) -> None:
        raise MlflowException("connection reset by peer")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_model_version", fail)
        code, _, stderr = run_step("register", PARAMS, bundle=bundle, report=report, splits=splits, registration=out)
    assert code == 4
    assert "does not answer (connection reset by peer)" in stderr
    assert versions() == {}
    assert not out.exists()
    assert run_step("register", PARAMS, bundle=bundle, report=report, splits=splits, registration=out)[0] == 0
    assert list(versions()) == [1]


def test_lineage_from_the_source_on(tmp_path) -> None:
    pinned, dataset, model, made = (tmp_path / name for name in ("source_version", "dataset", "model", "made"))
    sources = {"source": {"version": "commit:beef", "files": 2}, "test_source": {"version": "sha256:f00", "files": 1}}
    chain = [
        (pinned, "pin", "source_version", {}, {}, sources),
        (dataset, "ingest", "dataset", {}, {"source_version": pinned}, {}),
        (tmp_path / "splits", "split", "splits", {}, {"dataset": dataset}, {}),
        (model, "train", "model", {"model": "owner/name", "revision": "f00d"}, {"splits": tmp_path / "splits"}, {}),
        (made, "quantize", "bundle", {}, {"model": model}, {}),
    ]
    digests = {}
    for folder, step, kind, params, inputs, figures in chain:
        folder.mkdir()
        (folder / "file").write_text(step)
        written = folders.write_manifest(
            folder, step=step, kind=kind, params=params, inputs=inputs, figures=figures, task="single_label"
        )
        digests[kind] = written.digest
    tags = lineage.version_tags(written, {}, passed=True)
    assert tags["data_digest"] == digests["dataset"]
    assert tags["data_revision"] == "commit:beef, sha256:f00"
    assert tags["splits_digest"] == digests["splits"]
    assert tags["base_model"] == "owner/name@f00d"
