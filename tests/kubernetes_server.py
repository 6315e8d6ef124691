"""A Kubernetes API server written by hand: HTTP or HTTPS on a port of this machine, strict, its objects in memory, read-only.

Paths, verbs and bodies are those of Kubernetes 1.34's OpenAPI (the models of the client `kubernetes`) and of Argo's Workflows;
errors are the Status objects that its API server sends (apimachinery, pkg/api/errors), and no JSON where a resource was never
installed. Who may what is decided from the Roles and RoleBindings that are there, as RBAC does; what the caller itself may not
do stands in `denied`, as (verb, resource). A path, verb or query that it does not know is refused.
"""

import dataclasses
import datetime
import http.server
import json
import re
import ssl
import threading
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "t0ken-of-the-caller"

Object = dict[str, Any]

VERSION = {
    "major": "1",
    "minor": "34",
    "gitVersion": "v1.34.4",
    "gitCommit": "8e2f1ca4c0b0a1c5ad5c2a9f17ab6fd4c6e3b5a7",
    "gitTreeState": "clean",
    "buildDate": "2026-02-26T20:06:24Z",
    "goVersion": "go1.24.13",
    "compiler": "gc",
    "platform": "linux/amd64",
}

_NAMESPACED = {
    "ServiceAccount": ("/api/v1", "serviceaccounts"),
    "Secret": ("/api/v1", "secrets"),
    "ConfigMap": ("/api/v1", "configmaps"),
    "PersistentVolumeClaim": ("/api/v1", "persistentvolumeclaims"),
    "ResourceQuota": ("/api/v1", "resourcequotas"),
    "LimitRange": ("/api/v1", "limitranges"),
    "EndpointSlice": ("/apis/discovery.k8s.io/v1", "endpointslices"),
    "Event": ("/api/v1", "events"),
    "Workflow": ("/apis/argoproj.io/v1alpha1", "workflows"),
}
_REVIEWS = "localsubjectaccessreviews"
_PATH = re.compile(r"(/api/v1|/apis/[a-z.0-9]+/v1(?:alpha1)?)(?:/namespaces/([a-z0-9-]+))?/([a-z]+)(?:/([a-z0-9.-]+))?")


