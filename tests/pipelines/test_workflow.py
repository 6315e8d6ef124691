"""Our package against the Argo Workflow that a real server compiled from it: tests/recorded/workflow/training.json."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import blocks
from pipelines.compiler import package
from tests.conftest import PROJECT
from tests.pipelines.cluster_model import retry_inputs

GOLDEN = json.loads((Path(__file__).parents[1] / "recorded" / "workflow" / "training.json").read_text(encoding="utf-8"))
AS_RECORDED = ("cluster.gpu_count=0", "cluster.shm_size=256Mi")
KUBERNETES = {entry["name"]: json.loads(entry["value"]) for entry in GOLDEN["arguments"]["parameters"]}
TASKS = {task["name"]: task for template in GOLDEN["templates"] for task in template.get("dag", {}).get("tasks", [])}


@pytest.fixture(scope="module")
def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(package(*blocks.read(AS_RECORDED, PROJECT / "params.yaml"))))


def test_what_the_pods_get_of_kubernetes_is_what_a_real_server_passed_on(documents: list[dict[str, Any]]) -> None:
    """Deadlines, volumes, selectors, tolerations, secrets, users: word for word in an argument of the Workflow."""
    ours = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert len(KUBERNETES) == 11
    for name, recorded in KUBERNETES.items():
        assert ours[name.replace("kubernetes-comp-", "exec-")] == recorded, name


def test_retries_are_what_a_real_server_made_of_them_and_have_the_time_of_all_attempts(
    documents: list[dict[str, Any]],
) -> None:
    dags = [documents[0]["root"], *(part for part in documents[0]["components"].values() if "dag" in part)]
    tasks = {name: task for dag in dags for name, task in dag["dag"]["tasks"].items() if "retryPolicy" in task}
    assert len(TASKS) == 11
    for name, recorded in TASKS.items():
        given = {entry["name"]: entry["value"] for entry in recorded["arguments"]["parameters"]}
        inputs = retry_inputs(tasks[name]["retryPolicy"])
        longest, _ = int(inputs.pop("retry-backoff-max-duration")), given.pop("retry-backoff-max-duration")
        assert inputs == given, name
        deadline = int(KUBERNETES[f"kubernetes-comp-{name}"]["activeDeadlineSeconds"])
        assert longest == (int(given["retry-max-count"]) + 1) * deadline + 60 + 120
    (strategy,) = (template["retryStrategy"] for template in GOLDEN["templates"] if "retryStrategy" in template)
    wanted = {f"{{{{inputs.parameters.{name}}}}}" for name in retry_inputs(tasks["train"]["retryPolicy"])}
    assert {strategy["limit"], *strategy["backoff"].values()} == wanted


def test_lost_pods_are_retried_there_and_failed_ones_are_not() -> None:
    """What params.yaml says of `retries`: the installation's own settings decide, and these are Kubeflow's."""
    assert GOLDEN["templateDefaults"]["retryStrategy"]["retryPolicy"] == "OnError"


def test_the_service_account_is_the_one_of_the_settings() -> None:
    _, cluster = blocks.read(AS_RECORDED, PROJECT / "params.yaml")
    assert GOLDEN["serviceAccountName"] == cluster.service_account
