"""The ledger of a registered model: every move of an alias, written before it happens, never changed afterwards.

MLflow's aliases and tags have no compare-and-set. Parameters of a run do: of two processes that log the same one, the
server takes the first and refuses the other, for good. So the ledger is a run whose parameters ledger.000001, ... are its
lines. Who wants to move an alias reads all lines, decides, and claims the next number; who finds it taken reads and decides
again. The alias follows its newest line: whoever set it looks again, until both agree, and so does every later command about
that alias, so that a process or a server that dies in between leaves nothing that cannot be mended (docs/promotion.md).
A rejection is a line too, of no alias. Tags of the registered model repeat it all; fineline.registry.ledger_copies reads them.
"""

import datetime
import getpass
import json
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fineline.process.errors import ResourceError, UsageError
from fineline.registry.ledger_state import (
    AGREES,
    ASTRAY,
    CHAMPION,
    DELETED,
    DONE,
    HALF_DONE,
    MOVES,
    REJECTED,
    Line,
    State,
    copies,
    in_series,
    key_of,
)
from fineline.tracking.journal import Journal

MODEL_TAG = "fineline.ledger"
"""Tag of what belongs to a ledger (its run, its archive) with the name of the registered model."""
RUN_TAG = "ledger.run"
"""Tag of the registered model with the id of the run that is its ledger."""
FILE = "ledger/ledger.jsonl"
LONGEST_REASON = 1000
ANYWHERE = -1

_LOOKS = 12
_SECONDS_BETWEEN_LOOKS = 0.25
_LOOKS_BEFORE_HELP = 3
"""How often a move that another process made is looked at before it counts as cut short, and not as under way."""


class Moved(Exception):
    """Another process wrote first: it moved the alias, which is at `now`, or rejected the version."""

    def __init__(self, now: int | None) -> None:
        super().__init__(f"the alias is at {now}")
        self.now = now


def new_run(name: str) -> str:
    """Makes a run to hold the ledger of `name`; gives its id."""
    with tempfile.TemporaryDirectory(prefix="fineline-") as folder:
        journal = Journal(Path(folder) / "events.jsonl")
        journal.run(f"ledger of {name}", {}, {MODEL_TAG: name}, [])
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
    return in_series(_params(server, run_id), series)


def append(server: Any, run_id: str, series: str, number: int, entry: Mapping[str, Any]) -> bool:
    """Writes entry `number` of a series, once and for all; False when another process wrote that number before."""
    from mlflow.exceptions import MlflowException

    value = json.dumps({**entry, "key": uuid.uuid4().hex[:12]}, sort_keys=True, ensure_ascii=False)
    try:
        server.log_param(run_id, key_of(series, number), value)
    except MlflowException as error:
        if error.error_code != "INVALID_PARAMETER_VALUE" or key_of(series, number) not in _params(server, run_id):
            raise
        return False
    return True


def read(server: Any, name: str) -> list[Line]:
    """The lines of the ledger: number, when (UTC), who, alias, from, to, verdict, reason, evidence, and `rejects` where the
    version that is left counts as rejected. A rejection alone has alias and from None, and the version in `to`."""
    return entries(server, run_of(server, name))


def position(server: Any, name: str, alias: str) -> int | None:
    """The version that `alias` is at by the ledger, else (no line yet) by the registry; a move half done is finished."""
    return settle(server, name, alias).at(alias)


