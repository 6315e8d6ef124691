"""MLflow tracking that never costs the work: figures go to an append-only journal first and are sent from there.

The journal, `events.jsonl`, lies in the folder that a step writes and travels with the artifact: each later step goes on
with a copy of its input's. What the server did not take is sent by the next step that reaches it.
"""

import json
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fineline import embedded_store, mlflow_server, patience
from fineline.artifacts import EVENTS
from fineline.errors import FinelineError, ResourceError, UsageError

DEFAULT_URI = "sqlite:///mlflow.db"
DEFAULT_EXPERIMENT = "fineline"
PIPELINE_RUN = "FINELINE_PIPELINE_RUN"
"""Environment variable with the id of the orchestrator's run; MLflow runs carry it as a tag."""
PIPELINE_RUN_TAG = "fineline.pipeline_run"
CONTINUED_TAG = "fineline.continued_in"
"""Tag of a training with the pipeline's run that went on with it, where another one began it: from a checkpoint or a cache."""
DATA_TAG = "fineline.data_digest"
"""Tag that every training has, and no other run."""
GATE_TAG = "fineline.gate"
"""Tag of a training with evaluate's verdict, passed or failed."""
DECISION_TAG, REASON_TAG = "fineline.decision", "fineline.reason"
"""Tags of a decision whether to train: RETRAIN or SKIPPED, and why."""
RETRAIN, SKIPPED = "retrain", "skipped"

_LOGS = {
    "mlflow": logging.WARNING,
    "mlflow.store.db.utils": logging.CRITICAL,
    "alembic": logging.WARNING,
    "urllib3": logging.ERROR,
}
_SECONDS_BETWEEN_SENDS = 3.0
_SECONDS_TO_SEND = 20.0
_SECONDS_TO_SEND_LOCALLY = 120.0  # a new SQLite file needs 13 s on a busy machine, and is never a server that is down
_SECONDS_TO_SEND_AGAIN = 4.0
_METRICS_AT_ONCE = 500
_TAGS_AT_ONCE = 100  # MLflow refuses more parameters or tags in one request


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
            "go to the project's folder, set MLFLOW_TRACKING_URI, or run the pipeline first (make run)",
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


