"""register: pairs, gate, the registered model as others load it, one version however often and from however many."""

import importlib.metadata
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.register import lineage, registry
from fineline import artifacts, tracking
from fineline.artifacts import EVENTS
from fineline.bundle import CONFIG, open_bundle, predict
from fineline.tracking import Journal
from tests.conftest import files_of

PARAMS = {"name": "tiny"}
TEXTS = ["my card was declined", "wire transfer pending", ""]
RULE = {"rule": "min_metric", "figure": 0.9, "bound": 0.8, "passed": True}
METRICS = {
    "gate": 1,
    "shipped": {"macro_f1": 0.9, "log_loss": 0.3},
    "interval": {"shipped": {"macro_f1": {"low": 0.88, "high": 0.92}}, "trained": {}},
}

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


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tracking store with its tables: MLflow takes seconds to make them."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
        patch.chdir(path.parent)
        tracking.client().search_experiments()
    return path


@pytest.fixture(autouse=True)
def store(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)  # MLflow keeps the files of a sqlite store in mlruns/ here
    monkeypatch.setenv("FINELINE_GIT_COMMIT", "c0ffee-dirty")
    monkeypatch.delenv("FINELINE_IMAGE", raising=False)


def write_report(folder: Path, bundle: Path, passed: bool = True, journal: Path | None = None) -> Path:
    """A report on `bundle`, as evaluate leaves it, with one rule."""
    folder.mkdir(parents=True)
    summary = "passed 1 rule" if passed else "failed 1 of 1 rules: min_metric"
    gate = {"passed": passed, "rules": [{**RULE, "passed": passed, "meaning": "at least"}], "summary": summary}
    artifacts.write_json(folder / "gate.json", gate)
    artifacts.write_json(folder / "metrics.json", METRICS)
    if journal:
        shutil.copyfile(journal, folder / EVENTS)
    artifacts.write_manifest(
        folder, step="evaluate", kind="report", params={}, inputs={"bundle": bundle}, figures={"shipped.macro_f1": 0.9}
    )
    return folder


def copy_bundle(bundle: Path, folder: Path, **config: object) -> Path:
    """Another bundle: `bundle` with other values in bundle.json."""
    folder.mkdir(parents=True)
    for name in ("model.onnx", "tokenizer.json"):
        shutil.copyfile(bundle / name, folder / name)
    artifacts.write_json(folder / CONFIG, {**json.loads((bundle / CONFIG).read_text()), **config})
    artifacts.write_manifest(
        folder, step="quantize", kind="bundle", params={}, inputs={}, figures={}, task="single_label"
    )
    return folder


@pytest.fixture
def report(tmp_path: Path, bundle: Path) -> Path:
    return write_report(tmp_path / "report", bundle)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "registration"


def registration_of(folder: Path) -> dict:
    return json.loads((folder / "registration.json").read_text())


def versions(name: str = "tiny") -> dict[int, dict[str, str]]:
    """version -> tags of all versions in the registry."""
    return {int(v.version): v.tags for v in tracking.client().search_model_versions(f"name='{name}'")}


def ledger(name: str = "tiny") -> list[dict]:
    tags = tracking.client().get_registered_model(name).tags
    return [json.loads(tags[key]) for key in sorted(tags) if key.startswith("ledger.")]


