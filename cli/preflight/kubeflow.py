"""Kubeflow Pipelines itself: its server, and the settings of the Argo that runs its workflows."""

from collections.abc import Iterator
from shlex import quote
from typing import Any

from cli.doctor import Finding
from cli.preflight.api import Unseen, View
from fineline.process.errors import FinelineError
from pipelines import client
from pipelines.client import INSTALLED_IN, ServerError

SETTINGS = "workflow-controller-configmap"
_OLDEST = (2, 17)
_FORWARD = f"kubectl --namespace {INSTALLED_IN} port-forward service/ml-pipeline-ui 8080:80  # then --host http://localhost:8080"
_TOKEN = 'export {variable}="$(kubectl create token default-editor --namespace {namespace} --audience pipelines.kubeflow.org)"'
_MEANINGS = {
    "OnError": "a pod that is lost is tried again, one that fails waits a minute and then fails",
    "OnFailure": "a pod that fails is tried again, one that is lost (drain, preemption) is not",
    "Always": "lost and failed pods are tried again, and the levels above them too, so that attempts multiply",
    "OnTransientError": "only what Argo takes for a passing error is tried again, no lost pod and no failed one",
}


def server(view: View, host: str) -> Iterator[Finding]:
    """Whether the server answers, is new enough, runs pipelines in the namespace of the steps, and lets us in."""
    try:
        found, health = client.reach(host, view.namespace)
    except ServerError as error:
        command = _TOKEN.format(variable=client.TOKEN, namespace=quote(view.namespace))
        yield Finding("missing", error.what, command if error.status in (401, 403) else _FORWARD)
        return
    except FinelineError as error:  # no address, or none that can be used
        yield Finding("missing", error.what, _FORWARD)
        return
    yield _version(found.host, str(health.get("tag_name", "unknown")))
    multi_user = bool(health.get("multi_user"))
    if not multi_user and view.namespace != INSTALLED_IN:
        yield Finding(
            "missing",
            f"Kubeflow Pipelines runs everybody's steps in {INSTALLED_IN} (standalone mode), not in {view.namespace}",
            f"fineline doctor --cluster --namespace {INSTALLED_IN}",
        )
    elif multi_user and view.namespace == INSTALLED_IN:
        yield Finding(
            "missing",
            f"Kubeflow Pipelines runs steps in the namespaces of profiles (multi-user mode), not in {INSTALLED_IN}",
            "fineline doctor --cluster --namespace fineline",
        )
    else:
        yield _experiments(found, view.namespace if multi_user else None)


def _version(host: str, tag: str) -> Finding:
    numbers = tuple(int(part) for part in tag.removeprefix("v").split(".")[:2] if part.isdigit())
    if len(numbers) == 2 and numbers < _OLDEST:
        return Finding(
            "missing",
            f"Kubeflow Pipelines {tag} at {host}: before 2.17 its own containers break Pod Security 'restricted'",
            f"kubectl --namespace {INSTALLED_IN} get deployment ml-pipeline -o wide  # upgrade Kubeflow Pipelines",
        )
    return Finding("ok", f"Kubeflow Pipelines {'of unknown version' if tag == 'unknown' else tag} answers at {host}")


def _experiments(server: Any, namespace: str | None) -> Finding:
    """Whether we are let in, by what submit asks first; whether a run may be started is only known by starting it."""
    where = f" in {namespace}" if namespace else ""
    given = {"namespace": namespace} if namespace else {}
    try:
        server.call("ExperimentServiceApi.experiment_service_list_experiments", page_size=1, **given)
    except ServerError as error:
        if error.status not in (401, 403):
            return Finding("missing", error.what, _FORWARD)
        command = _TOKEN.format(variable=client.TOKEN, namespace=quote(namespace or INSTALLED_IN))
        return Finding("missing", f"{error.what}: no run can be started{where}", command)
    return Finding("ok", f"Kubeflow Pipelines lets us in{where}")


def retries(view: View) -> Iterator[Finding]:
    """Argo's retry policy, which wins over what a pipeline says (docs/cluster.md, 'What is tried again')."""
    import yaml

    look = f"kubectl --namespace {INSTALLED_IN} get configmap {SETTINGS} -o yaml"
    read = "CoreV1Api.read_namespaced_config_map"
    found = view.ask(read, SETTINGS, INSTALLED_IN, right=f"get configmaps in {INSTALLED_IN}", command=look)
    if found is None:
        raise Unseen(f"Argo's retry policy: no config map {SETTINGS} in {INSTALLED_IN}", look)
    # Older installations keep all settings in one key, `config`.
    data = found.data or {}
    whole = _mapping(yaml, data.get("config")) | {
        key: _mapping(yaml, text) for key, text in data.items() if key != "config"
    }
    defaults = whole
    for key in ("workflowDefaults", "spec", "templateDefaults", "retryStrategy"):
        defaults = defaults.get(key) or {}
    policy = defaults.get("retryPolicy") or "OnFailure"
    what = f"Argo retries {policy}: {_MEANINGS.get(policy, 'which fineline does not know')}"
    if policy == "OnError":
        yield Finding("ok", what)
    else:
        yield Finding(
            "warn", what, f"kubectl --namespace {INSTALLED_IN} edit configmap {SETTINGS}  # OnError is Kubeflow's own"
        )


def _mapping(yaml: Any, text: str | None) -> dict[str, Any]:
    """The YAML mapping in a value of the config map, {} for anything else."""
    try:
        content = yaml.safe_load(text or "")
    except yaml.YAMLError:
        return {}
    return content if isinstance(content, dict) else {}
