"""What the server can be told. Standard library only: the command line reads it before anything heavy is imported."""

import dataclasses
import uuid
from pathlib import Path
from typing import Any

from fineline.process import computing
from fineline.process.errors import ResourceError, UsageError


def share(text: str) -> float:
    """5% or 0.05 as 0.05. Raises ValueError for what is no number."""
    return float(text[:-1]) / 100 if text.endswith("%") else float(text)


def _setting(default: Any, least: float, most: float, text: str, kind: Any = None) -> Any:
    """A field with a range; `kind` makes it from text."""
    metadata = {"least": least, "most": most, "help": text, "kind": kind or type(default)}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to serve one model. A field with a range becomes a flag of the command line."""

    model: str
    host: str = "127.0.0.1"
    name: str = ""
    log_texts: bool = False
    log_folder: Path | None = None
    feedback_folder: Path | None = None
    token_file: Path | None = None
    shadow: str = ""
    canary: float = _setting(
        0.0, 0, 1, "share of the requests, such as 5%%, that --shadow answers, chosen by their request id", share
    )
    port: int = _setting(8080, 0, 65_535, "0 takes a free one and says which")
    threads: int = _setting(
        computing.cores(), 1, 1_024, "batches computed at the same time, each by one core; all cores"
    )
    max_batch: int = _setting(16, 1, 1_024, "texts in one run of the model")
    max_wait_ms: float = _setting(
        0.0,
        0,
        1_000,
        "how long a text waits for others to fill a batch; texts that come while all threads work always do",
    )
    max_queue: int = _setting(1_024, 1, 1_000_000, "texts that may wait; beyond, a request gets 503 with Retry-After")
    max_texts: int = _setting(128, 1, 1_000_000, "texts in one request")
    max_characters: int = _setting(20_000, 1, 10_000_000, "characters in one text")
    max_body_bytes: int = _setting(1_048_576, 1, 1 << 30, "bytes in the body of one request")
    max_connections: int = _setting(
        1_000, 1, 1_000_000, "connections at the same time; beyond, only /v2/health and /metrics are answered"
    )
    head_seconds: float = _setting(10.0, 0.1, 3_600, "how long the head of a request may take, from its first byte")
    body_seconds: float = _setting(30.0, 0.1, 3_600, "how long the body of a request may take")
    answer_seconds: float = _setting(30.0, 0.1, 3_600, "how long a request may wait for its answer")
    poll_seconds: float = _setting(30.0, 0, 86_400, "how often to ask where the alias of --model points; 0: never")
    drain_seconds: float = _setting(
        1.0, 0, 3_600, "after SIGTERM: how long requests are still accepted while /v2/health/ready says 503"
    )
    shutdown_seconds: int = _setting(20, 0, 3_600, "after that: how long accepted requests may take to be answered")
    log_sample: float = _setting(
        0.0, 0, 1, "share of the texts, such as 10%%, that are written with their answers to --log-folder", share
    )
    log_seconds: float = _setting(60.0, 1, 86_400, "how often --log-folder gets a file")

    def __post_init__(self) -> None:
        """Raises UsageError naming every wrong setting at once."""
        wrong = []
        for field in ranged():
            value, least, most = getattr(self, field.name), field.metadata["least"], field.metadata["most"]
            if not least <= value <= most:  # true of NaN too
                wrong.append(f"{flag(field)} {value} is not between {least} and {most}")
        if self.max_texts > self.max_queue:
            wrong.append(f"--max-texts {self.max_texts} does not fit into --max-queue {self.max_queue}")
        if (self.log_sample > 0) != (self.log_folder is not None):
            wrong.append("--log-sample and --log-folder need each other")
        if self.canary and not self.shadow:
            wrong.append("--canary needs --shadow, the model that answers its share")
        if wrong:
            raise UsageError("; ".join(wrong), "correct these flags; fineline serve --help shows them all")


def ranged() -> list[dataclasses.Field]:
    """The settings that have a range."""
    return [field for field in dataclasses.fields(Settings) if field.metadata]


def flag(field: dataclasses.Field) -> str:
    """What a setting is called on the command line."""
    return f"--{field.name.replace('_', '-')}"


def check_writable(folder: Path, called: str) -> None:
    """Makes `folder`, the value of the flag `called`, if need be. Raises ResourceError when it cannot be written."""
    probe = folder / f".{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ResourceError(
            f"{called} {folder} cannot be written: {error.strerror}", "give a folder that this user may write"
        ) from None