@dataclasses.dataclass
class KubernetesServer:
    """What the cluster holds: `objects` as manifests, with a status where the API server or a controller writes one; `missing`
    are resources that nobody installed. With `certificate` it speaks TLS. It answers while `answers` is set."""

    objects: list[Object] = dataclasses.field(default_factory=list)
    denied: set[tuple[str, str]] = dataclasses.field(default_factory=set)
    missing: set[str] = dataclasses.field(default_factory=set)
    certificate: Path | None = None
    requests: list[str] = dataclasses.field(default_factory=list)
    answers: threading.Event = dataclasses.field(default_factory=threading.Event)
    url: str = ""

    def __enter__(self) -> "KubernetesServer":
        state = self

        class Handler(_Handler):
            server_state = state

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        scheme = "https" if self.certificate else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.answers.set()
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.answers.set()
        self._server.shutdown()
        self._server.server_close()

    def kubeconfig(self) -> Object:
        """A kubeconfig whose current context is this cluster."""
        return {
            "clusters": [{"name": "test", "cluster": {"server": self.url}}],
            "users": [{"name": "ann", "user": {"token": TOKEN}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "ann"}}],
            "current-context": "test",
        }

    def account(self, folder: Path, namespace: str = "kubeflow") -> Path:
        """What a pod finds of its service account, in `folder`."""
        folder.mkdir()
        (folder / "token").write_text(TOKEN, encoding="utf-8")
        (folder / "namespace").write_text(namespace, encoding="utf-8")
        if self.certificate:
            (folder / "ca.crt").write_bytes(self.certificate.read_bytes())
        return folder

    def event(self, pod: str, reason: str, message: str, kind: str = "Warning", minute: int = 0) -> None:
        """Adds an event of a pod."""
        when = datetime.datetime(2026, 11, 30, 11, minute, tzinfo=datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.objects.append(
            {
                "kind": "Event",
                "metadata": {"name": f"{pod}.{len(self.objects):x}", "namespace": "kubeflow"},
                "involvedObject": {"kind": "Pod", "name": pod, "namespace": "kubeflow"},
                "reason": reason,
                "message": message,
                "type": kind,
                "lastTimestamp": when,
            }
        )

    def only(self, kind: str, name: str) -> Object:
        """The object of that kind and name."""
        (found,) = [o for o in self.objects if (o["kind"], o["metadata"]["name"]) == (kind, name)]
        return found

    def remove(self, kind: str, name: str) -> None:
        """Takes it away."""
        self.objects.remove(self.only(kind, name))

    def answer(self, verb: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Object | str]:
        """Status and body for one request; a text is no JSON."""
        if path == "/version/" and verb == "GET":
            return 200, VERSION
        found = _PATH.fullmatch(path)
        if not found:
            return _status(404, "NotFound", "the server could not find the requested resource")
        base, namespace, resource, name = found.groups()
        if resource in self.missing:
            return 404, "404 page not found\n"
        if (base, resource) == ("/apis/authorization.k8s.io/v1", _REVIEWS) and namespace and not name:
            return self._review(verb, namespace, body)
        cluster_wide = base == "/api/v1" and (resource, bool(name)) in (("namespaces", True), ("nodes", False))
        if not (cluster_wide and not namespace) and not ((base, resource) in _NAMESPACED.values() and namespace):
            return _status(404, "NotFound", "the server could not find the requested resource")
        kube_verb = "get" if name else "list"
        if verb != "GET":
            return _status(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        if refused := self._refused(kube_verb, resource, namespace, name):
            return refused
        return self._read(resource, namespace, name, query)

    def _refused(self, verb: str, resource: str, namespace: str | None, name: str | None) -> tuple[int, Object] | None:
        if (verb, resource) not in self.denied:
            return None
        base = next((base for base, plural in _NAMESPACED.values() if plural == resource), "/api/v1")
        group = base.split("/")[2] if base.startswith("/apis/") else ""
        full = f"{resource}.{group}" if group else resource
        shown = f'{full} "{name}"' if name else full
        where = f' in the namespace "{namespace}"' if namespace else " at the cluster scope"
        message = f'{shown} is forbidden: User "ann" cannot {verb} resource "{resource}" in API group "{group}"{where}'
        return _status(403, "Forbidden", message)

    def _read(
        self, resource: str, namespace: str | None, name: str | None, query: dict[str, str]
    ) -> tuple[int, Object]:
        kinds = {plural: kind for kind, (_, plural) in _NAMESPACED.items()} | {
            "nodes": "Node",
            "namespaces": "Namespace",
        }
        things = [
            thing
            for thing in self.objects
            if thing["kind"] == kinds[resource] and thing["metadata"].get("namespace") == namespace
        ]
        if name:
            for thing in things:
                if thing["metadata"]["name"] == name:
                    return 200, thing
            return _status(404, "NotFound", f'{resource} "{name}" not found')
        for key, value in _selected(query.pop("labelSelector", "")):
            things = [thing for thing in things if thing["metadata"].get("labels", {}).get(key) == value]
        for key, value in _selected(query.pop("fieldSelector", "")):
            things = [thing for thing in things if _field(thing, key) == value]
        things = things[: int(query.pop("limit", len(things)))]
        if query:
            return _status(400, "BadRequest", f"unknown query {query}")
        return 200, {"kind": f"{kinds[resource]}List", "apiVersion": "v1", "metadata": {}, "items": things}

    def _review(self, verb: str, namespace: str, body: Any) -> tuple[int, Object]:
        if verb != "POST":
            return _status(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        if refused := self._refused("create", _REVIEWS, namespace, None):
            return refused
        asked = body["spec"]["resourceAttributes"]
        if body["kind"] != "LocalSubjectAccessReview" or asked["namespace"] != namespace:
            return _status(400, "BadRequest", "spec.resourceAttributes.namespace must match the namespace")
        _, _, space, account = body["spec"]["user"].split(":")
        return 201, body | {"status": {"allowed": self._may(space, account, asked)}}

    def _may(self, space: str, account: str, asked: Object) -> bool:
        """RBAC, as far as roles of the namespace go."""
        subject = {"kind": "ServiceAccount", "name": account, "namespace": space}
        roles = {
            binding["roleRef"]["name"]
            for binding in self._inside("RoleBinding", asked["namespace"])
            if subject in binding["subjects"]
        }
        return any(
            asked["verb"] in rule["verbs"]
            and asked.get("group", "") in rule["apiGroups"]
            and asked["resource"] in rule["resources"]
            and (not rule.get("resourceNames") or asked.get("name") in rule["resourceNames"])
            for role in self._inside("Role", asked["namespace"])
            if role["metadata"]["name"] in roles
            for rule in role["rules"]
        )

    def _inside(self, kind: str, namespace: str) -> list[Object]:
        return [o for o in self.objects if o["kind"] == kind and o["metadata"].get("namespace") == namespace]


def _selected(selector: str) -> list[tuple[str, str]]:
    """The pairs of a=b,c=d."""
    return [(key, value) for key, _, value in (part.partition("=") for part in selector.split(",") if part)]


def _field(thing: Any, path: str) -> Any:
    """What stands at a.b of an object."""
    for name in path.split("."):
        thing = thing[name]
    return thing


def _status(code: int, reason: str, message: str) -> tuple[int, Object]:
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return code, body | {"message": message, "reason": reason, "details": {}, "code": code}


class _Handler(http.server.BaseHTTPRequestHandler):
    server_state: KubernetesServer
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        url = urlsplit(self.path)
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server_state.requests.append(f"{self.command} {url.path}")
        self.server_state.answers.wait()
        status: int
        body: Object | str
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            status, body = _status(401, "Unauthorized", "Unauthorized")
        else:
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            sent = json.loads(content) if content else None
            status, body = self.server_state.answer(self.command, url.path, query, sent)
        text = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(body, str) else "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def log_message(self, *_: Any) -> None:
        """Says nothing."""
