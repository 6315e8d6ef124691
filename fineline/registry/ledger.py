"""The ledger of a registered model: every move of an alias, written before it happens, never changed afterwards.

MLflow's aliases and tags have no compare-and-set. Parameters of a run do: of two processes that log the same one, the
server takes the first and refuses the other, for good. So the ledger is a run whose parameters ledger.000001, ... are its
lines. Who wants to move an alias reads all lines, decides, and claims the next number; who finds it taken reads and decides
again. The aliases follow the ledger: whoever set one looks again, until both agree, and so does every later command, so
that a process or a server that dies in between leaves nothing that the next one does not mend (docs/promotion.md).
"""

import dataclasses
import datetime
import getpass
import json
import os
import re
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fineline.process.errors import ResourceError, UsageError
from fineline.tracking.journal import Journal

RUN_TAG = "ledger.run"
"""Tag of the registered model with the id of the run that is its ledger."""
MOVES = "ledger"
FILE = "ledger/ledger.jsonl"
LONGEST_REASON = 1000
ANYWHERE = -1

Line = dict[str, Any]

_DONE = "done"
_LOOKS = 12
_SECONDS_BETWEEN_LOOKS = 0.25


@dataclasses.dataclass(frozen=True)
class State:
    """The ledger and the aliases as they were found, in agreement unless a person moved an alias outside fineline."""

    run_id: str
    lines: list[Line]
    aliases: dict[str, int]

    def at(self, alias: str) -> int | None:
        """The version that `alias` is at by the lines, else (none is on it) by the registry."""
        moves = [line for line in self.lines if line["alias"] == alias]
        return moves[-1]["to"] if moves else self.aliases.get(alias)


class Moved(Exception):
    """Another process moved the alias first; `now` is the version that it is at."""

    def __init__(self, now: int | None) -> None:
        super().__init__(f"the alias is at {now}")
        self.now = now


def new_run(name: str) -> str:
    """Makes a run to hold the ledger of `name`; gives its id."""
    with tempfile.TemporaryDirectory(prefix="fineline-") as folder:
        journal = Journal(Path(folder) / "events.jsonl")
        journal.run(f"ledger of {name}", {}, {"fineline.ledger": name}, [])
        run_id = journal.close("FINISHED")
    if not run_id:
        raise ResourceError(
            "the tracking server took no run for the ledger", "start it, then run the same command again"
        )
    return run_id


def run_of(server: Any, name: str) -> str:
    """The id of the run that holds the ledger of `name`. A model that fineline did not create gets one now."""
    if run_id := server.get_registered_model(name).tags.get(RUN_TAG):
        return run_id
    server.set_registered_model_tag(name, RUN_TAG, new_run(name))
    return server.get_registered_model(name).tags[RUN_TAG]


def entries(server: Any, run_id: str, series: str = MOVES) -> list[Line]:
    """The entries of a series in their order, each with its `number`."""
    return _entries(_params(server, run_id), series)


def append(server: Any, run_id: str, series: str, number: int, entry: Mapping[str, Any]) -> bool:
    """Writes entry `number` of a series, once and for all; False when another process wrote that number before."""
    from mlflow.exceptions import MlflowException

    value = json.dumps({**entry, "key": uuid.uuid4().hex[:12]}, sort_keys=True, ensure_ascii=False)
    try:
        server.log_param(run_id, _key(series, number), value)
    except MlflowException as error:
        if error.error_code != "INVALID_PARAMETER_VALUE" or _key(series, number) not in _params(server, run_id):
            raise
        return False
    return True


def read(server: Any, name: str) -> list[Line]:
    """The lines of the ledger: number, when (UTC), who, alias, from, to, verdict, reason, evidence."""
    return entries(server, run_of(server, name))


def position(server: Any, name: str, alias: str) -> int | None:
    """The version that `alias` is at by the ledger, else (no line yet) by the registry; moves half done are finished."""
    return settle(server, name).at(alias)


