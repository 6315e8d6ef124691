"""The exit handler: what it makes of each way in which a run ended on a real server, and what decide says the night after.

The rows are those of the recording's table (tests/recorded); training is train's own record in a real MLflow store.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from components.decide import facts as looking
from components.decide.params import Params
from components.decide.step import run as decide
from components.train import lineage
from fineline.artifacts import folders
from fineline.registry import ledger
from fineline.runs import argo, finish
from fineline.runs.finish import CANCELED, FAILED, SAID_NO, SUCCEEDED, UNKNOWN
from fineline.tracking import connection
from fineline.tracking.journal import Journal, go_on
from fineline.tracking.tags import CONTINUED_TAG, GATE_TAG, PIPELINE_RUN, PIPELINE_RUN_TAG
from tests import recorded
from tests.cli.test_submit_access import certificate
from tests.components.conftest import empty_store, ready_store  # noqa: F401
from tests.conftest import make_rows, write_dataset
from tests.kubernetes_server import KubernetesServer

NAME = "tiny"
LIST_WORKFLOWS = "GET /apis/argoproj.io/v1alpha1/namespaces/kubeflow/workflows"
TONIGHT, TOMORROW = "run-tonight", "run-tomorrow"

pytestmark = pytest.mark.usefixtures("ready_store")


class Nights:
    """A project whose pipeline runs night after night, on the same rows unless there are more."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, patch
        self.clean = write_dataset(folder / "clean", make_rows(30))
        self.splits = folder / "splits"
        self.splits.mkdir()
        inputs = {"dataset": self.clean}
        folders.write_manifest(
            self.splits, step="split", kind="splits", params={}, inputs=inputs, figures={}, task="single_label"
        )

    def decides(self, night: str) -> str:
        """What decide says on a night, without a cooldown, so that it rests on what was trained on."""
        self.patch.setenv(PIPELINE_RUN, night)
        params = Params(name=NAME, cooldown_hours=0)
        return decide(params=params, dataset=self.clean, decision=self.folder / f"decision-{night}")

    def trains(self, night: str, killed: bool = False) -> Path:
        """What train records, up to its end or to a SIGKILL in its middle; gives the model's folder."""
        self.patch.setenv(PIPELINE_RUN, night)
        model = self.folder / "model"
        path, data = model / folders.EVENTS, folders.read_manifest(self.splits)
        if killed:
            journal = Journal(path)
            journal.run(lineage.run_name(data), {}, lineage.tags(data), lineage.datasets(data))
            assert journal.send()
        else:
            with lineage.recorded_run(path, data, {}, anew=False) as journal:
                journal.tags({"fineline.digest.train": "sha256:0"})
        return model

    def evaluates(self, night: str, gate: str) -> None:
        """What evaluate adds, going on with the journal that came with the model."""
        self.patch.setenv(PIPELINE_RUN, night)
        folder = self.folder / f"report-{night}"
        folder.mkdir()
        journal = go_on(self.folder / "model", folder)
        journal.tags({GATE_TAG: gate})
        assert journal.send()

    def ends(self, night: str, state: str, capsys: pytest.CaptureFixture[str]) -> str:
        """What finish says when Kubeflow sends it `state`."""
        self.patch.setenv(PIPELINE_RUN, night)
        status = {"state": state, "pipelineJobResourceName": "p", "pipelineTaskName": "exit-handler-1", "error": {}}
        capsys.readouterr()
        assert finish.main(["--status", json.dumps(status)]) == 0
        return capsys.readouterr().out


@pytest.fixture
def nights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nights:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    return Nights(tmp_path, monkeypatch)


@pytest.fixture
def kubernetes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesServer]:
    """An API server that this process can ask as a pod would."""
    with KubernetesServer(certificate=certificate(tmp_path / "server.pem")) as server:
        monkeypatch.setattr(argo, "_ACCOUNT", server.account(tmp_path / "account"))
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "localhost")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", server.url.rpartition(":")[2])
        yield server


