"""Bundles by their name: a folder, or models:/NAME@ALIAS and models:/NAME/VERSION in the registry, checked byte by byte."""

import dataclasses
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fineline.artifacts import folders
from fineline.process.errors import ResourceError, UsageError
from fineline.registry.model_versions import SHA256, server_errors
from fineline.tracking import connection

if TYPE_CHECKING:
    from fineline.bundles.bundle import Bundle

_ADDRESS = re.compile(r"models:/(?P<name>[^/@]+)(@(?P<alias>[^/@]+)|/(?P<version>[0-9]+))")


@dataclasses.dataclass(frozen=True)
class Version:
    """A version in the registry. `sha256` is its bundle's digest, as it was registered (hex)."""

    name: str
    version: str
    sha256: str


def registered(model: str) -> bool:
    """Whether `model` names one in the registry, and not a folder."""
    return model.startswith("models:/")


def alias(model: str) -> str:
    """The alias in models:/NAME@ALIAS; '' for what never points elsewhere."""
    match = _ADDRESS.fullmatch(model)
    return (match["alias"] or "") if match else ""


def model_version(server: Any, model: str) -> Any:
    """The version that `model` names now, as MLflow gives it; None when there is none. Raises UsageError for another name."""
    from mlflow.exceptions import MlflowException

    match = _matched(model)
    try:
        if match["alias"]:
            return server.get_model_version_by_alias(match["name"], match["alias"])
        return server.get_model_version(match["name"], match["version"])
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND"):
            raise
        return None


def find(model: str) -> Version:
    """The version that models:/NAME@ALIAS or models:/NAME/VERSION names now.

    Raises UsageError when there is none, ResourceError when the registry does not answer.
    """
    _matched(model)
    connection.need_registry()
    with server_errors():
        found = model_version(connection.client(), model)
    if found is None:
        raise UsageError(
            f"{model} is not in the registry {connection.shown_registry()}",
            "'fineline status' shows what is; mlflow ui shows all",
        )
    digest = found.tags.get(SHA256, "")
    if not digest:
        raise UsageError(f"{model} was not registered by fineline: it has no tag {SHA256}", "give another model")
    return Version(found.name, str(found.version), digest)


def download(version: Version, folder: Path) -> Path:
    """Downloads the bundle of `version` into `folder`; gives the bundle's folder, whose bytes have the digest registered.

    Raises ResourceError when they have not, or when the registry or its artifact store does not answer.
    """
    import mlflow

    uri = f"models:/{version.name}/{version.version}"
    mlflow.set_tracking_uri(connection.tracking_uri())  # the registry is found by it
    try:
        with server_errors():
            bundle = Path(mlflow.artifacts.download_artifacts(f"{uri}/artifacts/bundle", dst_path=str(folder)))
        found = folders.verify(bundle).digest.removeprefix("sha256:")
    except (OSError, UsageError) as error:
        raise ResourceError(
            f"the bundle of {uri} is missing or damaged ({error})", "restore the artifact store, or use another version"
        ) from None
    if found != version.sha256:
        raise ResourceError(
            f"{uri} holds a bundle with sha256 {found[:12]}, its tag says {version.sha256[:12]}",
            "the artifact store was changed: restore it, or use another version",
        )
    return bundle


def open_model(model: str, threads: int = 0) -> "Bundle":
    """The open bundle of a folder or of a version in the registry, which is removed from the disk again."""
    from fineline.bundles.bundle import open_bundle

    if registered(model):
        with tempfile.TemporaryDirectory(prefix="fineline-") as temporary:
            return open_bundle(download(find(model), Path(temporary)), threads)
    folder = Path(model)
    if (folder / folders.MANIFEST).is_file():
        folders.verify(folder)
    elif not folder.is_dir():
        raise UsageError(f"{model} is no folder", "give a bundle folder, models:/NAME@champion or models:/NAME/3")
    return open_bundle(folder, threads)


def _matched(model: str) -> re.Match[str]:
    match = _ADDRESS.fullmatch(model)
    if not match:
        raise UsageError(f"{model} names no model", "write models:/NAME@ALIAS or models:/NAME/VERSION")
    return match
