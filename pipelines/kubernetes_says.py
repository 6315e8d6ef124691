"""Why a run's pod waits or failed, as Kubernetes and Argo say it: Kubeflow's own API has no such messages.

Asked with the kubeconfig, or in a pod with its service account, if that may list Workflows and events. Nothing needs it.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from typing import Any

from fineline.runs import argo
from pipelines import client

_BOUND = {"_request_timeout": (3, 10)}  # seconds to connect, to answer
_MOST = 500


class Untold(Exception):
    """Kubernetes cannot be asked or refuses; says why in one line."""


@dataclasses.dataclass(frozen=True)
class Kubernetes:
    """Kubernetes' API, and the namespace in which the run's pods are."""

    api: Any
    namespace: str


def connect(namespace: str) -> Kubernetes:
    """The API of the context FINELINE_KFP_KUBE_CONTEXT, else in a pod its own cluster's, else of the current context.

    Raises Untold when there is none of these.
    """
    import yaml
    from kubernetes import client as kubernetes
    from kubernetes import config

    loaded = kubernetes.Configuration()
    loaded.retries = 0
    context = os.environ.get(client.KUBE_CONTEXT)
    try:
        if not context and "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(client_configuration=loaded)
        else:
            file = os.environ.get("KUBECONFIG")  # as it is now; the library keeps what it was at its import
            config.load_kube_config(config_file=file, client_configuration=loaded, context=context)
    except (config.ConfigException, OSError, yaml.YAMLError) as error:
        raise Untold(_line(str(error))) from None
    return Kubernetes(kubernetes.ApiClient(loaded), namespace)


def why_it_failed(kubernetes: Kubernetes, run_id: str) -> str:
    """What failed and Argo's message, such as 'train: main: OOMKilled (exit code 1)'; '' when Argo has none. Raises Untold."""
    if nodes := _nodes(kubernetes, run_id):
        return argo.failure(nodes)
    raise Untold(f"no Workflow of the run in {kubernetes.namespace}: it is deleted some time after its end")


def why_it_waits(kubernetes: Kubernetes, run_id: str, pods: Sequence[str]) -> str:
    """The newest warning about the pods with these ids of Argo's, else what Argo says of pods that wait; '' when nothing is
    said. Raises Untold."""
    try:
        warnings = [event for event in _warnings(kubernetes) if any(_is(event, pod) for pod in pods)]
    except Untold:
        warnings = []  # Argo repeats what it sees of a pod
    if warnings:
        newest = max(warnings, key=lambda event: str(event.last_timestamp or event.event_time))
        return _line(f"{newest.reason}: {newest.message}")
    pending = [node for node in _nodes(kubernetes, run_id) if node["phase"] == "Pending" and node.get("message")]
    return _line(pending[-1]["message"]) if pending else ""


def _is(event: Any, pod: str) -> bool:
    """Whether an event is about the pod of one of Argo's nodes: <workflow>-<template>-<number> is <workflow>-<number>."""
    workflow, _, number = pod.rpartition("-")
    name = str(event.involved_object.name)
    return name.startswith(f"{workflow}-") and name.endswith(f"-{number}")


def _warnings(kubernetes: Kubernetes) -> list[Any]:
    from kubernetes.client import CoreV1Api

    listed = CoreV1Api(kubernetes.api).list_namespaced_event
    selector = "involvedObject.kind=Pod,type=Warning"
    return list(_asked(lambda: listed(kubernetes.namespace, field_selector=selector, limit=_MOST, **_BOUND)).items)


def _nodes(kubernetes: Kubernetes, run_id: str) -> list[argo.Node]:
    from kubernetes.client import CustomObjectsApi

    listed = CustomObjectsApi(kubernetes.api).list_namespaced_custom_object
    where = (argo.GROUP, argo.VERSION, kubernetes.namespace, argo.PLURAL)
    found = _asked(lambda: listed(*where, label_selector=f"{argo.RUN_LABEL}={run_id}", **_BOUND))
    return argo.nodes(found["items"])


def _asked(request: Callable[[], Any]) -> Any:
    """What a request gives. Raises Untold where it is refused or not answered."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        return request()
    except ApiException as error:
        raise Untold(_line(_message(error))) from None
    except HTTPError as error:
        raise Untold(_line(f"Kubernetes does not answer: {str(error).rpartition('): ')[2]}")) from None


def _message(error: Any) -> str:
    """What Kubernetes says in a refusal's body."""
    try:
        return str(json.loads(error.body)["message"])
    except (ValueError, KeyError, TypeError):
        return f"Kubernetes answers {error.status} {error.reason}"


def _line(text: str) -> str:
    return " ".join(text.split())[:300]
