"""Logs as JSON lines on stdout: time, level, event, and the event's own fields."""

import datetime
import json
import logging
import sys
import traceback


class JsonLines(logging.Formatter):
    """One JSON object per record; `extra={"fields": {...}}` adds to it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of `record`."""
        line = {
            "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1]:
            line["traceback"] = _without_words(record.exc_info[1])
        return json.dumps(line, default=str)  # in ASCII: whatever is in it, it is one line for every reader


def _without_words(error: BaseException) -> str:
    """Where `error` and what it came from were raised; not what they say, which may hold what a client sent."""
    parts = []
    for each in _causes(error):
        frames = "".join(traceback.format_list(traceback.extract_tb(each.__traceback__)))
        parts.append(f"{frames}{type(each).__module__}.{type(each).__qualname__}")
    return "\ncaused\n".join(parts)


def _causes(error: BaseException) -> list[BaseException]:
    """What `error` came from, the first first, and itself."""
    found: list[BaseException] = []
    left: BaseException | None = error
    while left is not None and left not in found:
        found.append(left)
        left = left.__cause__ or (None if left.__suppress_context__ else left.__context__)
    return found[::-1]


def log_json() -> None:
    """Sends all logs of this process to stdout as JSON lines; of other packages only warnings."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("fineline.serving").setLevel(logging.INFO)
