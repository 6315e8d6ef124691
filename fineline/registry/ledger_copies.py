"""A ledger whose run was deleted, brought back: restored, or made again from the tags of the registered model that repeat it."""

import json
import re
from typing import Any

from fineline.process.errors import UsageError
from fineline.registry import ledger, model_versions
from fineline.registry.ledger_state import DONE, MOVES, in_series, key_of

_COPY = re.compile(r"(\w+\.(\d{6}))(\.[\w-]+)?")
_AT_ONCE = 100  # MLflow refuses more parameters in one request


def mend(server: Any, name: str) -> str:
    """Brings the run of the ledger of `name` back where it was deleted; gives a line that says so, '' where it is there.

    Raises UsageError when a tag that should hold an entry was edited.
    """
    from mlflow.exceptions import MlflowException

    run_id = ledger.run_of(server, name)
    if model_versions.has_run(server, run_id):
        return ""
    try:
        server.restore_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return _made_again(server, name, run_id)
    return f"the run {run_id} of the ledger was deleted; it is restored"


def _made_again(server: Any, name: str, lost: str) -> str:
    from mlflow.entities import Param

    params = _from_tags(server.get_registered_model(name).tags, name)
    lines = in_series(params, MOVES)
    # All count as done: where an alias is elsewhere than its last line says, a person decides, not the next command.
    done = {f"{key_of(MOVES, line['number'])}.{DONE}": "true" for line in lines}
    found = [Param(key, value) for key, value in sorted((params | done).items())]
    run_id = ledger.new_run(name)
    for start in range(0, len(found), _AT_ONCE):
        server.log_batch(run_id, params=found[start : start + _AT_ONCE])
    if ledger.run_of(server, name) != lost:  # another process was faster
        server.delete_run(run_id)
        return "another process made the ledger again"
    server.set_registered_model_tag(name, ledger.RUN_TAG, run_id)
    ledger.publish(server, run_id)
    missing = sorted(set(range(1, len(lines) + 1)) - {line["number"] for line in lines})
    gap = f"; no tag holds line {', '.join(map(str, missing))}" if missing else ""
    return (
        f"the run {lost} of the ledger is gone; made again from the model's tags: run {run_id}, {len(lines)} lines, "
        f"{len(params) - len(lines)} other entries{gap}"
    )


def _from_tags(tags: dict[str, str], name: str) -> dict[str, str]:
    """parameter -> value of every entry that the tags repeat."""
    params = {}
    for tag, value in tags.items():
        if not (match := _COPY.fullmatch(tag)):
            continue
        try:
            entry = json.loads(value)
        except json.JSONDecodeError:
            entry = None
        if not isinstance(entry, dict) or entry.pop("number", None) != int(match[2]):
            raise UsageError(
                f"the tag {tag} of {name} was edited: it is not the entry that fineline wrote",
                "put back what it held, or delete it and go on without that entry; then run the same command again",
            )
        params[match[1]] = json.dumps(entry, sort_keys=True, ensure_ascii=False)
    return params
