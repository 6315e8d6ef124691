"""MLflow's server or database as a client meets it: whether it answers at all, and what each of its errors means.

MLflow raises one exception for most of what can go wrong, and asks a dead address for minutes. Here every failure is classed
once: no answer, a credential or a permission refused, something not there, a locked file, something that is not MLflow.
"""

import contextlib
import json
import os
import re
import socket
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from fineline.process.errors import FinelineError, ResourceError, Unavailable, UsageError
from fineline.process.patience import may_pass, origins, status_of

_SECONDS_TO_ANSWER = 10.0
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}  # MLflow's databases beside SQLite, and where they listen
_AGAIN = "then run the same command again"
_LONGEST = 200

_ANSWERED = re.compile(r"failed with error code (\d{3})|\b(\d{3}) (?:Client|Server) Error")
_CALLED = re.compile(r"/mlflow/([a-z-]+)/([a-z-]+)|/(mlflow-artifacts)/artifacts")
_DELETED = re.compile(r"The (run|experiment) (\S+) must be in the 'active' state")
_REFUSED = re.compile(r"\[Errno -?\d+\] ([^'\")\]]+)")
_TOO_MANY = re.compile(r"too many (\d{3}) error responses")
_DRIVERS = {"psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}  # module -> package, where they differ


def probe(uri: str) -> None:
    """Raises what the server or database at `uri` raises, or TimeoutError, within 10 s; MLflow's clients would ask for minutes.

    Any answer is one, a refusal too: what is asked next will say it better.
    """
    parts = urlsplit(uri)
    kind = parts.scheme.partition("+")[0]
    if kind in ("http", "https"):
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request

        server = get_default_host_creds(uri)
        http_request(server, "/health", "GET", max_retries=0, retry_codes=(), timeout=_SECONDS_TO_ANSWER)
    elif kind == "sqlite":
        file = sqlite_file(uri)
        if file.is_file():
            readable = f"{file.absolute().as_uri()}?mode=ro"
            with contextlib.closing(sqlite3.connect(readable, uri=True, timeout=_SECONDS_TO_ANSWER)) as connection:
                connection.execute("PRAGMA schema_version")
    elif kind in _PORTS:
        import sqlalchemy

        if parts.hostname and "," not in parts.netloc:
            socket.create_connection((parts.hostname, parts.port or _PORTS[kind]), timeout=_SECONDS_TO_ANSWER).close()
        engine = sqlalchemy.create_engine(uri)
        engine.connect().close()
        engine.dispose()


def answer_once() -> None:
    """Lets MLflow's client try again what a server answered with 429 or 5xx, which passes in seconds, and nothing else.

    MLflow has one number for all that can fail. After a timeout it would ask a server that is down for minutes, and create a
    second time what the server did create; fineline.process.patience is what waits for one. Before a client is made.
    """
    from mlflow.utils import request_utils
    from urllib3.exceptions import MaxRetryError
    from urllib3.util import Retry

    class OfAnswers(Retry):
        def increment(
            self,
            method: str | None = None,
            url: str | None = None,
            response: Any = None,
            error: Exception | None = None,
            _pool: Any = None,
            _stacktrace: Any = None,
        ) -> Any:
            if error:
                raise MaxRetryError(_pool, url or "", error) from error
            return super().increment(method, url, response, error, _pool, _stacktrace)

    sessions: Any = request_utils
    sessions.Retry = OfAnswers  # what it makes a session with; tests/fineline/test_mlflow_retries.py counts requests


def sqlite_file(uri: str) -> Path:
    """The file of the address sqlite:///FILE."""
    return Path(uri.partition(":///")[2].partition("?")[0])


def shown(uri: str) -> str:
    """`uri` for people: without a user, a password and a query, which may hold a token."""
    without = uri if uri.startswith("sqlite") else re.sub(r"//.*@", "//", uri)
    return without.partition("?")[0]


def explained(error: Exception, tracking: str, registry: str) -> FinelineError:
    """What to raise when the server at the address `tracking`, or the one at `registry`, was needed and `error` came instead."""
    if isinstance(error, FinelineError):
        return error
    text = " ".join(str(each) for each in origins(error))
    other = registry != tracking and registry.rstrip("/") in text
    uri = registry if other else tracking
    noun = "registry" if other else "tracking server" if uri.startswith("http") else "database"
    at = f"the MLflow {noun} {shown(uri)}"
    variable = "MLFLOW_REGISTRY_URI" if other else "MLFLOW_TRACKING_URI"
    reason = _hidden(_reason(error), (tracking, registry))
    found = (
        _of_the_driver(error, at, reason)
        or _of_the_file(text, at, uri)
        or _refused(error, text, at)
        or _not_there(error, text, at, reason, apart=registry != tracking)
    )
    if found:
        return found
    if may_pass(error):
        return Unavailable(f"{at} does not answer ({reason})", f"start it or correct {variable}, {_AGAIN}")
    if _is_not_mlflow(error, text):
        return ResourceError(
            f"what answers at {shown(uri)} is not MLflow ({reason})",
            f"correct {variable}; a sign-in page in front of it is passed with MLFLOW_TRACKING_TOKEN",
        )
    if "out-of-date database schema" in text:
        return ResourceError(
            f"{at} was made by another version of MLflow",
            "keep a copy of the database, then run 'mlflow db upgrade' on it",
        )
    return ResourceError(f"{at} failed ({reason})", f"that is its own answer: its log may say more; mend it, {_AGAIN}")


def _of_the_driver(error: Exception, at: str, reason: str) -> FinelineError | None:
    """An address whose driver or scheme is not known here, or an installation in which no database can be made."""
    if isinstance(error, ImportError):
        package = _DRIVERS.get(error.name or "", error.name or "its driver")
        return ResourceError(f"{at} needs a driver that is not installed ({reason})", f"pip install {package}")
    kind = type(error).__name__
    if kind in (
        "NoSuchModuleError",
        "ArgumentError",
        "UnsupportedModelRegistryStoreURIException",
        "InvalidUrlException",
    ):
        return UsageError(
            f"{at}: there is no such kind of address",
            "MLFLOW_TRACKING_URI is a server's http(s) address, sqlite:///mlflow.db, or postgresql+psycopg2://HOST/DATABASE",
        )
    if isinstance(error, ValueError) and "interpolation" in str(error):
        return ResourceError(
            f"MLflow makes no database while the path of its installation holds a % ({reason})",
            "move the project with its .venv to a path without one, or track on a server (MLFLOW_TRACKING_URI)",
        )
    return None


def _of_the_file(text: str, at: str, uri: str) -> FinelineError | None:
    """A SQLite file that is locked, closed to this user, or none."""
    if not uri.startswith("sqlite"):
        return None
    if "database is locked" in text:
        return ResourceError(
            f"{at} is locked by another program", f"wait for it, or end it (lsof shows which), {_AGAIN}"
        )
    for words, what in (
        ("readonly database", "may not be written"),
        ("unable to open database file", "cannot be opened"),
        ("No such file or directory", "lies in a folder that cannot be made"),
        ("file is not a database", "is no SQLite database"),
        ("database disk image is malformed", "is damaged"),
    ):
        if words in text:
            return ResourceError(f"{at} {what}", "correct MLFLOW_TRACKING_URI, the file or the rights on its folder")
    return None


def _refused(error: Exception, text: str, at: str) -> FinelineError | None:
    """A credential that is not known (401), or a user without a permission (403)."""
    status = _status(error, text)
    user = os.environ.get("MLFLOW_TRACKING_USERNAME", "")
    token = os.environ.get("MLFLOW_TRACKING_TOKEN", "")
    who = f"the user {user}" if user else "the token in MLFLOW_TRACKING_TOKEN" if token else "who gives no credential"
    if status == 401:
        return ResourceError(
            f"{at} does not know {who}, or not with this password (401)" if user else f"{at} refuses {who} (401)",
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, to a user of it",
        )
    if "password authentication failed" in text or "Access denied for user" in text:
        return ResourceError(
            f"{at} refuses its user or password", "correct them in MLFLOW_TRACKING_URI (or PGUSER, PGPASSWORD)"
        )
    if status != 403:
        return None
    if "Invalid Host header" in text:
        return ResourceError(
            f"{at} does not answer under this name (403, Invalid Host header)",
            "ask it under another, or add this one to its --allowed-hosts",
        )
    permission, call = _permission(text)
    return ResourceError(
        f"{at} refuses {who}: {call} is not permitted (403)",
        f"whoever administers it grants {permission}, or another user is set in MLFLOW_TRACKING_USERNAME",
    )


def _permission(text: str) -> tuple[str, str]:
    """(what must be granted, what was asked) from the address in an error's text. MLflow's permissions are READ, EDIT, MANAGE:
    https://mlflow.org/docs/latest/self-hosting/security/basic-http-auth/"""
    match = _CALLED.search(text)
    if not match:
        return "the permission EDIT on the experiment and the registered model", "what was asked"
    group, verb = match[1] or "artifacts", match[2] or "write"
    owner = "registered model" if group in ("registered-models", "model-versions") else "experiment"
    reads = verb.startswith(("get", "search", "list", "download"))
    level = "READ" if reads else "MANAGE" if verb.startswith(("delete", "restore")) else "EDIT"
    return f"the permission {level} on the {owner}", f"{group}/{verb}"


def _not_there(error: Exception, text: str, at: str, reason: str, apart: bool) -> FinelineError | None:
    """A run, experiment or version that was deleted, or that this server never had."""
    if match := _DELETED.search(text):
        kind, number = match[1], match[2]
        option = "--run-id" if kind == "run" else "--experiment-id"
        return ResourceError(
            f"the {kind} {number} of {at} was deleted",
            f"'mlflow {kind}s restore {option} {number}' brings it back, {_AGAIN}",
        )
    if getattr(error, "error_code", "") not in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
        return None
    if apart:
        hint = "MLFLOW_REGISTRY_URI must be a database, or a server that also knows the runs of MLFLOW_TRACKING_URI"
    else:
        hint = "it was removed for good (mlflow gc), or MLFLOW_TRACKING_URI should name another server"
    return ResourceError(f"{at} does not have what was asked ({reason})", hint)


def _is_not_mlflow(error: Exception, text: str) -> bool:
    return (
        getattr(error, "error_code", "") == "ENDPOINT_NOT_FOUND"
        or _status(error, text) == 404
        or "not in a valid JSON format" in text
        or isinstance(error, json.JSONDecodeError)
    )


def _status(error: Exception, text: str) -> int:
    """The HTTP status that the server answered; 0 when none is known."""
    by_code = {"UNAUTHENTICATED": 401, "CUSTOMER_UNAUTHORIZED": 401, "PERMISSION_DENIED": 403}
    if status := by_code.get(getattr(error, "error_code", "")) or status_of(error):
        return status
    match = _ANSWERED.search(text)
    return int(match[1] or match[2]) if match else 0


def _reason(error: Exception) -> str:
    """The innermost reason in one line."""
    text = " ".join(str(error).split())
    if match := _TOO_MANY.search(text):
        return f"it answers {match[1]}"
    if match := _REFUSED.search(text):
        return match[1].strip()
    if re.search(r"timeout|timed out", text, re.IGNORECASE):
        return "no answer in time"
    if "Connection aborted" in text:
        return "the connection was cut"
    body = re.sub(r"\bResponse body: '.*", "", text).strip()
    first = next(iter(str(error).strip().splitlines()), "")
    return (body if "Response body" in first else first)[:_LONGEST] or type(error).__name__


def _hidden(text: str, uris: tuple[str, ...]) -> str:
    """`text` without the passwords, queries and tokens that the addresses and the environment hold."""
    secrets: list[Any] = [os.environ.get(f"MLFLOW_TRACKING_{name}") for name in ("PASSWORD", "TOKEN")]
    for uri in uris:
        text = text.replace(uri, shown(uri))
        parts = urlsplit(uri)
        secrets += [parts.password, unquote(parts.password or ""), parts.query, *dict(parse_qsl(parts.query)).values()]
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    return re.sub(r"//[^/@\s]+@", "//***@", text)
