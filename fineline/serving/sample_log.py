"""A sample of what was asked and answered, as Parquet files: what `monitor` compares with the data a model was made on.

Columns (SCHEMA): `time` when it was answered, `text` as it came, `label` and `score` of the answer (`Task.brief`),
`probabilities` of every label, `model` and `version` that answered, `seconds` that took. With a second model beside: `canary`
where that one answered, and in `other_...` what the one that did not answer says, null where it had no time. A file appears
whole, under a name that no other has; a kill loses what was not yet written, at most `log_seconds`.
"""

import contextlib
import datetime
import logging
import random
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from fineline.serving.settings import check_writable

if TYPE_CHECKING:
    from fineline.serving.batching import Scored
    from fineline.serving.metrics import Metrics
    from fineline.serving.shadow import Pair

SCHEMA = pa.schema(
    [
        pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("probabilities", pa.map_(pa.string(), pa.float64()), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
        pa.field("canary", pa.bool_(), nullable=False),
        pa.field("other_label", pa.string()),
        pa.field("other_score", pa.float64()),
        pa.field("other_model", pa.string()),
        pa.field("other_version", pa.string()),
        pa.field("other_seconds", pa.float64()),
    ]
)
ROWS_IN_A_FILE = 10_000

log = logging.getLogger("fineline.serving")


class SampleLog:
    """Writes each text with its answer at random, with probability `share`, into `folder`; a file every `seconds`."""

    def __init__(self, folder: Path, share: float, seconds: float, metrics: "Metrics"):
        check_writable(folder, "--log-folder")
        self._folder, self._share, self._seconds, self._metrics = folder, share, seconds, metrics
        self._rows: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._due = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._write_repeatedly, name="sample-log", daemon=True)
        self._thread.start()

    def add(self, pair: "Pair", texts: Sequence[str], scored: "Scored", other: "Scored | None" = None) -> None:
        """Keeps a sample of `texts` with their answers, and what the other model of `pair` says, for the next file."""
        now = datetime.datetime.now(datetime.UTC)
        rows = [
            {"time": now, "text": text, **_answer(pair, scored, place), **_other(pair, other, place)}
            for place, text in enumerate(texts)
            if random.random() < self._share
        ]
        with self._lock:
            self._rows += rows
            if len(self._rows) >= ROWS_IN_A_FILE:
                self._due.set()

    def close(self) -> None:
        """Writes what is left."""
        self._closed = True
        self._due.set()
        self._thread.join()

    def _write_repeatedly(self) -> None:
        while not self._closed:
            self._due.wait(self._seconds)
            self._due.clear()
            self._write()

    def _write(self) -> None:
        with self._lock:
            rows, self._rows = self._rows, []
        if not rows:
            return
        name = f"{rows[0]['time']:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:12]}.parquet"
        partial, path = self._folder / f".{name}.partial", self._folder / name
        try:
            self._folder.mkdir(parents=True, exist_ok=True)  # someone may have tidied up
            pq.write_table(pa.Table.from_pylist(rows, SCHEMA), partial)
            partial.rename(path)
        except OSError as error:  # a full disk: what is asked goes on being answered
            with contextlib.suppress(OSError):
                partial.unlink()
            self._metrics.log_dropped.inc(len(rows))
            fields = {"rows": len(rows), "why": error.strerror or str(error)}
            log.error("sampled rows dropped", extra={"fields": fields})


def _answer(pair: "Pair", scored: "Scored", place: int) -> dict[str, Any]:
    answer = scored.answers[place]
    label, score = pair.answers.bundle.task.brief(answer)
    said = {"label": label, "score": score, "probabilities": answer.get("probabilities", {})}
    version = {"model": pair.answers.name, "version": pair.answers.version}
    return {**said, **version, "seconds": scored.seconds[place], "canary": pair.canary}


def _other(pair: "Pair", other: "Scored | None", place: int) -> dict[str, Any]:
    if not other or not pair.beside:
        return {}
    label, score = pair.beside.bundle.task.brief(other.answers[place])
    return {
        "other_label": label,
        "other_score": score,
        "other_model": pair.beside.name,
        "other_version": pair.beside.version,
        "other_seconds": other.seconds[place],
    }
