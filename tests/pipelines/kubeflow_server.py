"""A Kubeflow Pipelines API server written by hand: HTTP on a port of this machine, strict, its state in memory.

Modelled after the v2beta1 REST API of Kubeflow Pipelines 2.x: paths, fields and enumerations from the OpenAPI models of
kfp_server_api 2.17 (a field they do not have is answered with 400, as grpc-gateway does); what it refuses and what it takes, and
in which words, from what a real server answered (tests/recorded/errors.json, replayed by test_kubeflow_server.py); the bound
of max_concurrency from recurring_run_server.go; runs from what a real server sent (tests/recorded/runs).

A test sets `frames` (what a run shows, look after look) and `trouble` (answers to give instead), and reads the state.
"""

import base64
import collections
import dataclasses
import datetime
import email
import email.policy
import http.server
import itertools
import json
import re
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kfp_server_api
import yaml

from tests.pipelines.run_shown import run_shown

_PREFIX = "/apis/v2beta1/"
_TYPES = {"STRUCT": ("struct", dict), "STRING": ("string", str), "LIST": ("list", list)}
_NO_SUCH = {
    "runs": "Failed to get a run: Failed to fetch run {0}: ResourceNotFoundError: {1}",
    "experiments": "Failed to create a new run: Failed to create a run due to invalid experimentId and namespace combination: "
    "Failed to fetch namespace for experiment {0}: Failed to fetch namespace from experiment {0}: ResourceNotFoundError: {1}",
    "delete": "Failed to delete a recurring run: Failed to delete recurring run {0}. Check if exists: ResourceNotFoundError: {1}",
    "disable": "Failed to disable a recurring run: Failed to change recurring run's mode to enable:false. "
    "Check if recurring run {0} exists: ResourceNotFoundError: {1}",
    "enable": "Failed to enable a recurring run: Failed to change recurring run's mode to enable:true. "
    "Check if recurring run {0} exists: ResourceNotFoundError: {1}",
}
_LARGEST_OF_CRON = (59, 59, 23, 31, 12, 6)
"""Of second, minute, hour, day, month, weekday."""

Frame = tuple[str, dict[str, str]] | dict[str, Any]
"""State of the run, and of each task that has begun (see run_shown); or a run that a real server sent."""


class Refusal(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str, code: int = 3, detail: str = "") -> None:
        super().__init__(message)
        self.status = status
        details = [{"@type": "type.googleapis.com/google.rpc.Status", "code": code, "message": detail or message}]
        self.body: dict[str, Any] = {"code": code, "message": message, "details": details}


