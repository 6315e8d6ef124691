"""The MLflow that fineline speaks to: its addresses, its client, its experiment, and what to say when it does not answer."""

import logging
import os
from typing import Any
from urllib.parse import urlsplit

from fineline.process.errors import FinelineError, ResourceError, UsageError
from fineline.tracking import embedded_store, mlflow_server

DEFAULT_URI = "sqlite:///mlflow.db"
DEFAULT_EXPERIMENT = "fineline"
_LOGS = {
    "mlflow": logging.WARNING,
    "mlflow.store.db.utils": logging.CRITICAL,
    "alembic": logging.WARNING,
    "urllib3": logging.ERROR,
}


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, or sqlite:///mlflow.db here. Raises UsageError for what MLflow would print or cannot use."""
    return _address("MLFLOW_TRACKING_URI") or DEFAULT_URI


def registry_uri() -> str:
    """MLFLOW_REGISTRY_URI, where the registry lies elsewhere; else `tracking_uri()`."""
    return _address("MLFLOW_REGISTRY_URI") or tracking_uri()


def shown_registry() -> str:
    """`registry_uri()` for people, without what may be secret in it."""
    return mlflow_server.shown(registry_uri())


def need_registry() -> None:
    """Raises ResourceError where the registry is a SQLite file that is not there: MLflow would make an empty one."""
    uri = registry_uri()
    if uri.startswith("sqlite") and not (store := mlflow_server.sqlite_file(uri)).is_file():
        raise ResourceError(
            f"there is no model registry here: {store} does not exist",
            "go to the project's folder, set MLFLOW_TRACKING_URI, or run the pipeline first: make run, or dvc repro",
        )


def _address(variable: str) -> str:
    uri = os.environ.get(variable, "")
    try:
        parts = urlsplit(uri)
        parts.port  # noqa: B018  reading it is the check
    except ValueError as error:
        raise UsageError(f"{variable} is no address ({error})", f"use {DEFAULT_URI} or a server's address") from None
    web = parts.scheme in ("http", "https")
    if web and ("@" in parts.netloc or parts.query):
        raise UsageError(
            f"{variable} holds a {'query' if parts.query else 'user name or password'}, which MLflow would print",
            "put them in MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
        )
    if web and not parts.hostname:
        raise UsageError(f"{variable} names no host ({uri})", "write it like http://mlflow.example.com:5000")
    if uri and parts.scheme in ("", "file"):
        raise UsageError(
            f"MLflow no longer keeps runs in a folder ({uri})", f"use {DEFAULT_URI} or a server's http(s) address"
        )
    return uri


def experiment() -> str:
    """Name of the experiment that runs go to: MLFLOW_EXPERIMENT_NAME, or fineline."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or DEFAULT_EXPERIMENT


def experiment_id(server: Any, name: str) -> str:
    """The id of the experiment `name`, which is made when there is none."""
    from mlflow.exceptions import MlflowException

    found = server.get_experiment_by_name(name)
    if found is None:
        try:
            made = server.create_experiment(name)
        except MlflowException:  # another process made it in between
            found = server.get_experiment_by_name(name)
        else:
            if tracking_uri().startswith("sqlite"):  # MLflow takes the folder that this process is in
                embedded_store.settle(mlflow_server.sqlite_file(tracking_uri()))
            return made
    return found.experiment_id


def client() -> Any:
    """An MlflowClient of `tracking_uri()` and `registry_uri()`, which both answer. Raises FinelineError when one does not."""
    from mlflow import MlflowClient

    # MLflow logs what it then raises, with a traceback; urllib3 each try that fails.
    for name, level in _LOGS.items():
        logging.getLogger(name).setLevel(level)
    mlflow_server.answer_once()
    try:
        for uri in dict.fromkeys((tracking_uri(), registry_uri())):
            mlflow_server.probe(uri)
            if uri.startswith("sqlite"):
                embedded_store.settle(mlflow_server.sqlite_file(uri))
            server = MlflowClient(uri)  # opens the store at `uri`, so that what it raises is raised here
    except Exception as error:
        raise explained(error) from error
    return server if uri == tracking_uri() else MlflowClient(tracking_uri())


def explained(error: Exception) -> FinelineError:
    """What to raise when the server or the registry was needed and `error` came instead."""
    return mlflow_server.explained(error, tracking_uri(), registry_uri())
