"""Files that decide, kept twice: in a run, where people look for them, and in a logged model of the same MLflow, named ledger.

Whoever cleans up deletes runs, and `mlflow gc` removes their files for good. It takes no logged model with them.
"""

import tempfile
from pathlib import Path
from typing import Any

from fineline.artifacts import folders
from fineline.process.errors import ResourceError
from fineline.process.patience import may_pass
from fineline.registry import ledger
from fineline.tracking import connection

TAG = "ledger.archive"
"""Tag of the registered model with the id of the logged model that holds the second copies, each under its sha256."""


def create(server: Any, name: str, run_id: str) -> str:
    """Makes the logged model for the registered model `name`, in the experiment of its ledger's run; gives its id."""
    experiment = server.get_run(run_id).info.experiment_id
    made = server.create_logged_model(experiment, name="ledger", tags={ledger.MODEL_TAG: name})
    server.finalize_logged_model(made.model_id, "READY")
    return made.model_id


def keep(server: Any, name: str, run_id: str, path: Path, folder: str = "") -> str:
    """Logs a file to a run, in `folder` there, and to the archive of the registered model `name`; gives its sha256 (hex)."""
    digest = folders.sha256_file(path)
    server.log_artifact(run_id, str(path), folder or None)
    server.log_model_artifact(_archive(server, name), str(path), digest)
    return digest


def fetch(server: Any, name: str, run_id: str, path: str, digest: str, folder: Path) -> Path:
    """Downloads the file `path` of a run into `folder`, or its copy in the archive: whichever has the sha256 `digest`.

    Raises ResourceError when neither has, and what MLflow raised when it does not answer.
    """
    import mlflow
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    archive = server.get_registered_model(name).tags.get(TAG, "none")
    mlflow.set_tracking_uri(connection.tracking_uri())
    silent: Exception | None = None
    for place in (
        lambda: f"runs:/{run_id}/{path}",
        lambda: f"{server.get_logged_model(archive).artifact_location}/{digest}/{Path(path).name}",
    ):
        try:
            found = Path(mlflow.artifacts.download_artifacts(place(), dst_path=tempfile.mkdtemp(dir=folder)))
        except (MlflowException, RequestException, OSError) as error:
            silent = error if may_pass(error) else silent
            continue
        if folders.sha256_file(found) == digest:
            return found
    if silent:
        raise silent
    raise ResourceError(
        f"the file {path} of run {run_id} is gone or was changed, and {name} has no copy of it",
        "restore the artifact store",
    )


def _archive(server: Any, name: str) -> str:
    """The id of the logged model, made now where it was deleted or (a model of another tool) there was none."""
    from mlflow.exceptions import MlflowException

    if archive := server.get_registered_model(name).tags.get(TAG):
        try:
            return server.get_logged_model(archive).model_id
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
    made = create(server, name, ledger.run_of(server, name))
    server.set_registered_model_tag(name, TAG, made)
    return made
