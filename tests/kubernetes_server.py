"""A Kubernetes API server written by hand: lists Workflows and events on a port of this machine, to who may.

Paths, label and field selectors and the bodies of refusals are those of Kubernetes 1.34 (apimachinery, pkg/api/errors): 403
names who, what and where; a list of nothing is an empty list; a resource that nobody installed is 404 and no JSON; who shows
no token is 401.
"""

import contextlib
import datetime
import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

WORKFLOWS = "workflows.argoproj.io"
EVENTS = "events"
_GROUPS = {"/apis/argoproj.io/v1alpha1": {"workflows": WORKFLOWS}, "/api/v1": {"events": EVENTS}}
_TOKEN = "t0ken-of-the-account"


class KubernetesServer:
    """What it holds and who may read it: `objects` by resource, `rights` the resources that may be listed; `delay` seconds
    before each answer. `asked` are the requests, as 'resource in namespace'."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.objects: dict[str, list[dict[str, Any]]] = {WORKFLOWS: [], EVENTS: []}
        self.rights = {WORKFLOWS, EVENTS}
        self.installed = {WORKFLOWS, EVENTS}
        self.asked: list[str] = []
        self.user = "system:serviceaccount:kubeflow:fineline-steps"
        self.delay = threading.Event()
        self.delay.set()
        self.certificate = certificate
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def running(self) -> Iterator["KubernetesServer"]:
        """Listens inside the block."""
        state = self

        class Handler(_Handler):
            server_state = state

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = server.server_port
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield self
        finally:
            self.delay.set()
            server.shutdown()
            server.server_close()

    def kubeconfig(self, folder: Path) -> Path:
        """A kubeconfig for it, in the folder."""
        file = folder / "kubeconfig"
        content = {
            "clusters": [{"name": "test", "cluster": {"server": self.url}}],
            "users": [{"name": "me", "user": {"token": _TOKEN}}],
            "contexts": [{"name": "there", "context": {"cluster": "test", "user": "me"}}],
            "current-context": "there",
        }
        file.write_text(json.dumps(content), encoding="utf-8")
        return file

    def account(self, folder: Path, namespace: str = "kubeflow") -> Path:
        """What a pod finds of its service account."""
        folder.mkdir()
        (folder / "token").write_text(_TOKEN, encoding="utf-8")
        (folder / "namespace").write_text(namespace, encoding="utf-8")
        if self.certificate:
            (folder / "ca.crt").write_bytes(self.certificate.read_bytes())
        return folder

    def event(self, pod: str, reason: str, message: str, kind: str = "Warning", minute: int = 0) -> None:
        """Adds an event of a pod."""
        when = datetime.datetime(2026, 11, 30, 11, minute, tzinfo=datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.objects[EVENTS].append(
            {
                "metadata": {"name": f"{pod}.{len(self.objects[EVENTS]):x}", "namespace": "kubeflow"},
                "involvedObject": {"kind": "Pod", "name": pod, "namespace": "kubeflow"},
                "reason": reason,
                "message": message,
                "type": kind,
                "lastTimestamp": when,
            }
        )

    def answer(self, path: str, query: dict[str, str], token: str) -> tuple[int, Any]:
        """(status, body) of one request."""
        if token != f"Bearer {_TOKEN}":
            return 401, _status(401, "Unauthorized", "Unauthorized")
        group, _, rest = path.partition("/namespaces/")
        namespace, _, plural = rest.partition("/")
        resource = _GROUPS.get(group, {}).get(plural, "")
        self.asked.append(f"{resource} in {namespace}")
        if resource not in self.rights:
            name, _, of = resource.partition(".")
            what = f'cannot list resource "{name}" in API group "{of}" in the namespace "{namespace}"'
            return 403, _status(403, "Forbidden", f'{resource} is forbidden: User "{self.user}" {what}')
        if resource not in self.installed:
            return 404, "404 page not found\n"
        found = [item for item in self.objects[resource] if item["metadata"]["namespace"] == namespace]
        for selector in filter(None, query.get("labelSelector", "").split(",")):
            key, _, value = selector.partition("=")
            found = [item for item in found if item["metadata"].get("labels", {}).get(key) == value]
        for selector in filter(None, query.get("fieldSelector", "").split(",")):
            *parents, key = selector.partition("=")[0].split(".")
            found = [
                item for item in found if (item[parents[0]] if parents else item)[key] == selector.partition("=")[2]
            ]
        return 200, {"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": found}


class _Handler(http.server.BaseHTTPRequestHandler):
    server_state: KubernetesServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server_state.delay.wait()
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        status, body = self.server_state.answer(url.path, query, self.headers.get("Authorization", ""))
        text = body if isinstance(body, str) else json.dumps(body)
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(body, str) else "application/json")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


def _status(code: int, reason: str, message: str) -> dict[str, Any]:
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return status | {"message": message, "reason": reason, "code": code}
