"""A bundle as a logged model of an MLflow run."""

import importlib
import json
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

import fineline
from fineline.artifacts import folders
from fineline.artifacts.folders import EVENTS, Manifest
from fineline.bundles.bundle import GOLDEN_TEXTS
from fineline.process.errors import ResourceError
from fineline.registry import model_versions
from fineline.tasks import Task, get_task
from fineline.tracking import connection
from fineline.tracking.journal import Journal, go_on

# What a process that loads the model imports, through fineline.bundles.bundle and pyfunc_model.py.
REQUIREMENTS = ("mlflow", "numpy", "onnxruntime", "pydantic", "tokenizers")

_CODE = Path(__file__).with_name("pyfunc_model.py")


def the_run(server: Any, bundle: Path, report: Path, folder: Path) -> str:
    """The id of the MLflow run that the artifacts belong to, with all of their journal sent.

    It is the run whose id lies beside the manifests. When this server does not have it (it was down during training, or
    the artifacts come from elsewhere), the journal is replayed into a new run. A copy of the journal stays in `folder`.
    """
    journal = go_on(report if (report / EVENTS).is_file() else bundle, folder)
    run_id = journal.run_id or folders.read_run_id(report) or folders.read_run_id(bundle)
    if run_id and model_versions.has_run(server, run_id):
        journal.close()
        return run_id
    if journal.run_id:
        journal = _as_never_sent(journal)
    if not journal.started:
        journal.run("register", {}, {}, [])
    run_id = journal.close("FINISHED")
    if not run_id:
        raise ResourceError(
            "the tracking server took no run", "mend what the line above says, then run the same command again"
        )
    return run_id


def log_bundle(server: Any, bundle: Path, made: Manifest, run_id: str) -> tuple[str, str]:
    """Logs the bundle to the run, in the run's experiment, as a pyfunc; gives (its URI, its model id)."""
    import mlflow

    mlflow.set_tracking_uri(connection.tracking_uri())
    for name in ("mlflow.models.model", "mlflow.pyfunc", "mlflow.types.type_hints"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="fineline-") as temporary:
        shipped = Path(temporary) / "bundle"
        for name in [*made.files, folders.MANIFEST]:
            (shipped / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle / name, shipped / name)
        run = server.get_run(run_id)
        # Made first, because Model.log makes it in the experiment that is active here, whatever the run's is.
        model = server.create_logged_model(
            run.info.experiment_id, name="model", source_run_id=run_id, params=run.data.params
        )
        # Not mlflow.pyfunc.log_model: that would open the finished run again and change its status and end.
        logged = mlflow.models.Model.log(
            artifact_path=None,
            model_id=model.model_id,
            flavor=mlflow.pyfunc,
            run_id=run_id,
            python_model=str(_CODE),
            artifacts={"bundle": str(shipped)},
            code_paths=[str(Path(fineline.__file__).parent)],
            pip_requirements=[f"{package}=={importlib.import_module(package).__version__}" for package in REQUIREMENTS],
            input_example=list(GOLDEN_TEXTS[1:3]),
            signature=_signature(get_task(made.task)),
        )
    return logged.model_uri, logged.model_id


def _signature(task: Task) -> Any:
    """Texts in one column without a name, which is what a list is too; answers with the task's fields."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array, Map, Object, Property

    kinds: dict[Any, Any] = {
        str: DataType.string,
        float: DataType.double,
        list[str]: Array(DataType.string),
        dict[str, float]: Map(DataType.double),
    }
    answer = Object([Property(name, kinds[kind]) for name, kind in task.answer_fields.items()])
    return ModelSignature(inputs=Schema([ColSpec(DataType.string)]), outputs=Schema([ColSpec(answer)]))


def _as_never_sent(journal: Journal) -> Journal:
    """The journal without what says that a server has it."""
    kept = [event for event in journal.events if event["kind"] != "sent"]
    journal.path.write_text("".join(json.dumps(event) + "\n" for event in kept), encoding="utf-8")
    return Journal(journal.path)