def test_one_version_with_its_lineage(bundle, report, out, run_step, monkeypatch) -> None:
    monkeypatch.setenv("FINELINE_IMAGE", "registry/register@sha256:1")
    code, stdout, stderr = run_step("register", PARAMS, bundle=bundle, report=report, registration=out)
    assert (code, stderr) == (0, "")
    assert stdout == "register: models:/tiny/1 (challenger, champion); gate passed 1 rule\n"
    assert files_of(out) == {"registration.json", "manifest.json", "run.json", "events.jsonl"}
    found = registration_of(out)
    run_id = found.pop("run_id")
    assert found == {
        "registered": True,
        "name": "tiny",
        "version": 1,
        "aliases": ["challenger", "champion"],
        "uri": "models:/tiny/1",
        "gate": "passed 1 rule",
    }
    assert artifacts.read_run_id(out) == run_id
    made, ancestors = artifacts.read_manifest(bundle), {}
    for entry in made.ancestors:
        ancestors[entry["step"]] = entry
    tags = versions()[1]
    evidence = json.loads(tags.pop("evidence"))
    assert evidence == {
        "report": artifacts.read_manifest(report).digest,
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
    }
    moves = [(line["alias"], line["from"], line["to"], line["evidence"]) for line in ledger()]
    assert moves == [("challenger", None, 1, evidence), ("champion", None, 1, evidence)]
    version = tracking.client().get_model_version("tiny", "1")
    assert (version.run_id, version.description) == (run_id, "gate passed 1 rule")


