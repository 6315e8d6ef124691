"""The connection to a Kubeflow Pipelines server: address, credentials, errors.

It is kfp's generated client (kfp_server_api), set up as kfp.Client does it. kfp.Client itself is not used: it asks the server
for 25 seconds, with tracebacks, before it says that a token is wrong, and it keeps settings in the home folder.
"""

import argparse
import dataclasses
import json
import logging
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fineline.process.errors import ResourceError, UsageError

HOST = "KF_PIPELINES_ENDPOINT"
UI = "KF_PIPELINES_UI_ENDPOINT"
TOKEN = "FINELINE_KFP_TOKEN"
TOKEN_FILE = "KF_PIPELINES_SA_TOKEN_PATH"
COOKIES = "FINELINE_KFP_COOKIES"
KUBE_CONTEXT = "FINELINE_KFP_KUBE_CONTEXT"
CA_FILE = "FINELINE_KFP_CA_FILE"
"""Environment variables. The three that start with KF_ are kfp's own."""
INSTALLED_IN = "kubeflow"
"""The namespace in which Kubeflow Pipelines is installed, as its manifests have it."""

_TOKEN_IN_POD = "/var/run/secrets/kubeflow/pipelines/token"
_PROXY = f"/api/v1/namespaces/{INSTALLED_IN}/services/ml-pipeline:http/proxy"
_SECONDS = (10, 60)  # to connect, to answer
_CREDENTIALS_HINT = "docs/cluster.md, 'Credentials of the client', says how to get one and where to put it"
_REACH_HINT = (
    f"kubectl port-forward --namespace {INSTALLED_IN} svc/ml-pipeline-ui 8080:80 makes it --host http://localhost:8080"
)


class ServerError(ResourceError):
    """The server said no or did not answer; `status` is the HTTP status, 0 when there was no answer."""

    def __init__(self, what: str, hint: str, status: int) -> None:
        super().__init__(what, hint)
        self.status = status

    @property
    def transient(self) -> bool:
        """Whether the same request may be answered a little later."""
        return self.status in (0, 429) or self.status >= 500


