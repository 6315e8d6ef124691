"""The model registry: one version per bundle, aliases that move, and a ledger of their moves.

MLflow has no compare-and-set, and two creations of the same version give two. So a version carries the sha256 of its
bundle from the moment that it exists, its maker reads back what there is, and all makers keep the lowest.
"""

import contextlib
import datetime
import getpass
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from fineline.tracking import unreachable

CHAMPION = "champion"
CHALLENGER = "challenger"


@contextlib.contextmanager
def server_errors() -> Iterator[None]:
    """Turns what MLflow's clients raise when a server fails into a ResourceError."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError) as error:
        raise unreachable(error) from error


def find_version(server: Any, name: str, digest: str) -> int:
    """The version of `name` that holds the bundle with sha256 `digest` (hex), or 0; later ones of the same bundle go."""
    found = server.search_model_versions(f"name='{name}' and tags.bundle_sha256='{digest}'")
    versions = sorted(int(version.version) for version in found)
    for version in versions[1:]:
        _delete_version(server, name, version)
    return versions[0] if versions else 0


def create_version(
    server: Any, name: str, *, source: str, model_id: str, run_id: str, tags: Mapping[str, str], description: str
) -> int:
    """Creates a version and gives the one that stays: another process may have created the same bundle's at this moment."""
    from mlflow.exceptions import MlflowException

    try:
        server.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    # Not waiting for its creation: a process that made the same version earlier may delete this one in between.
    server.create_model_version(
        name,
        source,
        run_id=run_id,
        tags=dict(tags),
        description=description,
        model_id=model_id,
        await_creation_for=0,
    )
    return find_version(server, name, tags["bundle_sha256"])


def move_alias(server: Any, name: str, alias: str, version: int, *, why: str, evidence: Mapping[str, Any]) -> None:
    """Moves an alias, after one line in the ledger; does nothing when it is there already.

    The ledger is the registered model's tags `ledger.<UTC time>.<alias>`: it is written once, never changed, and lies
    where the aliases lie, whoever moves them from wherever.
    """
    from mlflow.exceptions import MlflowException

    before = aliases(server, name).get(alias)
    if before == version:
        return
    now = datetime.datetime.now(datetime.UTC)
    line = {
        "when": now.isoformat(timespec="seconds"),
        "who": _who(),
        "alias": alias,
        "from": before,
        "to": version,
        "why": why,
        "evidence": evidence,
    }
    key = f"ledger.{now:%Y%m%dT%H%M%S%f}.{alias}"
    server.set_registered_model_tag(name, key, json.dumps(line, sort_keys=True, ensure_ascii=False))
    try:
        server.set_registered_model_alias(name, alias, version)
    except MlflowException:  # also when another process sets the same one at this moment, which is as good
        if aliases(server, name).get(alias) != version:
            raise


def aliases(server: Any, name: str) -> dict[str, int]:
    """alias -> version of a registered model."""
    return {alias: int(version) for alias, version in server.get_registered_model(name).aliases.items()}


def _delete_version(server: Any, name: str, version: int) -> None:
    """Deletes a version and the model logged for it; one that another process deleted in between is no error."""
    from mlflow.exceptions import MlflowException

    try:
        model_id = server.get_model_version(name, str(version)).model_id
        server.delete_model_version(name, str(version))
        if model_id:
            server.delete_logged_model(model_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return f"uid {os.getuid()}"