@dataclasses.dataclass
class KubeflowServer:
    """What the server knows and was asked. `trouble` maps 'METHOD path' (a pattern) to statuses it answers first (0 hangs up);
    `page` is what it answers in place of JSON, `wanted` the headers without which it refuses;
    with `certificate` (a PEM file with the key) it speaks TLS."""

    multi_user: bool = False
    tag: str = "2.17.0"
    wanted: dict[str, str] = dataclasses.field(default_factory=dict)
    frames: list[Frame] = dataclasses.field(default_factory=lambda: [("SUCCEEDED", {})])
    trouble: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    page: str = ""
    page_size: int = 100
    certificate: Path | None = None
    pipelines: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    versions: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    experiments: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    recurring: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    paths: list[str] = dataclasses.field(default_factory=list)
    requests: list[str] = dataclasses.field(default_factory=list)
    looks: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    url: str = ""
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)
    ids: Iterator[int] = dataclasses.field(default_factory=lambda: itertools.count(1))

    def __enter__(self) -> "KubeflowServer":
        state = self

        class Handler(_Handler):
            server_state = state

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.url = f"https://localhost:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def changes(self) -> list[str]:
        """The requests that could change something."""
        return [request for request in self.requests if not request.startswith("GET")]

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        """Answers one request. Raises Refusal."""
        match method, path.split("/"):
            case "GET", ["healthz"]:
                return {"commit_sha": "unknown", "tag_name": self.tag, "multi_user": self.multi_user}
            case "GET", ["pipelines"]:
                return self._page(self.pipelines, "pipelines", query, namespaced=True)
            case "POST", ["pipelines"]:
                body = _checked(body, "V2beta1Pipeline", "display_name")
                self._namespace(body)
                return self._add(self.pipelines, "pipeline_id", body, "pipeline", "display_name", "namespace")
            case "GET", ["pipelines", pipeline, "versions"]:
                found = {key: value for key, value in self.versions.items() if value["pipeline_id"] == pipeline}
                return self._page(found, "pipeline_versions", query)
            case "POST", ["pipelines", "upload_version"]:
                return self._upload(query, body)
            case "GET", ["experiments"]:
                return self._page(self.experiments, "experiments", query, namespaced=True)
            case "POST", ["experiments"]:
                body = _checked(body, "V2beta1Experiment", "display_name")
                self._namespace(body)
                return self._add(self.experiments, "experiment_id", body, "experiment", "display_name", "namespace")
            case "POST", ["runs"]:
                body = self._runnable(_checked(body, "V2beta1Run", "display_name"), "Failed to create a new run")
                never = "1970-01-01T00:00:00Z"
                body |= {
                    "storage_state": "AVAILABLE",
                    "scheduled_at": _time(0),
                    "finished_at": never,
                    "state": "PENDING",
                }
                body |= {"state_history": [{"update_time": _time(0), "state": "PENDING"}]}
                return self._add(self.runs, "run_id", body)
            case "GET", ["runs"]:
                return self._page(self.runs, "runs", query)
            case "GET", ["runs", run]:
                return self._look(_of(self.runs, run, "Run", "runs"))
            case "GET", ["recurringruns"]:
                return self._page(self.recurring, "recurringRuns", query, namespaced=True)
            case "POST", ["recurringruns"]:
                return self._schedule(_checked(body, "V2beta1RecurringRun", "display_name", "trigger", "mode"))
            case "DELETE", ["recurringruns", recurring]:
                _of(self.recurring, recurring, "Job", "delete")
                del self.recurring[recurring]
                return {}
            case "POST", ["recurringruns", action] if found := re.fullmatch(r"(.+):(enable|disable)", action):
                _of(self.recurring, found[1], "Job", found[2])["status"] = f"{found[2].upper()}D"
                return {}
        refusal = Refusal(404, "Not Found", 5)
        del refusal.body["details"]
        raise refusal

    def _namespace(self, body: dict[str, Any]) -> None:
        if self.multi_user and not body.get("namespace"):
            raise Refusal(400, "Invalid input error: a namespace is required")
        if not self.multi_user and body.get("namespace"):
            raise Refusal(400, "In single-user mode, the request shouldn't contain namespace")

    def _page(
        self, items: dict[str, dict[str, Any]], field: str, query: dict[str, str], namespaced: bool = False
    ) -> dict[str, Any]:
        found = list(items.values())
        if namespaced:
            self._namespace(query)
            if field != "recurringRuns":
                found = [item for item in found if item.get("namespace", "") == query.get("namespace", "")]
        given = json.loads(query.get("filter") or "{}")
        for unknown in given.keys() - {"predicates"}:
            what = f'proto: (line 1:2): unknown field "{unknown}"'
            what = f"failed to parse valid filter from {json.dumps(query['filter'])}: {what}"
            raise Refusal(400, f"Failed to create list options: Invalid input error: {what}", detail=what)
        for predicate in given.get("predicates", []):
            if predicate["operation"] not in (1, "EQUALS") or predicate["key"] != "display_name":
                raise Refusal(400, "unsupported filter")
            found = [item for item in found if item["display_name"] == predicate["stringValue"]]
        start, size = _start(query.get("page_token", "")), min(int(query.get("page_size") or 10), self.page_size)
        more = {"next_page_token": _token(start + size)} if start + size < len(found) else {}
        return {field: found[start : start + size], "total_size": len(found), **more}

    def _add(
        self, into: dict[str, Any], key: str, body: dict[str, Any], kind: str = "", *unique: str
    ) -> dict[str, Any]:
        if unique and any(all(item.get(name) == body.get(name) for name in unique) for item in into.values()):
            store = " due to server error: Failed to create a pipeline in PipelineStore" if kind == "pipeline" else ""
            exists = {"pipeline": "exist"}.get(kind, "exists")
            what = f"Failed to create a new {kind}. The name {body['display_name']} already {exists}. Please specify a new name"
            raise Refusal(409, f"Failed to create a {kind}{store}: Already exist error: {what}", 6, what)
        number = f"{next(self.ids):08d}-0000-4000-8000-000000000000"
        into[number] = body | {key: number, "created_at": _time(0)}
        return into[number]

    def _upload(self, query: dict[str, str], body: Any) -> dict[str, Any]:
        specification, *platform = yaml.load_all(body["uploadfile"], Loader=yaml.CSafeLoader) if body else [None]
        if not isinstance(specification, dict) or "pipelineInfo" not in specification:
            refusal = Refusal(400, "")
            refusal.body = {"error_message": "unknown template format", "error_details": "unknown template format"}
            raise refusal
        if unknown := set(query) - {"name", "display_name", "description", "pipelineid", "tags"}:
            raise Refusal(400, f"unknown: {unknown}")
        _of(self.pipelines, query["pipelineid"], "Pipeline")
        if not specification["pipelineInfo"]["name"] or not query["name"] or len(platform) > 1:
            raise Refusal(400, "Failed to create a pipeline version")
        version = {"pipeline_id": query["pipelineid"], "name": query["name"], "display_name": query["name"]}
        version["pipeline_spec"] = specification
        return self._add(
            self.versions, "pipeline_version_id", version, "pipeline version", "pipeline_id", "display_name"
        )

    def _runnable(self, body: dict[str, Any], doing: str) -> dict[str, Any]:
        """Checks experiment, version and the arguments' names and types, as the server does before it makes an Argo workflow,
        and gives `body` with what it fills in. It checks neither the arguments' size nor the service account."""
        if not body.get("experiment_id"):
            self.experiments.setdefault("default", {"experiment_id": "default", "display_name": "Default"})
        _of(self.experiments, body.setdefault("experiment_id", "default"), "Experiment", "experiments")
        reference = body["pipeline_version_reference"]
        number = reference["pipeline_version_id"]
        if number not in self.versions:
            why = "Failed to create a run due to error fetching manifest: "
            why += "Failed to fetch a template due to error retrieving pipeline version: "
            why += f"Failed to fetch a pipeline version and its manifest from pipeline version {number}: "
            why += f"Failed to get a pipeline version with id {number}: ResourceNotFoundError: PipelineVersion {number} not found"
            raise Refusal(500, f"{doing}: InternalServerError: {why}", 13, "Internal Server Error")
        version = self.versions[number]
        if version["pipeline_id"] != reference["pipeline_id"]:
            raise Refusal(400, "pipeline ID should be parent of pipeline version")
        inputs = version["pipeline_spec"]["root"]["inputDefinitions"]["parameters"]
        wrong = ""
        for name, value in body.get("runtime_config", {}).get("parameters", {}).items():
            kind, python = _TYPES[inputs[name]["parameterType"]] if name in inputs else ("", object)
            if name not in inputs:
                wrong = f"parameter(s) provided are not required by pipeline: {name}"
            elif not isinstance(value, python):
                wrong = (
                    f"input parameter {name} requires type {kind}, but the input parameter is not of {kind} value type"
                )
        if wrong:
            why = f"Failed to generate the ExecutionSpec: invalid pipeline job inputs: Invalid input error: {wrong}"
            raise Refusal(400, f"{doing}: {why}", detail=wrong)
        return {"service_account": "pipeline-runner"} | body

    def _schedule(self, body: dict[str, Any]) -> dict[str, Any]:
        body = self._runnable(body, "Failed to create a recurring run")
        if not 1 <= int(body.get("max_concurrency", 0)) <= 10:
            raise Refusal(400, "The max concurrency of the recurring run is out of range. Support 1-10.")
        if wrong := _cron_error(body["trigger"]["cron_schedule"]["cron"]):
            why = f"Schedule cron is not a supported format(https://godoc.org/github.com/robfig/cron). Error: {wrong}"
            conversion = "Failed to create a recurring run due to conversion error: Invalid input error"
            raise Refusal(400, f"{conversion}: {why}", detail=why)
        status = {"ENABLE": "ENABLED", "DISABLE": "DISABLED"}[body["mode"]]
        body |= {"status": status, "max_concurrency": str(body["max_concurrency"]), "updated_at": _time(0)}
        return self._add(self.recurring, "recurring_run_id", {"namespace": "kubeflow"} | body)

    def _look(self, run: dict[str, Any]) -> dict[str, Any]:
        """The run's next frame; the last one stays."""
        number = run["run_id"]
        frame = self.frames[min(self.looks[number], len(self.frames) - 1)]
        self.looks[number] += 1
        shown = frame if isinstance(frame, dict) else run_shown(*frame)
        return run | {key: shown[key] for key in ("state", "state_history", "run_details")}


