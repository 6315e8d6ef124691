"""The MLflow server that the steps log to, and what their user may do there. Nothing is written."""

import base64
import json
import os
from collections.abc import Iterator
from shlex import quote
from typing import Any
from urllib.parse import urlencode, urlsplit

from cli.doctor import Finding
from cli.preflight.api import Unseen, View
from cli.preflight.objects import secret
from fineline.tracking.connection import DEFAULT_EXPERIMENT
from pipelines.site import CREDENTIALS

_SECONDS = 10.0
_WRITES = ("EDIT", "MANAGE")
"""The permissions of MLflow's basic auth that let a user write; below are READ and USE."""
_USER_FROM_SECRET = (
    '{"username": "{{.data.MLFLOW_TRACKING_USERNAME | base64decode}}", '
    '"password": "{{.data.MLFLOW_TRACKING_PASSWORD | base64decode}}"}'
)


def service(view: View) -> Iterator[Finding]:
    """Whether the service of `cluster.tracking_uri` has a pod that is ready; nothing for an address outside of the cluster."""
    if not (found := _service(view.cluster.tracking_uri)):
        return
    name, namespace = found
    look = f"kubectl --namespace {quote(namespace)} get service,pods -l app.kubernetes.io/name={quote(name)}"
    read = "DiscoveryV1Api.list_namespaced_endpoint_slice"
    label = f"kubernetes.io/service-name={name}"
    slices = view.ask(read, namespace, right="list endpointslices", command=look, label_selector=label)
    pods = [endpoint for one in (slices.items if slices else []) for endpoint in one.endpoints or []]
    if ready := sum(pod.conditions.ready is not False for pod in pods):
        yield Finding("ok", f"MLflow: service {name} in {namespace} has {ready} pod{'' if ready == 1 else 's'} ready")
    elif slices and slices.items:
        yield Finding("missing", f"MLflow: service {name} in {namespace} has no pod that is ready", look)
    else:
        yield Finding(
            "missing",
            f"MLflow: there is no service {name} in {namespace}",
            "kubectl apply -k k8s/overlays/gpu  # or yours",
        )


def permissions(view: View, model: str) -> Iterator[Finding]:
    """Whether the user of the steps can log in, and may write where a run writes: its experiment and the registered `model`.

    Asked at MLFLOW_TRACKING_URI, since the address of the steps is seldom one that can be reached from here.
    """
    server = Server(view)
    health = server.health()
    yield health
    if health.state != "ok":
        return
    answer = server.get("2.0/mlflow/experiments/get-by-name", experiment_name=DEFAULT_EXPERIMENT)
    if answer.status in (401, 403):
        yield server.refused(answer)
        return
    yield Finding("ok", f"MLflow lets {server.user or 'everyone'} in")
    number = answer.json.get("experiment", {}).get("experiment_id")
    yield server.may("experiment", DEFAULT_EXPERIMENT, number, "no run can be logged")
    found = server.get("2.0/mlflow/registered-models/get", name=model).status == 200
    yield server.may("registered_model", model, model if found else None, "no version can be registered or promoted")