def test_loads_without_torch_and_answers_the_same(bundle, report, out, run_step, tmp_path) -> None:
    assert run_step("register", PARAMS, bundle=bundle, report=report, registration=out)[0] == 0
    command = [sys.executable, "-c", LOAD_WITHOUT_TORCH, "models:/tiny@champion", json.dumps(TEXTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["answers"] == predict(open_bundle(bundle), TEXTS)
    assert "/mlruns/" in found["fineline"]  # the code that was logged, not the code that lies here

    import mlflow

    folder = Path(mlflow.artifacts.download_artifacts("models:/tiny/1", tracking_uri=tracking.tracking_uri()))
    assert files_of(folder / "artifacts") == {
        f"bundle/{name}" for name in ("bundle.json", "manifest.json", "model.onnx", "tokenizer.json")
    } | {f"bundle/{name}" for name in artifacts.read_manifest(bundle).files}
    requirements = dict(line.split("==") for line in (folder / "requirements.txt").read_text().split())
    names = ("mlflow", "numpy", "onnxruntime", "pydantic", "tokenizers")
    assert requirements == {name: importlib.metadata.version(name) for name in names}
    signature = mlflow.models.get_model_info("models:/tiny/1").signature.to_dict()
    assert json.loads(signature["inputs"]) == [{"type": "string", "required": True}]
    (output,) = json.loads(signature["outputs"])
    assert set(output["properties"]) == {"label", "score", "probabilities"}


def test_the_same_bundle_again_is_the_same_version(bundle, report, out, run_step) -> None:
    first = run_step("register", PARAMS, bundle=bundle, report=report, registration=out)
    before = registration_of(out), artifacts.read_manifest(out).digest
    again = run_step("register", PARAMS, bundle=bundle, report=report, registration=out)
    assert first == again
    assert (registration_of(out), artifacts.read_manifest(out).digest) == before
    assert list(versions()) == [1]
    assert len(ledger()) == 2


def test_a_better_one_becomes_challenger_only(bundle, report, out, run_step, tmp_path) -> None:
    run_step("register", PARAMS, bundle=bundle, report=report, registration=out)
    other = copy_bundle(bundle, tmp_path / "other", note="other")
    judged = write_report(tmp_path / "judged", other)
    code, stdout, _ = run_step("register", PARAMS, bundle=other, report=judged, registration=tmp_path / "second")
    assert (code, stdout) == (0, "register: models:/tiny/2 (challenger); gate passed 1 rule\n")
    assert registry.aliases(tracking.client(), "tiny") == {"champion": 1, "challenger": 2}
    assert (ledger()[-1]["from"], ledger()[-1]["to"]) == (1, 2)


def test_a_gate_that_said_no(bundle, out, run_step, tmp_path) -> None:
    refused = write_report(tmp_path / "refused", bundle, passed=False)
    code, stdout, stderr = run_step("register", PARAMS, bundle=bundle, report=refused, registration=out)
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
    code, stdout, stderr = run_step("register", stop, bundle=bundle, report=refused, registration=tmp_path / "stopped")
    assert (code, stdout) == (5, "")
    assert "gate failed 1 of 1 rules: min_metric" in stderr
    assert not (tmp_path / "stopped").exists()


def test_goes_on_with_the_run_and_sends_what_is_pending(bundle, out, run_step, tmp_path) -> None:
    journal = Journal(tmp_path / "events.jsonl")
    journal.run("train", {"epochs": 1}, {}, [])
    run_id = journal.close("FINISHED")
    Journal(tmp_path / "events.jsonl").metrics({"test.shipped.macro_f1": 0.9})
    before = tracking.client().get_run(run_id).info
    judged = write_report(tmp_path / "judged", bundle, journal=tmp_path / "events.jsonl")
    assert run_step("register", PARAMS, bundle=bundle, report=judged, registration=out)[0] == 0
    assert registration_of(out)["run_id"] == run_id
    run = tracking.client().get_run(run_id)
    assert run.data.metrics == {"test.shipped.macro_f1": 0.9}
    assert (run.info.status, run.info.end_time) == ("FINISHED", before.end_time)
    assert len(run.outputs.model_outputs) == 1


def test_replays_the_journal_where_the_run_is_not_known(bundle, out, run_step, tmp_path, empty_store) -> None:
    journal = Journal(tmp_path / "events.jsonl")
    journal.run("train", {"epochs": 1}, {}, [])
    journal.metrics({"loss": 0.5})
    elsewhere = journal.close("FINISHED")
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")  # the store was lost
    judged = write_report(tmp_path / "judged", bundle, journal=tmp_path / "events.jsonl")
    assert run_step("register", PARAMS, bundle=bundle, report=judged, registration=out)[0] == 0
    run = tracking.client().get_run(registration_of(out)["run_id"])
    assert run.info.run_id != elsewhere
    assert (run.info.status, run.data.params, run.data.metrics) == ("FINISHED", {"epochs": "1"}, {"loss": 0.5})


def test_two_at_once_end_with_one_version(bundle, report, tmp_path) -> None:
    outs = [tmp_path / "a", tmp_path / "b"]
    given = f"-m components.register --bundle {bundle} --report {report} --registration".split()
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
    assert registry.aliases(tracking.client(), "tiny") == {"champion": 1, "challenger": 1}


def test_who_created_second_takes_the_first(bundle, report, out, run_step) -> None:
    """Both looked, found none, and created: the order of events that two processes at once can have."""
    assert run_step("register", PARAMS, bundle=bundle, report=report, registration=out)[0] == 0
    server = tracking.client()
    first = server.get_model_version("tiny", "1")
    kept = registry.create_version(
        server,
        "tiny",
        source=first.source,
        model_id="",
        run_id=first.run_id,
        tags=first.tags,
        description=first.description,
    )
    assert (kept, list(versions())) == (1, [1])


def test_a_server_that_fails_half_way_leaves_nothing_and_running_again_works(
    bundle, report, out, run_step, monkeypatch
) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def fail(*_arguments: object, **_named: object) -> None:
        raise MlflowException("connection reset by peer")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_model_version", fail)
        code, _, stderr = run_step("register", PARAMS, bundle=bundle, report=report, registration=out)
    assert code == 4
    assert "does not answer (connection reset by peer)" in stderr
    assert versions() == {}
    assert not out.exists()
    assert run_step("register", PARAMS, bundle=bundle, report=report, registration=out)[0] == 0
    assert list(versions()) == [1]


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("state", ["silent", "refused"])
def test_a_server_that_does_not_answer(state, silent_server, bundle, report, out, run_step, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", silent_server if state == "silent" else "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    code, stdout, stderr = run_step("register", PARAMS, bundle=bundle, report=report, registration=out)
    assert (code, stdout) == (4, "")
    assert stderr.startswith("register: error: the MLflow tracking server http://127.0.0.1:")
    assert len(stderr.splitlines()) == 2  # what was wrong, what to do
    assert not out.exists()


def _changed(bundle: Path, report: Path, folder: Path) -> dict[str, Path]:
    changed = shutil.copytree(bundle, folder / "changed")
    content = bytearray((changed / "model.onnx").read_bytes())
    content[100] ^= 1
    (changed / "model.onnx").write_bytes(content)
    return {"bundle": changed}


def _other(bundle: Path, report: Path, folder: Path) -> dict[str, Path]:
    return {"bundle": copy_bundle(bundle, folder / "other", note="other")}


def _sick(bundle: Path, report: Path, folder: Path) -> dict[str, Path]:
    sick = copy_bundle(bundle, folder / "sick", golden=[[1.0, 0.0, 0.0]] * 5)
    return {"bundle": sick, "report": write_report(folder / "of_sick", sick)}


def _no_gate(bundle: Path, report: Path, folder: Path) -> dict[str, Path]:
    (folder / "no_gate").mkdir()
    artifacts.write_manifest(
        folder / "no_gate", step="evaluate", kind="report", params={}, inputs={"bundle": bundle}, figures={}
    )
    return {"report": folder / "no_gate"}


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (lambda bundle, report, folder: {"bundle": folder / "none"}, 2, "does not exist"),
        (lambda bundle, report, folder: {"report": bundle}, 2, "is a bundle, not a report"),
        (lambda bundle, report, folder: {"bundle": report}, 2, "is a report, not a bundle"),
        (_other, 2, "judges another bundle"),
        (_changed, 2, "model.onnx was changed"),
        (_no_gate, 2, "has no gate.json and no metrics.json"),
        (_sick, 4, "does not pass its self-test"),
    ],
    ids=["missing", "no report", "no bundle", "other bundle", "changed", "no gate", "self-test"],
)
def test_wrong_inputs(make, code, words, bundle, report, out, run_step, tmp_path) -> None:
    paths = {"bundle": bundle, "report": report, **make(bundle, report, tmp_path)}
    found, stdout, stderr = run_step("register", PARAMS, **paths, registration=out)
    assert (found, stdout) == (code, "")
    assert words in stderr
    assert not out.exists()
    assert versions() == {}


@pytest.mark.parametrize(
    ("params", "uri", "words"),
    [
        ({"nam": "x"}, "", "register.nam: unknown parameter, did you mean name?"),
        ({"name": "a/b", "on_gate_failure": "ask"}, "", "2 parameters are wrong"),
        ({}, "http://ann:secret@127.0.0.1:1", "holds a user name or password"),
        ({}, "file:///tmp/mlruns", "no longer keeps runs in a folder"),
    ],
)
def test_wrong_use(params, uri, words, bundle, report, out, run_step, monkeypatch) -> None:
    if uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    code, stdout, stderr = run_step("register", params, bundle=bundle, report=report, registration=out)
    assert (code, stdout) == (2, "")
    assert words in stderr
    assert "secret" not in stderr
    assert not out.exists()


def test_lineage_from_the_source_on(tmp_path) -> None:
    dataset, model, made = tmp_path / "dataset", tmp_path / "model", tmp_path / "made"
    sources = [{"name": "a.csv", "revision": "beef"}, {"name": "b.csv", "revision": "beef"}, {"name": "c.csv"}]
    chain = [
        (dataset, "ingest", "dataset", {}, {}, {"sources": sources}),
        (tmp_path / "splits", "split", "splits", {}, {"dataset": dataset}, {}),
        (model, "train", "model", {"model": "owner/name", "revision": "f00d"}, {"splits": tmp_path / "splits"}, {}),
        (made, "quantize", "bundle", {}, {"model": model}, {}),
    ]
    digests = {}
    for folder, step, kind, params, inputs, figures in chain:
        folder.mkdir()
        (folder / "file").write_text(step)
        written = artifacts.write_manifest(
            folder, step=step, kind=kind, params=params, inputs=inputs, figures=figures, task="single_label"
        )
        digests[kind] = written.digest
    tags = lineage.version_tags(written, {}, passed=True)
    assert tags["data_digest"] == digests["dataset"]
    assert tags["data_revision"] == "beef"
    assert tags["splits_digest"] == digests["splits"]
    assert tags["base_model"] == "owner/name@f00d"
