"""fineline submit --wait on the runs that a real server sent: what is shown of each, and why it waits or failed, where
Kubernetes tells it, and where it does not."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli import follow
from cli.__main__ import main
from fineline.runs import argo
from pipelines.blocks import STEPS
from pipelines.client import KUBE_CONTEXT
from tests import recorded
from tests.kubernetes_server import KubernetesServer
from tests.pipelines.kubeflow_server import KubeflowServer
from tests.pipelines.run_shown import WORKFLOW, pod_id

RUN = "-0000-4000-8000-000000000000"
"""How the ids of the fake server's runs end."""
LIST_WORKFLOWS = "GET /apis/argoproj.io/v1alpha1/namespaces/kubeflow/workflows"
LIST_EVENTS = "GET /api/v1/namespaces/kubeflow/events"
UNSCHEDULABLE = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
NO_SECRET = 'Error: secret "mlflow-credentials" not found'


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "_SECONDS_BETWEEN_LOOKS", (0.01, 0.02))
    monkeypatch.setattr(follow, "_LONG", 0.05)
    monkeypatch.setattr(follow, "_SECONDS_BETWEEN_QUESTIONS", 0.01)


@pytest.fixture
def kubernetes(server: KubeflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesServer]:
    """The cluster of the server, which the kubeconfig names."""
    with KubernetesServer() as running:
        (tmp_path / "kubeconfig").write_text(json.dumps(running.kubeconfig()))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield running


def waited(
    server: KubeflowServer, capsys: pytest.CaptureFixture[str], *shown: Any, pipeline: str = "training"
) -> tuple[int, list[str], str]:
    """(exit code, the lines about steps, what stands on stderr) of --wait on a run that shows itself so, look after look."""
    server.frames = list(shown)
    code = main(["submit", "--host", server.url, "--wait", "--pipeline", pipeline])
    output = capsys.readouterr()
    assert "Traceback" not in output.err
    lines = [line for line in output.out.splitlines()[4:] if "pin          skipped" not in line]  # it is younger
    return code, lines, output.err