class Answer:
    """Status and body of an answer; `json` is {} for a body that is none."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.text = " ".join(body.decode(errors="replace").split())[:200]
        try:
            content = json.loads(body)
        except ValueError:
            content = None
        self.json: dict[str, Any] = content if isinstance(content, dict) else {}


class Server:
    """MLflow's REST API, asked as the user of the steps, whose password is read from their secret. Raises Unseen."""

    def __init__(self, view: View) -> None:
        given = os.environ.get("MLFLOW_TRACKING_URI", "")
        self.named = given.startswith("http")
        self.address = (given if self.named else view.cluster.tracking_uri).rstrip("/")
        self.user, self._headers = "", {}
        found = _service(view.cluster.tracking_uri)
        self.look = f"curl --user {{user}} {quote(self.address)}/api/2.0/mlflow/users/current"
        self._forward = (
            f"kubectl --namespace {quote(found[1])} port-forward service/{quote(found[0])} 5000 &  "
            "export MLFLOW_TRACKING_URI=http://localhost:5000"
            if found
            else f"curl --verbose {quote(self.address)}/health"
        )
        self._body = (
            f"kubectl --namespace {quote(view.namespace)} get secret {quote(view.cluster.tracking_secret)} "
            f"-o go-template={quote(_USER_FROM_SECRET)}"
        )
        if name := view.cluster.tracking_secret:
            content = secret(view, name)
            if not content or not all(content.get(key) for key in CREDENTIALS):
                raise Unseen(f"MLflow: what the steps may do there, since secret {name} is not whole", self._forward)
            self.user, password = (base64.b64decode(content[key]).decode() for key in CREDENTIALS)
            token = base64.b64encode(f"{self.user}:{password}".encode()).decode()
            self._headers = {"Authorization": f"Basic {token}"}
        self.look = self.look.format(user=quote(self.user or "USER"))

    def get(self, path: str, **query: str) -> Answer:
        """The answer to a GET below /api. Raises Unseen when there is none."""
        return self._get(f"/api/{path}?{urlencode(query)}", self._headers)

    def _get(self, path: str, headers: dict[str, str]) -> Answer:
        import urllib3

        try:  # no redirect: the password is for this address alone
            found = urllib3.request(
                "GET", self.address + path, headers=headers, timeout=_SECONDS, redirect=False, retries=False
            )
        except urllib3.exceptions.HTTPError as error:
            reason = str(error).rpartition(": ")[2][:100]
            raise Unseen(f"MLflow: {self.address} does not answer from here ({reason})", self._forward) from None
        return Answer(found.status, found.data)

    def health(self) -> Finding:
        """Whether it answers. An address that was named for us must; the steps' own may be out of our reach (Unseen)."""
        try:
            found = self._get("/health", {})
        except Unseen as error:
            if not self.named and _service(self.address):
                raise
            return Finding("missing", error.what, error.command)
        if found.status != 200:
            return Finding(
                "missing", f"{self.address} answers {found.status} for /health: is it MLflow?", self._forward
            )
        return Finding("ok", f"MLflow answers at {self.address}")

    def refused(self, answer: Answer) -> Finding:
        """What an answer of 401 or 403 to a log-in means."""
        if answer.status == 403:
            return Finding("missing", f"MLflow refuses {self.user or 'us'} (403): {answer.text}", self.look)
        if not self.user:
            what = "MLflow asks for a password, and cluster.tracking_secret is ''"
            return Finding(
                "missing", what, "fineline doctor --cluster --set cluster.tracking_secret=mlflow-credentials"
            )
        return Finding(
            "missing",
            f"MLflow refuses {self.user} (401): there is no such user, or it has another password",
            f"{self._body} | curl --user admin --json @- {quote(self.address)}/api/2.0/mlflow/users/create",
        )

    def may(self, kind: str, name: str, number: str | None, otherwise: str) -> Finding:
        """Whether the user may write to the experiment or registered model `name`, known to the server as `number`.

        MLflow tells users their own permissions since 3.10; it has none to tell where it asks for no password.
        """
        shown = f"{kind.replace('_', ' ')} {name}"
        if number is None:
            return Finding("ok", f"MLflow: {shown} is not there yet, the first run makes it and owns it")
        if not self.user:
            return Finding("ok", f"MLflow: {shown}, which anyone may write to")
        answer = self.get(
            "3.0/mlflow/users/permissions/get", username=self.user, resource_type=kind, resource_id=number
        )
        permission = answer.json.get("permission")
        if permission is None:
            return Finding(
                "cannot see", f"MLflow does not say what {self.user} may do with {shown} ({answer.status})", self.look
            )
        if permission in _WRITES:
            return Finding("ok", f"MLflow: {self.user} may {permission} the {shown}")
        body = {"username": self.user, "resource_type": kind, "resource_id": number, "permission": "MANAGE"}
        return Finding(
            "missing",
            f"MLflow: {self.user} may only {permission} the {shown}: {otherwise}",
            f"curl --user admin --json {quote(json.dumps(body))} {quote(self.address)}/api/3.0/mlflow/users/permissions/grant",
        )


def _service(uri: str) -> tuple[str, str] | None:
    """Name and namespace of the service that an address in the cluster means; None for any other address."""
    parts = (urlsplit(uri).hostname or "").split(".")
    in_cluster = len(parts) == 2 or parts[2:] in (["svc"], ["svc", "cluster", "local"])
    return (parts[0], parts[1]) if in_cluster and len(parts) > 1 else None