def runs() -> list[Any]:
    return list(looking.runs(connection.client(), ""))


def statuses() -> dict[str, str]:
    """The status of each MLflow run, by the first word of its name."""
    return {run.info.run_name.partition("-")[0]: run.info.status for run in runs()}


@dataclasses.dataclass(frozen=True)
class Row:
    """One way to end: what Kubeflow sends finish, what the steps left, and what finish makes of it, with what Argo says and
    without; `left` are MLflow's statuses beside the decision's, `again` whether the next night trains."""

    sent: str
    workflow: str = ""
    training: str = ""
    gate: str = ""
    state: str = FAILED
    why: str = ""
    left: dict[str, str] = dataclasses.field(default_factory=dict)
    state_alone: str = ""
    left_alone: dict[str, str] = dataclasses.field(default_factory=dict)
    again: bool = True


TABLE = {
    "all steps ran": Row("COMPLETE", "", "done", "passed", SUCCEEDED, "", {"train": "FINISHED"}, again=False),
    "the gate said no": Row(
        "RUNNING", "", "done", "failed", SAID_NO, "the gate said no", {"train": "FINISHED"}, again=False
    ),
    "a step failed before training": Row(
        "FAILED", "step-failed", why="ingest: main: Error (exit code 1)", left={"pipeline": "FAILED"}
    ),
    "a step failed after training": Row(
        "FAILED",
        "pod-deleted-then-retried",
        "done",
        "passed",
        why="register: main: Error (exit code 1)",
        left={"train": "FAILED"},
    ),
    "out of memory": Row(
        "FAILED", "out-of-memory", "killed", why="train: main: OOMKilled (exit code 1)", left={"train": "FAILED"}
    ),
    "a driver failed": Row(
        "RUNNING",
        "driver-failed",
        why="train-driver: main: Error (exit code 1)",
        left={"pipeline": "FAILED"},
        state_alone=UNKNOWN,
    ),
    "canceled": Row(
        "RUNNING",
        "canceled",
        "killed",
        state=CANCELED,
        left={"train": "KILLED"},
        state_alone=UNKNOWN,
        left_alone={"train": "FAILED"},
    ),
    "a driver failed after training": Row(
        "RUNNING",
        "driver-failed",
        "done",
        why="train-driver: main: Error (exit code 1)",
        left={"train": "FAILED"},
        state_alone=UNKNOWN,
    ),
    "the pod was deleted and its next attempt trained on": Row(
        "COMPLETE", "", "killed, then done", "passed", SUCCEEDED, "", {"train": "FINISHED"}, again=False
    ),
}


def night(nights: Nights, row: Row) -> None:
    """What the steps of a run do before finish."""
    assert nights.decides(TONIGHT) == "retrain: no champion yet, 30 rows"
    if "killed" in row.training:
        nights.trains(TONIGHT, killed=True)
    if "done" in row.training:
        nights.trains(TONIGHT)
    if row.gate:
        nights.evaluates(TONIGHT, row.gate)
    ledger.new_run(NAME)  # register's, in a run of the same pipeline