def look(server: Any, name: str) -> State:
    """The ledger and the registry as they are. What looks astray is looked at again: another process may be in between."""
    for _look in range(_LOOKS // 3):
        state = _read(server, name)
        if all(state.standing(alias) != ASTRAY for alias in state.names):
            break
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return state


def move(
    server: Any,
    name: str,
    alias: str,
    version: int | None,
    *,
    expected: int | None = ANYWHERE,
    verdict: str,
    reason: str,
    evidence: Mapping[str, Any] | None = None,
    mend: bool = False,
    rejects: int | None = None,
    unless_rejected: bool = False,
) -> Line | None:
    """Moves `alias` to `version` if it is at `expected` (None: at none), after one line in the ledger; gives the line.

    Gives None, and writes nothing, when it is there already. Raises Moved when it is elsewhere, and with `unless_rejected`
    when a person rejected the version. `mend` also moves an alias that someone moved outside fineline, and takes the place
    of a move that was cut short. `rejects` is a version that the same line rejects. A failure at any point leaves the alias
    where it was or where it should go; the same call again, or any later one about that alias, ends the move.
    """
    while True:
        state = look(server, name) if mend else settle(server, name, alias)
        standing, now, here = state.standing(alias), state.at(alias), state.aliases.get(alias)
        if now == version and (standing == AGREES or not mend):
            return None
        if expected not in (ANYWHERE, now) or (unless_rejected and version in state.rejected()):
            raise Moved(now)
        was = now if here == version or (here is None and standing == DELETED) else here
        line = _line(alias, was, version, verdict, reason, evidence)
        if number := _claim(server, state, line | ({"rejects": rejects} if rejects else {})):
            return _numbered(settle(server, name, alias, own=number).lines, number)


def reject(server: Any, name: str, version: int, reason: str) -> Line:
    """Writes a line that refuses `version`: no pipeline promotes it by itself. Raises Moved when it is the champion."""
    while True:
        state = look(server, name)
        if version in (state.at(CHAMPION), state.aliases.get(CHAMPION)):
            raise Moved(version)
        if number := _claim(server, state, _line(None, None, version, REJECTED, reason, None)):
            mirror(server, name)
            publish(server, state.run_id)
            return _numbered(entries(server, state.run_id), number)


def rejection(server: Any, name: str, version: int) -> Line | None:
    """The line that rejected `version`, if it is rejected now."""
    return _read(server, name).rejected().get(version)


def settle(server: Any, name: str, alias: str, own: int = 0) -> State:
    """Makes `alias` agree with its newest line, and the tags and the file that repeat the ledger; gives what it found.

    The move of another process that was cut short is finished, and that is said; `own` is the line of this one. An alias of a
    version that was deleted stays as it is. Raises UsageError when the alias was moved outside fineline: nothing that a person
    chose to serve is undone silently. Other aliases are left alone.
    """
    set_here = False
    for looked in range(_LOOKS):
        state = _read(server, name)
        standing, line = state.standing(alias), state.newest(alias)
        if line is None or standing in (AGREES, DELETED):
            _mirror(server, name, state)
            if line and standing == AGREES and not state.done(line):
                publish(server, state.run_id)
                server.log_param(state.run_id, f"{key_of(MOVES, line['number'])}.{DONE}", "true")
            return state
        mine = set_here or line["number"] == own
        if mine or (standing == HALF_DONE and looked >= _LOOKS_BEFORE_HELP):
            set_alias(server, name, alias, line["to"])
            if not mine:
                print(
                    f"ledger: the move of {alias} to version {line['to']} ({line['verdict']}) was cut short; it is finished now",
                    file=sys.stderr,
                )
            set_here = True
        else:
            time.sleep(_SECONDS_BETWEEN_LOOKS)  # another process may be about to put it right
    raise astray(name, alias, state)


def astray(name: str, alias: str, state: State) -> UsageError:
    """What to raise of an alias that someone moved outside fineline, with the command that mends it."""
    found, said = state.aliases.get(alias), state.at(alias)
    return UsageError(
        f"the alias {alias} of {name} is at {_shown(found)}, the ledger says {said or 'none'}: it was moved outside fineline",
        f"'fineline repair --alias {alias} --keep ledger' puts it back, '--keep server' records that {_shown(found)} is right",
    )


def aliases(server: Any, name: str) -> dict[str, int]:
    """alias -> version, as the registry has them."""
    return _aliases(server.get_registered_model(name))


def set_alias(server: Any, name: str, alias: str, version: int | None) -> None:
    """Sets an alias, or removes it (None); that another process does the same at this moment is as good."""
    from mlflow.exceptions import MlflowException

    try:
        if version is None:
            server.delete_registered_model_alias(name, alias)
        else:
            server.set_registered_model_alias(name, alias, version)
    except MlflowException:
        if aliases(server, name).get(alias) != version:
            raise


def mirror(server: Any, name: str) -> None:
    """Repeats every entry of the ledger's run as a tag of the registered model, where it is not there yet."""
    _mirror(server, name, _read(server, name))


def who() -> str:
    """Who acts: the user of the tracking server, else of this machine."""
    if user := os.environ.get("MLFLOW_TRACKING_USERNAME"):
        return user
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return f"uid {os.getuid()}"


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


def _line(
    alias: str | None,
    was: int | None,
    version: int | None,
    verdict: str,
    reason: str,
    evidence: Mapping[str, Any] | None,
) -> Line:
    return {
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "who": who(),
        "alias": alias,
        "from": was,
        "to": version,
        "verdict": verdict,
        "reason": reason[:LONGEST_REASON],
        "evidence": dict(evidence or {}),
    }


def _claim(server: Any, state: State, line: Line) -> int:
    """Writes `line` after those of `state`; gives its number, 0 when another process wrote that one first."""
    number = state.lines[-1]["number"] + 1 if state.lines else 1
    return number if append(server, state.run_id, MOVES, number, line) else 0


def _numbered(lines: list[Line], number: int) -> Line:
    return next(line for line in lines if line["number"] == number)


def _read(server: Any, name: str) -> State:
    run_id = run_of(server, name)
    params = _params(server, run_id)
    model = server.get_registered_model(name)
    found = _aliases(model)
    newest = {line["alias"]: line["to"] for line in in_series(params, MOVES)}
    # MLflow takes the alias with the version, so one that is where it should be needs no look.
    doubtful = {to for alias, to in newest.items() if alias and to and found.get(alias) != to}
    missing = frozenset(version for version in doubtful if not has_version(server, name, version))
    return State(run_id, params, dict(model.tags), found, missing)


def _aliases(model: Any) -> dict[str, int]:
    return {alias: int(version) for alias, version in model.aliases.items()}


def _params(server: Any, run_id: str) -> dict[str, str]:
    from mlflow.exceptions import MlflowException

    try:
        return server.get_run(run_id).data.params
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise ResourceError(
            f"the ledger is lost: {error.message}",
            "removed for good (mlflow gc): 'fineline repair' makes it again from the model's tags; "
            "or MLFLOW_TRACKING_URI should name another server",
        ) from None


def _mirror(server: Any, name: str, state: State) -> None:
    from mlflow.exceptions import MlflowException

    for tag, value in copies(state.params).items():
        if state.tags.get(tag) == value:
            continue
        try:
            server.set_registered_model_tag(name, tag, value)
        except MlflowException:  # as good when another process did it at this moment
            if server.get_registered_model(name).tags.get(tag) != value:
                raise


def publish(server: Any, run_id: str) -> None:
    """The ledger as a file of the run, for readers; again when it grew meanwhile, so that the longest stays."""
    written = -1
    while written != len(lines := entries(server, run_id)):
        text = "".join(json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n" for line in lines)
        server.log_text(run_id, text, FILE)
        written = len(lines)


def _shown(version: int | None) -> str:
    return f"version {version}" if version else "no version"