class Journal:
    """The events of one MLflow run, in order, on disk. Events: run, metrics, tags, and sent (how many the server has).

    Opening a journal that exists goes on with it: figures that it already holds for a step are not written twice.
    """

    def __init__(self, path: Path):
        self.path = path
        self.events: list[dict[str, Any]] = []
        if path.is_file():
            written = path.read_bytes()
            whole = written[: written.rfind(b"\n") + 1]  # a line without its end was cut off by a kill
            if whole != written:
                os.truncate(path, len(whole))
            self.events = [json.loads(line) for line in whole.splitlines()]
        sent = [event for event in self.events if event["kind"] == "sent"]
        self.run_id: str = sent[-1]["run_id"] if sent else ""
        self._sent: int = sent[-1]["upto"] if sent else 0
        self._seen = {(key, e["step"]) for e in self.events if e["kind"] == "metrics" for key in e["values"]}
        self._failure = ""
        self._closed = False
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._stop = threading.Event()

    @property
    def started(self) -> bool:
        """Whether the journal holds a run."""
        return any(event["kind"] == "run" for event in self.events)

    def run(
        self, name: str, params: Mapping[str, Any], tags: Mapping[str, str], datasets: Iterable[dict[str, str]]
    ) -> None:
        """Opens the run. `datasets` are {name, digest, context} of the inputs, and source, MLflow's JSON, where it is known."""
        tags = dict(tags)
        if pipeline_run := os.environ.get(PIPELINE_RUN):
            tags[PIPELINE_RUN_TAG] = pipeline_run
        self._append(
            kind="run", name=name, experiment=experiment(), params=dict(params), tags=tags, datasets=list(datasets)
        )

    def goes_on(self) -> None:
        """Tags the run with this run of the pipeline, where another one began it."""
        pipeline_run = os.environ.get(PIPELINE_RUN)
        began = {event["tags"].get(PIPELINE_RUN_TAG) for event in self.events if event["kind"] == "run"}
        if pipeline_run and began and pipeline_run not in began:
            self.tags({CONTINUED_TAG: pipeline_run})

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Figures at a training step; a figure of that name and step that is there already is left as it is."""
        new = {key: float(value) for key, value in values.items() if (key, step) not in self._seen}
        self._seen.update((key, step) for key in new)
        if new:
            self._append(kind="metrics", values=new, step=step)

    def tags(self, values: Mapping[str, str]) -> None:
        """Tags of the run."""
        self._append(kind="tags", values=dict(values))

    def send_in_background(self) -> None:
        """Sends what is new every few seconds until `close`."""
        threading.Thread(target=self._send_repeatedly, name="mlflow", daemon=True).start()

    def flush(self) -> bool:
        """Sends what is new, waiting a bounded time (20 s, 4 s once the server failed); False when it was not all taken."""
        seconds = _SECONDS_TO_SEND_LOCALLY if tracking_uri().startswith("sqlite") else _SECONDS_TO_SEND
        if self._failure:
            seconds = _SECONDS_TO_SEND_AGAIN
        done: list[bool] = []
        thread = threading.Thread(target=lambda: done.append(self.send()), name="mlflow-flush", daemon=True)
        thread.start()
        thread.join(timeout=seconds)
        if thread.is_alive():
            self._failed(TimeoutError(f"no answer in {seconds:.0f} s"))
        return any(done)

    def close(self, status: str = "") -> str:
        """Sends the rest, ends the run with `status` (FINISHED, FAILED) if given; gives the run id, '' when none was had.

        Waits no longer than `flush`. The file does not change any more afterwards: it can be copied or moved.
        """
        self._stop.set()
        if status:
            self._append(kind="end", status=status)
        self.flush()
        with self._lock:
            self._closed = True
        return self.run_id

    def send(self) -> bool:
        """Sends what the server does not have yet; False, with one line on stderr the first time, when it is not taken."""
        with self._sending:
            try:
                self._send()
            except Exception as error:  # noqa: BLE001  whatever a library raises: it is said, and never ends what was trained
                self._failed(error)
                return False
            self._failure = ""
            return True

    def _failed(self, error: Exception) -> None:
        if not self._failure:
            self._failure = explained(error).what
            print(
                f"tracking: {self._failure}; figures are kept in {self.path.name} and sent later",
                file=sys.stderr,
                flush=True,
            )

    def _send_repeatedly(self) -> None:
        while not self._stop.wait(_SECONDS_BETWEEN_SENDS):
            self.send()

    def _append(self, **event: Any) -> None:
        event["time"] = int(time.time() * 1000)
        with self._lock:
            if self._closed:  # a late answer of the server: the next step that opens the journal asks again
                return
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(event, ensure_ascii=False, allow_nan=False) + "\n")
            self.events.append(event)

    def _send(self) -> None:
        """Sends the events that are not sent yet, in an order in which a failure between any two requests costs nothing:
        MLflow takes the same parameter, tag, dataset or figure twice as one."""
        from mlflow.entities import Metric, RunTag

        with self._lock:
            upto = len(self.events)
        new = [event for event in self.events[self._sent : upto] if event["kind"] != "sent"]
        if not new:
            return
        server = client()
        metrics: list[Any] = []
        tags: list[Any] = []
        for event in new:
            if event["kind"] == "run":
                if not self.run_id:
                    self.run_id = _create_run(server, event)
                    self._append(kind="sent", run_id=self.run_id, upto=self._sent)
                _describe_run(server, self.run_id, event)
            elif event["kind"] == "metrics":
                metrics += [Metric(key, value, event["time"], event["step"]) for key, value in event["values"].items()]
            elif event["kind"] == "tags":
                tags += [RunTag(key, value) for key, value in event["values"].items()]
        for part in _parts(metrics, _METRICS_AT_ONCE):
            server.log_batch(self.run_id, metrics=part)
        for part in _parts(tags, _TAGS_AT_ONCE):
            server.log_batch(self.run_id, tags=part)
        for event in new:
            if event["kind"] == "end":
                server.set_terminated(self.run_id, event["status"], end_time=event["time"])
        self._sent = upto
        self._append(kind="sent", run_id=self.run_id, upto=upto)


def go_on(source: Path, folder: Path) -> Journal:
    """A copy in `folder` of the journal of the artifact `source`, opened; an empty one when `source` has none."""
    if (source / EVENTS).is_file():
        shutil.copyfile(source / EVENTS, folder / EVENTS)
    journal = Journal(folder / EVENTS)
    journal.goes_on()
    return journal


def log_files(run_id: str, files: Sequence[tuple[str, Path]]) -> None:
    """Logs files to a run, as (folder in the run, file); one line on stderr when the server takes them neither at once nor 20 s
    later: they are no reason to keep the work waiting."""
    if not run_id:
        return

    def log() -> None:
        try:
            server = client()
            for folder, file in files:
                server.log_artifact(run_id, str(file), folder)
        except Exception as error:
            raise explained(error) from error

    try:
        patience.patient(log, "tracking", patience.WAITS[:1])
    except FinelineError as error:
        print(f"tracking: {error.what}; the files stay in the output folder", file=sys.stderr)


def _create_run(server: Any, event: dict[str, Any]) -> str:
    """Creates the run of a `run` event; gives its id."""
    experiment_of_run = experiment_id(server, event["experiment"])
    return server.create_run(experiment_of_run, start_time=event["time"], run_name=event["name"]).info.run_id


def _describe_run(server: Any, run_id: str, event: dict[str, Any]) -> None:
    """Logs the parameters, tags and input datasets of a `run` event."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag

    for part in _parts([Param(key, str(value)[:6000]) for key, value in event["params"].items()], _TAGS_AT_ONCE):
        server.log_batch(run_id, params=part)
    for part in _parts([RunTag(key, value) for key, value in event["tags"].items()], _TAGS_AT_ONCE):
        server.log_batch(run_id, tags=part)
    inputs = [
        DatasetInput(
            Dataset(
                name=entry["name"],
                digest=entry["digest"].removeprefix("sha256:")[:36],
                source_type="code",
                source=entry.get("source", "{}"),
            ),
            [InputTag("mlflow.data.context", entry["context"])],
        )
        for entry in event["datasets"]
    ]
    server.log_inputs(run_id, inputs)


def _parts(items: list[Any], size: int) -> list[list[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