def checked_night_after(nights: Nights, row: Row, left: dict[str, str]) -> None:
    assert statuses() == {"decision": "FINISHED", "ledger of tiny": "FINISHED", **left}
    said = nights.decides(TOMORROW)
    assert said.startswith("retrain: " if row.again else "skipped: the same data was trained on already (train-")


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_from_what_the_steps_left_alone(nights: Nights, row: Row, capsys: pytest.CaptureFixture[str]) -> None:
    night(nights, row)
    said = nights.ends(TONIGHT, row.sent, capsys)
    assert said.startswith(f"finish: pipeline run {TONIGHT} {row.state_alone or row.state}")
    checked_night_after(nights, row, row.left_alone or row.left)


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_with_what_argo_says(
    nights: Nights, kubernetes: KubernetesServer, row: Row, capsys: pytest.CaptureFixture[str]
) -> None:
    if row.workflow:
        workflow = recorded.workflow_when_finish_runs(row.workflow)
        workflow["metadata"]["labels"][argo.RUN_LABEL] = TONIGHT
        kubernetes.objects = [recorded.workflow("out-of-memory"), workflow]
    night(nights, row)
    said = nights.ends(TONIGHT, row.sent, capsys)
    assert said.startswith(f"finish: pipeline run {TONIGHT} {row.state}{f' ({row.why})' if row.why else ''}, recorded")
    assert kubernetes.requests == ([] if row.sent == "COMPLETE" else [LIST_WORKFLOWS])
    checked_night_after(nights, row, row.left)
    for run in runs():
        if run.info.run_name.partition("-")[0] in row.left:
            assert (run.data.tags[finish.STATE_TAG], run.data.tags[finish.WHY_TAG]) == (row.state, row.why)


def test_no_reason_to_train_leaves_the_decision_as_it_is(nights: Nights, capsys: pytest.CaptureFixture[str]) -> None:
    nights.trains("run-before")
    assert nights.decides(TONIGHT).startswith("skipped: the same data was trained on already")
    before = [run.to_dictionary() for run in runs()]
    assert "said no (skipped: the same data was trained on already" in nights.ends(TONIGHT, "RUNNING", capsys)
    assert [run.to_dictionary() for run in runs()] == before


def test_a_run_that_never_reached_finish_blocks_nothing(nights: Nights) -> None:
    # No service account: no step ran and MLflow knows nothing of the night.
    assert nights.decides(TOMORROW) == "retrain: no champion yet, 30 rows"


@pytest.mark.parametrize(("sent", "gate"), [("COMPLETE", "passed"), ("RUNNING", "failed")])
def test_a_training_from_kubeflows_cache_is_found(
    nights: Nights, sent: str, gate: str, capsys: pytest.CaptureFixture[str]
) -> None:
    nights.trains("run-before")
    nights.ends("run-before", "FAILED", capsys)  # such as out of memory in quantize
    (before,) = runs()
    assert before.info.status == "FAILED"
    assert nights.decides(TONIGHT).startswith("retrain: ")
    nights.evaluates(TONIGHT, gate)  # train itself is in the cache
    nights.ends(TONIGHT, sent, capsys)
    assert statuses() == {"decision": "FINISHED", "train": "FINISHED"}
    (training,) = (run for run in runs() if run.info.run_name.startswith("train-"))
    assert (training.data.tags[PIPELINE_RUN_TAG], training.data.tags[CONTINUED_TAG]) == ("run-before", TONIGHT)
    assert training.info.end_time == before.info.end_time  # the cooldown counts from the training
    assert nights.decides(TOMORROW).startswith("skipped: the same data was trained on already")


def test_what_ended_well_is_no_worse_for_a_later_run_that_failed(
    nights: Nights, capsys: pytest.CaptureFixture[str]
) -> None:
    nights.trains("run-before")
    nights.evaluates("run-before", "passed")
    nights.ends("run-before", "COMPLETE", capsys)
    nights.evaluates(TONIGHT, "passed")
    assert "failed, recorded in 0 MLflow run(s)" in nights.ends(TONIGHT, "FAILED", capsys)
    assert statuses() == {"train": "FINISHED"}


def test_what_it_cannot_know_harms_nothing(nights: Nights, capsys: pytest.CaptureFixture[str]) -> None:
    # All from the cache, evaluate's no included: nothing of this run is in MLflow.
    nights.trains("run-before")
    nights.evaluates("run-before", "failed")
    nights.ends("run-before", "RUNNING", capsys)
    said = nights.ends(TONIGHT, "RUNNING", capsys)
    assert "unknown (Kubeflow says RUNNING: it was canceled, or a driver failed), recorded in 1 MLflow run(s)" in said
    assert statuses() == {"train": "FINISHED", "pipeline": "FAILED"}
    assert nights.decides(TOMORROW).startswith("skipped: the same data was trained on already")