@dataclasses.dataclass(frozen=True)
class Server:
    """A server to call. `ui` is its address in a browser, '' when unknown; `credential` says what it was called with."""

    host: str
    ui: str
    namespace: str | None
    credential: str
    api: Any

    def call(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Calls a method of kfp_server_api, such as 'RunServiceApi.run_service_get_run'. Raises ServerError."""
        import kfp_server_api
        from urllib3.exceptions import HTTPError, SSLError

        service, _, name = method.partition(".")
        bound = getattr(getattr(kfp_server_api, service)(self.api), name)
        try:
            return bound(*arguments, _request_timeout=_SECONDS, **named)
        except kfp_server_api.ApiException as error:
            raise self._refused(error.status, _message(error.body or error.reason)) from None
        except HTTPError as error:
            reason = getattr(error, "reason", None) or error
            hint = f"name the certificates to trust in {CA_FILE}" if isinstance(reason, SSLError) else _REACH_HINT
            text = str(reason).rpartition("): ")[2][:200]  # without urllib3's name of the connection
            raise ServerError(f"{self.host} does not answer: {text}", hint, 0) from None

    def named(self, method: str, name: str, **where: Any) -> list[Any]:
        """Everything of that display name that a list method of kfp_server_api finds. Raises ServerError."""
        predicate = {"operation": "EQUALS", "key": "display_name", "stringValue": name}
        return self.listed(method, filter=json.dumps({"predicates": [predicate]}), **where)

    def listed(self, method: str, **where: Any) -> list[Any]:
        """Everything that a list method of kfp_server_api finds, page after page. Raises ServerError."""
        items: list[Any] = []
        token = ""
        while True:
            given = {name: value for name, value in where.items() if value is not None}
            answer = self.call(method, page_token=token, page_size=100, **given)
            field = next(name for name, kind in answer.openapi_types.items() if kind.startswith("list["))
            items += getattr(answer, field) or []
            token = answer.next_page_token or ""
            if not token:
                return items

    def _refused(self, status: int, message: str) -> ServerError:
        if status in (401, 403):
            tried = f"with {self.credential}" if self.credential else "no credential was given"
            return ServerError(f"{self.host} refuses access ({status}, {tried}): {message}", _CREDENTIALS_HINT, status)
        return ServerError(f"{self.host} answers {status}: {message}", _REACH_HINT if status == 404 else "", status)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that say which server: --host and --namespace."""
    parser.add_argument(
        "--host",
        metavar="URL",
        default=os.environ.get(HOST, ""),
        help=f"address of Kubeflow Pipelines, what the browser shows before '#' ({HOST})",
    )
    parser.add_argument("--namespace", metavar="NS", help="your namespace, if the server is a multi-user one")


def connect(host: str, namespace: str | None) -> Server:
    """The server at `host`, by `reach`. Raises UsageError too when it is a multi-user server and there is no namespace, or one
    and it is none."""
    server, health = reach(host, namespace)
    multi_user = health.get("multi_user", False)
    if multi_user and not namespace:
        raise UsageError(f"{server.host} is a multi-user server", "say which namespace is yours: --namespace NS")
    if namespace and not multi_user:
        raise UsageError(f"{server.host} is a single-user server, without namespaces", "leave out --namespace")
    return server


def reach(host: str, namespace: str | None) -> tuple[Server, dict[str, Any]]:
    """The server at `host`, and what it says of itself (`multi_user`, `tag_name`); without `host`, through the API server of the
    Kubernetes context FINELINE_KFP_KUBE_CONTEXT.

    Credentials come from the environment alone: FINELINE_KFP_TOKEN, or the service account's token in the file
    KF_PIPELINES_SA_TOKEN_PATH, which is read anew for every request; FINELINE_KFP_COOKIES; and in FINELINE_KFP_CA_FILE the
    certificates to trust. Raises UsageError, and ServerError for a server that is down, refuses, or is something else.
    """
    import kfp_server_api
    from urllib3 import Retry

    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it announces every retry
    configuration = kfp_server_api.Configuration(host=_checked(host))
    # Repeats GET and DELETE after these answers, and nothing that timed out: that would be four times the wait, in silence.
    configuration.retries = Retry(
        3, connect=0, read=0, backoff_factor=0.3, status_forcelist=(429, 502, 503, 504), raise_on_status=False
    )
    configuration.ssl_ca_cert = _file(CA_FILE)
    credentials = [_authenticate(configuration)]
    if cookies := os.environ.get(COOKIES):
        credentials.append(f"the cookies in {COOKIES}")
    server = Server(
        configuration.host,
        (os.environ.get(UI) or host).rstrip("/"),
        namespace,
        " and ".join(filter(None, credentials)),
        kfp_server_api.ApiClient(configuration, cookie=cookies),
    )
    return server, _health(server)


def _checked(host: str) -> str:
    if not host:
        if os.environ.get(KUBE_CONTEXT):
            return ""
        raise UsageError("which Kubeflow Pipelines server?", f"give --host URL, or set {HOST} or {KUBE_CONTEXT}")
    parts = urlsplit(host)
    if "@" in parts.netloc:
        raise UsageError("--host holds a user name or password", _CREDENTIALS_HINT)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise UsageError(f"--host {host} is not an address", "write http(s)://HOST[:PORT][/PATH], nothing after it")
    return host.rstrip("/")


def _authenticate(configuration: Any) -> str:
    """Puts the credential into the configuration; says which it is, without its value."""
    if token := os.environ.get(TOKEN):
        configuration.api_key["authorization"] = token
        configuration.api_key_prefix["authorization"] = "Bearer"
        return f"the token in {TOKEN}"
    if file := _file(TOKEN_FILE) or (_TOKEN_IN_POD if Path(_TOKEN_IN_POD).is_file() else None):
        from kfp.client import ServiceAccountTokenVolumeCredentials

        configuration.refresh_api_key_hook = ServiceAccountTokenVolumeCredentials(file).refresh_api_key_hook
        configuration.refresh_api_key_hook(configuration)
        configuration.api_key_prefix["authorization"] = "Bearer"
        return f"the service account's token in {file}"
    if (context := os.environ.get(KUBE_CONTEXT)) and not configuration.host:
        _go_through_kubernetes(configuration, context)
        return f"the Kubernetes context {context}"
    return ""


def _go_through_kubernetes(configuration: Any, context: str) -> None:
    """Sets the configuration to the API server of a context of the kubeconfig, which passes requests on.

    What kubernetes loads stays in a configuration of its own: whenever it renews the token it sets the address anew too.
    """
    from kubernetes import client, config

    loaded = client.Configuration()
    try:
        config.load_kube_config(client_configuration=loaded, context=context)
    except config.ConfigException as error:
        raise ResourceError(
            f"Kubernetes context {context}: {error}", f"kubectl config get-contexts lists them; correct {KUBE_CONTEXT}"
        ) from None
    configuration.host = loaded.host + _PROXY
    for name in ("ssl_ca_cert", "cert_file", "key_file", "verify_ssl"):
        setattr(configuration, name, getattr(loaded, name))

    def renew(ours: Any) -> None:
        if token := loaded.get_api_key_with_prefix("authorization"):
            ours.api_key["authorization"] = token

    renew(configuration)
    configuration.refresh_api_key_hook = renew


def _file(variable: str) -> str | None:
    """The file that an environment variable names; None when it is not set."""
    path = os.environ.get(variable) or None
    if path and not os.access(path, os.R_OK):
        raise ResourceError(f"{variable} names {path}, which cannot be read", "correct it, or unset it")
    return path


def _health(server: Server) -> dict[str, Any]:
    """What the server says of itself; raises ServerError when it is not Kubeflow Pipelines."""
    answer = server.call("HealthzServiceApi.healthz_service_get_healthz", _preload_content=False)
    try:
        health = json.loads(answer.data)
    except ValueError:
        health = None
    if isinstance(health, dict):
        return health
    kind = answer.headers.get("Content-Type", "nothing")
    raise ServerError(
        f"{server.host} is not Kubeflow Pipelines, or wants a login first: it answers with {kind}",
        f"{_CREDENTIALS_HINT}; {_REACH_HINT}",
        answer.status,
    )


def _message(body: str) -> str:
    """One line of an error body: {"message": ...} of the API, {"error_message": ...} of uploads, or plain text."""
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    if isinstance(content, dict):
        body = str(content.get("error_message") or content.get("message") or content.get("error") or body)
    return " ".join(body.split())[:300]