class _Handler(http.server.BaseHTTPRequestHandler):
    server_state: KubeflowServer
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        state, url = self.server_state, urlsplit(self.path)
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = url.path.partition(_PREFIX)[2]
        request = f"{self.command} {path}"
        with state.lock:
            state.paths.append(url.path)
            state.requests.append(request)
            key = next((key for key in state.trouble if state.trouble[key] and re.fullmatch(key, request)), None)
            trouble = state.trouble[key].pop(0) if key else 200
        if trouble == 0:
            self.close_connection = True
            self.connection.close()
            return
        if state.page:
            self._send(200, state.page, "text/html; charset=utf-8")
            return
        try:
            if trouble != 200:
                raise Refusal(trouble, "no healthy upstream", 14)
            for name, value in state.wanted.items():
                if self.headers.get(name) != value:
                    raise Refusal(401 if name not in self.headers else 403, f"{name} is missing or wrong", 16)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            with state.lock:
                answer = state.answer(self.command, path, query, self._body(content))
            self._send(200, json.dumps(answer))
        except Refusal as refusal:
            self._send(refusal.status, json.dumps(refusal.body))

    do_GET = do_POST = do_DELETE = _handle

    def _body(self, content: bytes) -> Any:
        kind = self.headers.get("Content-Type", "")
        if not content:
            return {}
        if kind.startswith("multipart/form-data"):
            whole = b"Content-Type: " + kind.encode() + b"\r\n\r\n" + content
            parts = email.message_from_bytes(whole, policy=email.policy.HTTP).iter_parts()
            return {part.get_param("name", header="content-disposition"): part.get_content() for part in parts}
        return json.loads(content)

    def _send(self, status: int, text: str, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


def _checked(body: dict[str, Any], model: str, *required: str) -> dict[str, Any]:
    known = getattr(kfp_server_api, model).attribute_map.values()
    if unknown := set(body) - set(known):
        raise Refusal(400, f"proto: unknown field {sorted(unknown)}")
    if missing := [name for name in required if not body.get(name)]:
        raise Refusal(400, f"Invalid input error: {missing} cannot be empty")
    return body


def _of(items: dict[str, Any], key: str, kind: str, doing: str = "") -> Any:
    if key not in items:
        what = f"{kind} {key} not found"
        raise Refusal(404, _NO_SUCH.get(doing, "ResourceNotFoundError: {1}").format(key, what), 5, what)
    return items[key]


def _cron_error(cron: str) -> str:
    """What robfig/cron says against six fields, seconds first, the weekday optional: so five are taken, and mean another time."""
    fields = cron.split()
    if len(fields) not in (5, 6):
        return f"Expected 5 to 6 fields, found {len(fields)}: {cron}"
    for field, largest in zip(fields, _LARGEST_OF_CRON, strict=False):
        for number in re.findall(r"\d+", field.partition("/")[0]):
            if int(number) > largest:
                return f"End of range ({number}) above maximum ({largest}): {field}"
    return ""


def _token(start: int) -> str:
    return base64.b64encode(str(start).encode()).decode()


def _start(token: str) -> int:
    try:
        return int(base64.b64decode(token) or 0)
    except ValueError:
        what = "Invalid page token"
        why = f"InvalidInputError: {what}: illegal base64 data at input byte 0"
        raise Refusal(400, f"Failed to create list options: {why}", detail=what) from None


def _time(seconds: int) -> str:
    moment = datetime.datetime(2026, 11, 20, 3, 0, tzinfo=datetime.UTC) + datetime.timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