def test_where_argo_knows_of_no_failure_something_said_no(
    nights: Nights, kubernetes: KubernetesServer, capsys: pytest.CaptureFixture[str]
) -> None:
    workflow = recorded.workflow_when_finish_runs("step-failed")
    workflow["metadata"]["labels"][argo.RUN_LABEL] = TONIGHT
    for node in workflow["status"]["nodes"].values():
        node["phase"] = node["phase"].replace("Failed", "Succeeded")
    kubernetes.objects = [workflow]
    assert nights.ends(TONIGHT, "RUNNING", capsys).startswith(f"finish: pipeline run {TONIGHT} said no, recorded")


def _no_right(server: KubernetesServer, _: pytest.MonkeyPatch) -> None:
    server.denied = {("list", "workflows")}


def _no_argo(server: KubernetesServer, _: pytest.MonkeyPatch) -> None:
    server.missing = {"workflows"}


def _stranger(server: KubernetesServer, _: pytest.MonkeyPatch) -> None:
    (argo._ACCOUNT / "token").write_text("of another cluster")


def _no_token(server: KubernetesServer, _: pytest.MonkeyPatch) -> None:
    (argo._ACCOUNT / "token").unlink()


def _silent(server: KubernetesServer, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(argo, "_SECONDS", 0.2)
    server.answers.clear()


def _down(server: KubernetesServer, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("KUBERNETES_SERVICE_PORT", "9")


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (_no_right, "403"),
        (_no_argo, "404"),
        (_stranger, "401"),
        (_no_token, "No such file"),
        (_silent, "timed out"),
        (_down, "refused"),
    ],
)
def test_argo_is_never_needed(
    nights: Nights,
    kubernetes: KubernetesServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    trouble: Callable[..., None],
    said: str,
) -> None:
    trouble(kubernetes, monkeypatch)
    monkeypatch.setenv(PIPELINE_RUN, TONIGHT)
    assert finish.main(["--status", '{"state": "FAILED", "error": {}}']) == 0
    captured = capsys.readouterr()
    assert captured.out == f"finish: pipeline run {TONIGHT} failed, recorded in 1 MLflow run(s)\n"
    assert captured.err.startswith("finish: without what Argo says: ")
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_a_workflow_that_is_gone_says_nothing(
    nights: Nights, kubernetes: KubernetesServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert " unknown (" in nights.ends(TONIGHT, "RUNNING", capsys)
    assert kubernetes.requests == [LIST_WORKFLOWS]


def test_finish_tried_again_says_the_same_once(nights: Nights, capsys: pytest.CaptureFixture[str]) -> None:
    for _attempt in range(2):
        nights.ends(TONIGHT, "FAILED", capsys)
    assert statuses() == {"pipeline": "FAILED"}
    nights.ends(TONIGHT, "COMPLETE", capsys)  # the same run, taken up again in Kubeflow's page
    (run,) = runs()
    assert (run.info.status, run.data.tags[finish.STATE_TAG]) == ("FINISHED", SUCCEEDED)


@pytest.mark.parametrize("status", ["", "{", "[]", "{}", '{"state": "FAILED", "error": [1]}'])
def test_what_is_no_status_is_refused(status: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert finish.main(["--status", status]) == 2
    assert "finish: error: --status is not the JSON that Kubeflow gives" in capsys.readouterr().err


def test_without_the_pipelines_run_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(PIPELINE_RUN, raising=False)
    assert finish.main(["--status", '{"state": "COMPLETE"}']) == 2
    assert f"{PIPELINE_RUN} is not set" in capsys.readouterr().err


def test_a_server_that_does_not_answer_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(PIPELINE_RUN, TONIGHT)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert finish.main(["--status", '{"state": "COMPLETE"}']) == 4
    assert "does not answer" in capsys.readouterr().err