def move(
    server: Any,
    name: str,
    alias: str,
    version: int,
    *,
    expected: int | None = ANYWHERE,
    verdict: str,
    reason: str,
    evidence: Mapping[str, Any] | None = None,
    mend: bool = False,
) -> Line | None:
    """Moves `alias` to `version` if it is at `expected` (None: at none), after one line in the ledger; gives the line.

    Gives None, and writes nothing, when it is there already. Raises Moved when it is elsewhere. `mend` also moves an alias
    that someone moved outside fineline. A failure at any point leaves the alias where it was or where it should go; the
    same call again, or any later one, ends the move.
    """
    while True:
        state = settle(server, name, mend)
        now = state.at(alias)
        if now == version and not (mend and state.aliases.get(alias) != version):
            return None
        if expected not in (ANYWHERE, now):
            raise Moved(now)
        line = {
            "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "who": who(),
            "alias": alias,
            "from": now,
            "to": version,
            "verdict": verdict,
            "reason": reason[:LONGEST_REASON],
            "evidence": dict(evidence or {}),
        }
        if append(server, state.run_id, MOVES, len(state.lines) + 1, line):
            break
    return settle(server, name).lines[len(state.lines)]


def settle(server: Any, name: str, mend: bool = False) -> State:
    """Makes the registry agree with the ledger: its aliases, and the tags and the file that repeat it; gives what it found.

    An alias of a version that was deleted stays as it is. Raises UsageError when an alias was moved outside fineline, unless
    `mend`: nothing that a person chose to serve is undone silently.
    """
    run_id = run_of(server, name)
    set_here: set[str] = set()
    for _look in range(_LOOKS):
        params = _params(server, run_id)
        lines = _entries(params, MOVES)
        model = server.get_registered_model(name)
        state = State(run_id, lines, {alias: int(version) for alias, version in model.aliases.items()})
        for line in lines:
            if (key := f"{_key(MOVES, line['number'])}.{line['alias']}") not in model.tags:
                server.set_registered_model_tag(name, key, json.dumps(line, sort_keys=True, ensure_ascii=False))
        newest = list({line["alias"]: line for line in lines}.values())
        open_ = [line for line in newest if f"{_key(MOVES, line['number'])}.{_DONE}" not in params]
        late = [
            line
            for line in newest
            if state.aliases.get(line["alias"]) != line["to"] and has_version(server, name, line["to"])
        ]
        if not late:
            if open_:
                _publish(server, run_id)
            for line in open_:
                server.log_param(run_id, f"{_key(MOVES, line['number'])}.{_DONE}", "true")
            return state
        unfinished = [line for line in late if line in open_ or line["alias"] in set_here]
        for line in unfinished:
            set_alias(server, name, line["alias"], line["to"])
            set_here.add(line["alias"])
        if not unfinished:
            if mend:
                return state
            time.sleep(_SECONDS_BETWEEN_LOOKS)  # another process may be about to put it right
    line, found = late[0], state.aliases.get(late[0]["alias"])
    raise UsageError(
        f"the alias {line['alias']} of {name} is at version {found}, the ledger says {line['to']}: it was moved outside fineline",
        f"'fineline rollback --to {found or line['to']} --reason ...' records where it should be",
    )


def aliases(server: Any, name: str) -> dict[str, int]:
    """alias -> version, as the registry has them."""
    return {alias: int(version) for alias, version in server.get_registered_model(name).aliases.items()}


def set_alias(server: Any, name: str, alias: str, version: int) -> None:
    """Sets an alias; that another process sets the same one at this moment is as good."""
    from mlflow.exceptions import MlflowException

    try:
        server.set_registered_model_alias(name, alias, version)
    except MlflowException:
        if aliases(server, name).get(alias) != version:
            raise


def who() -> str:
    """Who acts: the user of the tracking server, else of this machine."""
    if user := os.environ.get("MLFLOW_TRACKING_USERNAME"):
        return user
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return f"uid {os.getuid()}"


def _key(series: str, number: int) -> str:
    return f"{series}.{number:06d}"


def _entries(params: Mapping[str, str], series: str) -> list[Line]:
    numbers = sorted(int(key[-6:]) for key in params if re.fullmatch(rf"{re.escape(series)}\.\d{{6}}", key))
    return [{"number": number, **json.loads(params[_key(series, number)])} for number in numbers]


def _params(server: Any, run_id: str) -> dict[str, str]:
    return server.get_run(run_id).data.params


def has_version(server: Any, name: str, version: int) -> bool:
    """Whether there is a version of that number."""
    from mlflow.exceptions import MlflowException

    try:
        server.get_model_version(name, str(version))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return True


def _publish(server: Any, run_id: str) -> None:
    """The ledger as a file of the run, for readers; again when it grew meanwhile, so that the longest stays."""
    written = -1
    while written != len(lines := entries(server, run_id)):
        text = "".join(json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n" for line in lines)
        server.log_text(run_id, text, FILE)
        written = len(lines)