def test_all_steps_ran(server: KubeflowServer, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, _ = waited(server, capsys, recorded.run("succeeded"))
    assert code == 0
    assert lines[0] == "ingest       done 10.0 s"
    assert lines[4] == "train        done 158.0 s"
    assert [line.split()[1] for line in lines] == ["done"] * 10 + ["run"]


def test_what_the_cache_had_is_called_so(server: KubeflowServer, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, _ = waited(server, capsys, recorded.run("gate-said-no-rest-cached"))
    assert code == 0
    assert [line.split()[1] for line in lines[:7]] == ["cached"] * 7
    assert lines[7:] == [
        "evaluate     done 40.0 s",
        "register     skipped 0.0 s  the gate said no",
        "promote      skipped 0.0 s  the gate said no",
        "the run succeeded",
    ]


def test_no_reason_to_train(server: KubeflowServer, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, _ = waited(server, capsys, recorded.run("retraining-no-reason"), pipeline="retraining")
    assert code == 0
    assert lines[2:5] == [
        "monitor      done 21.0 s",  # beside ingest and data_quality, whose pods are not its attempts
        "decide       done 10.0 s",
        "split        skipped 0.0 s  no reason to train",
    ]


def test_attempts_are_counted(server: KubeflowServer, capsys: pytest.CaptureFixture[str]) -> None:
    whole = recorded.run("pod-deleted-then-retried")
    again = copy.deepcopy(whole)
    again |= {"state": "RUNNING"}
    for detail in again["run_details"]["task_details"]:  # as it was at 10:47, when the second pod had begun
        if detail["end_time"] > "2026-11-30T10:47:00Z":
            detail |= {"state": "RUNNING", "end_time": "0001-01-01T00:00:00Z"}
    begun = [d for d in again["run_details"]["task_details"] if d["start_time"] < "2026-11-30T10:47:00Z"]
    again["run_details"]["task_details"] = begun
    code, lines, error = waited(server, capsys, again, whole)
    assert code == 1
    assert lines[4:6] == ["train        running  attempt 2", "train        done 404.0 s  attempt 2"]
    assert "register     failed 80.0 s" in lines
    assert "the run failed at register" in error


def test_a_canceled_run_is_canceled(server: KubeflowServer, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, error = waited(server, capsys, recorded.run("pod-waits-for-a-node"), recorded.run("canceled"))
    assert code == 143
    assert "train        canceled 41.0 s" in lines
    assert "submit: error: the run was canceled\n" in error


FAILURES = {
    "step-failed": ("ingest", "ingest: main: Error (exit code 1)"),
    "out-of-memory": ("train", "train: main: OOMKilled (exit code 1)"),
    "driver-failed": ("train", "train-driver: main: Error (exit code 1)"),
    "pod-deleted-then-retried": ("register", "register: main: Error (exit code 1)"),
    "no-service-account": ("", 'root-driver: pods "fineline-training-z77cx-system-dag-driver-'),
}


@pytest.mark.parametrize("how", FAILURES)
def test_a_failure_names_the_step_and_argos_message(
    server: KubeflowServer, kubernetes: KubernetesServer, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    workflow = recorded.workflow(how)
    kubernetes.objects = [recorded.workflow("canceled"), workflow]
    workflow["metadata"]["labels"][argo.RUN_LABEL] = "00000004" + RUN
    code, _, error = waited(server, capsys, recorded.run(how))
    assert code == 1
    assert f"error: the run failed at {FAILURES[how][1]}" in error
    assert "kubectl" not in error
    assert kubernetes.requests == [LIST_WORKFLOWS]


@pytest.mark.parametrize("how", FAILURES)
def test_a_failure_without_rights_says_how_to_see_its_message(
    server: KubeflowServer, kubernetes: KubernetesServer, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    kubernetes.denied = {("list", "workflows"), ("list", "events")}
    code, _, error = waited(server, capsys, recorded.run(how))
    assert code == 1
    where = f" at {FAILURES[how][0]}" if FAILURES[how][0] else ""
    assert f"error: the run failed{where} (not told here: workflows.argoproj.io is forbidden: User " in error
    command = f"kubectl --namespace kubeflow get workflow --selector pipeline/runid=00000004{RUN} --output jsonpath="
    assert command in error


def test_a_workflow_that_is_gone(
    server: KubeflowServer, kubernetes: KubernetesServer, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, error = waited(server, capsys, recorded.run("step-failed"))
    assert code == 1
    assert (
        "the run failed at ingest (not told here: no Workflow of the run in kubeflow: it is deleted some time" in error
    )


def test_the_reason_why_a_pod_waits(
    server: KubeflowServer, kubernetes: KubernetesServer, capsys: pytest.CaptureFixture[str]
) -> None:
    # The pod of train is <workflow>-<template>-<number>; the run names the node <workflow>-<number>.
    pod = "fineline-training-7rsv7-retry-system-container-impl-865651075"
    kubernetes.event("fineline-training-7rsv7-retry-system-container-impl-1", "Failed", "of another step", minute=50)
    kubernetes.event("another-workflow-retry-system-container-impl-865651075", "Failed", "of another run", minute=50)
    kubernetes.event(pod, "Pulling", "Pulling image", kind="Normal", minute=40)
    kubernetes.event(pod, "FailedScheduling", "an older message", minute=1)
    kubernetes.event(pod, "FailedScheduling", UNSCHEDULABLE, minute=2)
    waits = [recorded.run("pod-waits-for-a-node")] * 9
    code, lines, _ = waited(server, capsys, *waits, recorded.run("canceled"))
    assert code == 143
    said = [line for line in lines if "waits" in line]
    assert [line.partition(" now: ")[2] for line in said] == [f"FailedScheduling: {UNSCHEDULABLE}"]
    assert said[0].startswith("train waits for 0 s")
    assert set(kubernetes.requests) == {LIST_EVENTS}


def test_a_reason_that_changes_is_said_again(
    server: KubeflowServer, kubernetes: KubernetesServer, capsys: pytest.CaptureFixture[str]
) -> None:
    pod = "fineline-training-n7zv9-retry-system-container-impl-3894174128"
    kubernetes.event(pod, "FailedScheduling", UNSCHEDULABLE, minute=1)
    add = kubernetes.answer

    def answer(*given: Any) -> Any:
        if len(kubernetes.requests) == 3:
            kubernetes.event(pod, "Failed", NO_SECRET, minute=2)
        return add(*given)

    kubernetes.answer = answer  # type: ignore[method-assign]
    waits = [recorded.run("secret-missing")] * 20
    _, lines, _ = waited(server, capsys, *waits, recorded.run("canceled"))
    said = [line.partition(" now: ")[2] for line in lines if "waits" in line]
    assert said == [f"FailedScheduling: {UNSCHEDULABLE}", f"Failed: {NO_SECRET}"]


def test_argo_tells_it_too(
    server: KubeflowServer, kubernetes: KubernetesServer, capsys: pytest.CaptureFixture[str]
) -> None:
    kubernetes.denied = {("list", "events")}
    workflow = recorded.workflow("out-of-memory")
    workflow["metadata"]["labels"][argo.RUN_LABEL] = "00000004" + RUN
    for node in workflow["status"]["nodes"].values():
        if node.get("message") == "main: OOMKilled (exit code 1)":
            node |= {"phase": "Pending", "message": f"Unschedulable: {UNSCHEDULABLE}"}
    kubernetes.objects = [workflow]
    _, lines, _ = waited(server, capsys, *[recorded.run("secret-missing")] * 9, recorded.run("canceled"))
    assert [line.partition(" now: ")[2] for line in lines if "waits" in line] == [f"Unschedulable: {UNSCHEDULABLE}"]


@pytest.mark.parametrize("trouble", ["no kubeconfig", "no rights", "nothing there", "no answer", "another cluster"])
def test_without_kubernetes_it_says_where_to_look(
    server: KubeflowServer,
    kubernetes: KubernetesServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    trouble: str,
) -> None:
    match trouble:
        case "no kubeconfig":
            monkeypatch.setenv("KUBECONFIG", "/nowhere/config")
        case "no rights":
            kubernetes.denied = {("list", "workflows"), ("list", "events")}
        case "no answer":
            kubernetes.url = "http://127.0.0.1:9"
            (tmp_path / "kubeconfig").write_text(json.dumps(kubernetes.kubeconfig()))
        case "another cluster":
            kubernetes.event("fineline-training-a1b2c-retry-system-container-impl-3894174128", "Failed", NO_SECRET)
    code, lines, _ = waited(server, capsys, *[recorded.run("secret-missing")] * 9, recorded.run("canceled"))
    assert code == 143
    (said,) = [line for line in lines if "waits" in line]
    assert (
        "a node, an image, a secret or a claim may be missing; kubectl --namespace kubeflow get events --field" in said
    )
    reasons = {
        "no rights": "workflows.argoproj.io is forbidden",
        "no answer": "refused",
        "no kubeconfig": "No configuration found",
    }
    assert reasons.get(trouble, "shows which") in said
    assert len([asked for asked in kubernetes.requests if trouble == "no rights"]) <= 2  # a refusal is not asked again


def test_a_driver_that_waits(server: KubeflowServer, capsys: pytest.CaptureFixture[str], kubernetes: Any) -> None:
    pod = pod_id("split-driver(0)").replace(WORKFLOW, f"{WORKFLOW}-system-container-driver")
    kubernetes.event(pod, "FailedCreate", "exceeded quota: fineline")
    done = {"ingest": "SUCCEEDED", "data-quality": "SUCCEEDED"}
    waits: Any = ("RUNNING", {**done, "split-driver": "PENDING"})
    code, lines, _ = waited(server, capsys, *[waits] * 9, ("CANCELED", done))
    assert code == 143
    assert next(line for line in lines if "waits" in line).endswith("FailedCreate: exceeded quota: fineline")
    assert "split waits" in "".join(lines)


def test_a_run_that_nobody_takes_up(server: KubeflowServer, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, _ = waited(server, capsys, *[("PENDING", {})] * 9, ("SUCCEEDED", {"ingest": "SUCCEEDED"}))
    assert code == 0
    assert "waits for 0 s now: a node, an image, a secret or a claim may be missing" in "".join(lines)


def test_only_finish_is_left_and_waits(server: KubeflowServer, capsys: pytest.CaptureFixture[str]) -> None:
    steps = [step.replace("_", "-") for step in STEPS]
    waits: Any = ("RUNNING", {**dict.fromkeys(steps, "SUCCEEDED"), "finish": "PENDING"})
    _, lines, _ = waited(server, capsys, *[waits] * 9, ("SUCCEEDED", dict.fromkeys(steps, "SUCCEEDED")))
    assert [line for line in lines if line.startswith("finish waits for 0 s now: ")]


def test_the_context_of_the_client_is_asked(
    server: KubeflowServer, kubernetes: KubernetesServer, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setenv(KUBE_CONTEXT, "elsewhere")
    _, _, error = waited(server, capsys, recorded.run("step-failed"))
    assert "(not told here: Invalid kube-config file. Expected object with name elsewhere" in error
    assert kubernetes.requests == []
