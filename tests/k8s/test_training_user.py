"""Everything that writes, as the user `training` of the cluster's MLflow server, whose object store answers that server alone."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from cli.__main__ import main
from fineline.artifacts import folders
from fineline.artifacts.folders import EVENTS
from fineline.process.errors import ResourceError
from fineline.registry import ledger, model_versions
from fineline.runs import finish
from fineline.tracking import connection
from fineline.tracking.tags import PIPELINE_RUN
from tests.conftest import make_rows, write_dataset
from tests.k8s.mlflow_pod import POSTGRES, TRAINING, Server, make_user, pod, postgres
from tests.private_store import PrivateStore, private_store
from tests.registering import registration_of, write_report
from tests.word_bundle import answers_of, some, word_rows, write_word_bundle, write_word_splits

ROWS = word_rows(240)
TEST, TRAIN = ROWS[:200], ROWS[200:]
TINY = {"log_model": True, "max_length": 32, "epochs": 1, "batch_size": 32, "learning_rate": 3e-3, "precision": "fp32"}
QUICK = {"bootstrap": 200, "speed_texts": 2, "speed_rounds": 3, "max_latency_ratio": 0}

pytestmark = [
    pytest.mark.skipif(not shutil.which("kubectl"), reason="KUBECTL IS NOT INSTALLED: MLFLOW IS NOT STARTED"),
    pytest.mark.skipif(POSTGRES is None, reason="POSTGRESQL IS NOT INSTALLED: MLFLOW IS NOT STARTED"),
]


@pytest.fixture(scope="module")
def store() -> Iterator[PrivateStore]:
    with private_store() as running:
        yield running


@pytest.fixture(scope="module")
def server(store: PrivateStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with postgres() as database, pod(tmp_path_factory.mktemp("mlflow"), database, store.settings) as running:
        make_user(running)
        yield running


@pytest.fixture
def as_training(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = {"MLFLOW_TRACKING_URI": server.address, "NO_PROXY": "127.0.0.1"}
    settings |= {"MLFLOW_TRACKING_USERNAME": TRAINING[0], "MLFLOW_TRACKING_PASSWORD": TRAINING[1]}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(json.dumps({"register": {"name": "tiny"}, "promote": QUICK}))


@pytest.fixture
def fineline(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """fineline("status") -> stdout of a command that must succeed without a word on stderr."""

    def run(*words: object) -> str:
        capfd.readouterr()
        code = main([str(word) for word in words])
        output = capfd.readouterr()
        assert (code, output.err) == (0, "")
        return output.out

    return run


@pytest.fixture
def step(run_step: Callable[..., tuple[int, str, str]]) -> Callable[..., Path]:
    """step("split", {...}, dataset=..., splits=...) -> the last folder, of a step that must succeed."""

    def run(name: str, params: dict[str, Any], **paths: Path) -> Path:
        code, _, error = run_step(name, params, **paths)
        assert code == 0, error
        return list(paths.values())[-1]

    return run


def served(name: str) -> dict[str, int]:
    return ledger.aliases(connection.client(), name)


@pytest.mark.slow
@pytest.mark.usefixtures("as_training")
def test_from_training_to_rollback(step, fineline, splits, pretrained, store, tmp_path, monkeypatch) -> None:
    trained = step("train", {"model": str(pretrained), **TINY}, splits=splits, model=tmp_path / "model")
    run_id = folders.read_run_id(trained)
    client = connection.client()
    assert client.get_run(run_id).data.tags["fineline.digest.train"] == folders.read_manifest(trained).digest
    assert "trained" in {entry.path for entry in client.list_artifacts(run_id)}

    given = write_word_splits(tmp_path / "splits", TRAIN, TEST)
    for version, wrong in enumerate((80, 20, 4), 1):
        bundle = write_word_bundle(
            tmp_path / f"bundle{version}", answers_of(TEST, some(wrong, 200)), splits=given, note=str(version)
        )
        report = write_report(tmp_path / f"report{version}", bundle, journal=trained / EVENTS)
        made = {"bundle": bundle, "splits": given, "registration": tmp_path / f"registration{version}"}
        step("register", {"name": "tiny"}, report=report, **made)
        mode = "manual" if version == 3 else "auto"
        step("promote", {**QUICK, "mode": mode}, **made, promotion=tmp_path / f"promotion{version}")
    assert registration_of(tmp_path / "registration1")["run_id"] == run_id
    assert served("tiny") == {"challenger": 3, "champion": 2}
    logged = client.search_logged_models([client.get_run(run_id).info.experiment_id])
    assert [(model.source_run_id, model.status) for model in logged if model.name != "ledger"] == [
        (run_id, "READY")
    ] * 3
    assert client.search_logged_models(["0"]) == []

    assert "version 3: promote: superior" in fineline("status")
    fineline("approve", 3, "--reason", "read the rows")
    fineline("rollback", "--reason", "complaints")
    fineline("reject", 3, "--reason", "complaints")
    fineline("promote", "--version", 3, "--force", "--reason", "they were about something else")
    assert served("tiny") == {"challenger": 3, "champion": 3}
    moves = [line for line in ledger.read(client, "tiny") if line["alias"] == model_versions.CHAMPION]
    assert [line["who"] for line in moves] == ["training"] * 5
    assert [(line["from"], line["to"]) for line in moves] == [(None, 1), (1, 2), (2, 3), (3, 2), (2, 3)]
    assert fineline("history").count("training") >= 5

    client.set_registered_model_alias("tiny", "challenger", "1")
    assert "challenger is at version 3" in fineline("repair", "--alias", "challenger", "--keep", "ledger")
    before = ledger.read(client, "tiny")
    client.delete_run(client.get_registered_model("tiny").tags[ledger.RUN_TAG])
    assert main(["repair"]) == 0
    assert ledger.read(client, "tiny") == before

    monkeypatch.setenv(PIPELINE_RUN, "nightly-1")
    rows = write_dataset(tmp_path / "clean", make_rows(150).assign(id=lambda rows: "new " + rows["id"]))
    decided = step(
        "decide", {"name": "tiny", "min_new_rows": 1, "cooldown_hours": 0}, dataset=rows, decision=tmp_path / "d"
    )
    figures = folders.read_manifest(decided).figures
    assert figures["retrain"], figures["reason"]
    again = {"model": str(pretrained), "init_from": "models:/tiny@champion", **TINY}
    step("train", again, splits=splits, model=tmp_path / "second")
    assert "nightly-1 succeeded" in finish.finish(json.dumps({"state": "SUCCEEDED"}))
    assert client.get_run(folders.read_run_id(decided)).info.status == "FINISHED"
    assert store.direct == []  # every byte went through MLflow


@pytest.mark.usefixtures("as_training")
def test_bundles_come_through_the_server_and_never_from_its_store(server, store, fineline, step, tmp_path) -> None:
    import mlflow
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

    given = write_word_splits(tmp_path / "splits", TRAIN, TEST)
    bundle = write_word_bundle(tmp_path / "bundle", answers_of(TEST), splits=given)
    made = {"report": write_report(tmp_path / "report", bundle), "splits": given}
    step("register", {"name": "closed"}, bundle=bundle, **made, registration=tmp_path / "registration")
    text, label = TEST["text"][0], TEST["label"][0]
    assert label in fineline("predict", "--model", "models:/closed@challenger", text)
    model = mlflow.pyfunc.load_model("models:/closed@challenger")
    assert model.predict([text])[0].label == label
    assert store.direct == []
    with (
        pytest.MonkeyPatch.context() as patch
    ):  # what a client does by itself: the server announces the store's address
        patch.delenv("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD")
        patch.delenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD")
        repository = MlflowArtifactsRepository("mlflow-artifacts:/1", server.address)
        assert (repository._is_multipart_download_enabled(), repository._is_multipart_upload_enabled()) == (True, True)
        with pytest.raises(mlflow.exceptions.MlflowException):
            mlflow.artifacts.download_artifacts("models:/closed/1/artifacts/bundle/bundle.json", dst_path=str(tmp_path))
    assert store.direct


@pytest.mark.usefixtures("as_training")
def test_who_may_not_is_told_what_to_ask_for(server, fineline, tmp_path, monkeypatch, capfd) -> None:
    own = connection.client()
    run = own.create_run(own.create_experiment("guarded"))
    own.create_registered_model("guarded", tags={ledger.RUN_TAG: run.info.run_id})
    make_user(server, ("reader", "thirteen or more"))
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "reader")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "guarded")
    assert main(["status", "--name", "guarded"]) == 4  # with the other's password
    assert "does not know the user reader, or not with this password (401)" in capfd.readouterr().err

    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "thirteen or more")
    assert "nothing serves yet" in fineline("status", "--name", "guarded")  # by the default permission
    client, run_id = connection.client(), run.info.run_id
    (tmp_path / "file").write_text("text")
    writes = {
        "runs/create is not permitted": ("experiment", lambda: client.create_run(run.info.experiment_id)),
        "runs/log-parameter is not permitted": ("experiment", lambda: client.log_param(run_id, "a", "b")),
        "artifacts/write is not permitted": ("experiment", lambda: client.log_artifact(run_id, str(tmp_path / "file"))),
        "registered-models/set-tag is not permitted": (
            "registered model",
            lambda: client.set_registered_model_tag("guarded", "a", "b"),
        ),
    }
    for words, (owner, write) in writes.items():
        with pytest.raises(ResourceError) as caught, model_versions.server_errors():
            write()
        assert f"refuses the user reader: {words} (403)" in caught.value.what
        assert f"grants the permission EDIT on the {owner}" in caught.value.hint
    for kind, name in (("experiment", run.info.experiment_id), ("registered_model", "guarded")):
        granted = {"username": "reader", "resource_type": kind, "resource_id": name, "permission": "EDIT"}
        address = f"{server.address}/api/3.0/mlflow/users/permissions/grant"
        assert requests.post(address, json=granted, auth=TRAINING, timeout=30).status_code == 200
    for _, write in writes.values():
        write()
