"""The model registry: one version per bundle, and what is known of each. fineline.registry.ledger moves its aliases.

MLflow lets two processes create the same version twice. So a version carries the sha256 of its bundle from the moment that
it exists, its maker reads back what there is, and all makers keep the lowest.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pydantic

from fineline.process.errors import UsageError
from fineline.registry import archive, ledger, ledger_state
from fineline.tracking import connection

CHAMPION = ledger_state.CHAMPION
CHALLENGER = ledger_state.CHALLENGER

SHA256 = "bundle_sha256"
_LOGGED = "models:/"
WAITS = "promotion.waits"
"""Tag of a version whose move waits for approval, JSON: what VERDICT says."""
VERDICT = "promotion.verdict"
"""Tag of a version: the newest verdict on it, JSON, see `Said`."""


class Gain(pydantic.BaseModel):
    """The gain in a figure, with its interval, corrected for having been selected by that figure."""

    metric: str
    gain: float
    low: float
    high: float


class Said(pydantic.BaseModel):
    """What the tags VERDICT and WAITS hold: the verdict, when and why, the champion it was judged against, where the evidence
    lies; the corrected gain, or {}; and the champion's figures on test rows that joined since it was promoted, or {}."""

    when: str
    verdict: str
    reason: str
    champion: int | None
    evidence: dict[str, str | int]
    corrected: Gain | dict[str, None] = {}
    since: dict[str, int | float] = {}


@contextlib.contextmanager
def server_errors() -> Iterator[None]:
    """Turns what MLflow's clients raise when a server fails into what it was and what to do (fineline.tracking.mlflow_server)."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError) as error:
        raise connection.explained(error) from error


def has_run(server: Any, run_id: str) -> bool:
    """Whether there is a run of that id, and nobody deleted it."""
    from mlflow.exceptions import MlflowException

    try:
        return server.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False


def find_version(server: Any, name: str, digest: str) -> int:
    """The version of `name` that holds the bundle with sha256 `digest` (hex), or 0; later ones of the same bundle go."""
    found = server.search_model_versions(f"name='{name}' and tags.{SHA256}='{digest}'")
    if not found:
        return 0
    first, *later = sorted(found, key=lambda version: int(version.version))
    for version in later:
        _delete_version(server, version, with_model=version.source != first.source)
    return int(first.version)


def create_version(
    server: Any, name: str, *, source: str, model_id: str, run_id: str, tags: Mapping[str, str], description: str
) -> int:
    """Creates a version and gives the one that stays: another process may have created the same bundle's at this moment."""
    create_model(server, name)
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
    return find_version(server, name, tags[SHA256])


def create_model(server: Any, name: str) -> None:
    """Creates the registered model with its ledger and archive in one request; one of several processes succeeds."""
    from mlflow.exceptions import MlflowException

    if exists(server, name):
        return
    run_id = ledger.new_run(name)
    kept = archive.create(server, name, run_id)
    try:
        server.create_registered_model(name, tags={ledger.RUN_TAG: run_id, archive.TAG: kept})
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        server.delete_run(run_id)
        server.delete_logged_model(kept)


def exists(server: Any, name: str) -> bool:
    """Whether there is a registered model of that name."""
    from mlflow.exceptions import MlflowException

    try:
        server.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return True


def version_of(server: Any, name: str, version: int) -> Any:
    """A model version as MLflow gives it. Raises UsageError when there is none of that number."""
    if ledger.has_version(server, name, version):
        return server.get_model_version(name, str(version))
    known = sorted(int(found.version) for found in server.search_model_versions(f"name='{name}'"))
    listed = f"versions: {', '.join(map(str, known))}" if known else "nothing is registered under that name yet"
    raise UsageError(f"{name} has no version {version} in {connection.shown_registry()}", listed)


def note(server: Any, name: str, version: int, tag: str, content: Mapping[str, Any] | None) -> None:
    """Sets a JSON tag of a version; None removes it."""
    if content is not None:
        server.set_model_version_tag(name, str(version), tag, json.dumps(content, sort_keys=True, ensure_ascii=False))
    elif tag in version_of(server, name, version).tags:
        server.delete_model_version_tag(name, str(version), tag)


def noted(server: Any, name: str, version: int, tag: str) -> dict[str, Any]:
    """What a JSON tag of a version says, {} when it is not there. Raises UsageError as `read_note` does."""
    return read_note(version_of(server, name, version), tag)


def read_note(version: Any, tag: str) -> dict[str, Any]:
    """`noted` of a version as MLflow gives it. Raises UsageError when a person edited the tag into something else."""
    if tag not in version.tags:
        return {}
    try:
        return Said.model_validate_json(version.tags[tag]).model_dump()
    except pydantic.ValidationError as error:
        raise UsageError(
            f"the tag {tag} of version {version.version} of {version.name} was edited: it is not what fineline wrote",
            "delete it from that version (mlflow ui), then run the same command again",
        ) from error


def _delete_version(server: Any, version: Any, with_model: bool) -> None:
    """Deletes a version, and the model logged for it; what another process deleted in between is no error."""
    from mlflow.exceptions import MlflowException

    try:
        server.delete_model_version(version.name, version.version)
        if with_model and version.source.startswith(_LOGGED):  # its model_id comes back empty
            server.delete_logged_model(version.source.removeprefix(_LOGGED))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
