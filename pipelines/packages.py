"""What a Kubeflow Pipelines server runs: the compiled pipeline as a version on the server, and the arguments of a run."""

import argparse
import dataclasses
import importlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fineline.process.errors import UsageError
from fineline.tracking.connection import DEFAULT_EXPERIMENT
from pipelines import blocks
from pipelines.client import Server, ServerError
from pipelines.compiler import PIPELINES, add_pipeline, check_size, version_name

RULE = (
    "The pipeline is uploaded as a version with the values of params.yaml, once. What --set changes of its inputs (the steps'\n"
    "parameters, and what params.yaml marks 'Run time') are the run's arguments; what --set changes of what is compiled in\n"
    "('When compiling'), and --no-cache, makes a version of its own."
)

IN_THE_IMAGES = frozenset({"data/sample/messages.csv", "data/lexicon.tsv"})
"""Files of this project that the images hold (docker/Dockerfile), so that every pod has them."""

_PIPELINES = "PipelineServiceApi.pipeline_service_list_pipelines"
_VERSIONS = "PipelineServiceApi.pipeline_service_list_pipeline_versions"
_EXPERIMENTS = "ExperimentServiceApi.experiment_service_list_experiments"
_TYPES: dict[str, tuple[type, ...]] = {
    "STRING": (str,),
    "STRUCT": (dict,),
    "LIST": (list,),
    "BOOLEAN": (bool,),
    "NUMBER_INTEGER": (int,),
    "NUMBER_DOUBLE": (int, float),
}


@dataclasses.dataclass(frozen=True)
class Package:
    """A compiled pipeline, its name, version and steps, and the arguments in which a run is to differ from it."""

    text: str
    pipeline: str
    version: str
    steps: list[str]
    arguments: dict[str, Any]
    service_account: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that say what to run: --pipeline, --params, --set, --no-cache, and --experiment."""
    add_pipeline(parser)
    blocks.add_arguments(parser)
    parser.add_argument("--no-cache", action="store_true", help="run every step, even when its result is in the cache")
    parser.add_argument(
        "--experiment",
        default=DEFAULT_EXPERIMENT,
        metavar="NAME",
        help=f"Kubeflow's group of runs ({DEFAULT_EXPERIMENT})",
    )


def prepare(pipeline: str, overrides: Sequence[str], file: Path, cached: bool = True) -> Package:
    """Compiles and checks, without a server, by RULE. Raises UsageError."""
    import yaml

    steps, cluster = blocks.read(overrides, file)
    documents = list(yaml.safe_load_all(PIPELINES[pipeline](steps, cluster)))
    usual = list(yaml.safe_load_all(PIPELINES[pipeline](*blocks.read((), file)))) if overrides else documents
    inputs, usual_inputs = (docs[0]["root"]["inputDefinitions"]["parameters"] for docs in (documents, usual))
    arguments = {}
    for name, definition in inputs.items():
        if definition["defaultValue"] != usual_inputs[name]["defaultValue"]:
            arguments[name] = definition["defaultValue"]
            definition["defaultValue"] = usual_inputs[name]["defaultValue"]
    names = [step for step in blocks.BLOCKS if f"comp-{step.replace('_', '-')}" in documents[0]["components"]]
    _check_places(steps, names)
    check(arguments, inputs)
    check_size(documents[0], arguments)
    if not cached:
        _switch_cache_off(documents[0])
    text = yaml.dump_all(documents, sort_keys=True)  # as kfp does: what is unchanged has the same bytes
    return Package(
        text, documents[0]["pipelineInfo"]["name"], version_name(text), names, arguments, cluster.service_account
    )


def check(arguments: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
    """Checks a run's arguments against the compiled pipeline's inputs, as the server will. Raises UsageError."""
    for name, value in arguments.items():
        if name not in inputs:
            raise UsageError(f"the pipeline has no input {name}", f"its inputs are {', '.join(sorted(inputs))}")
        wanted = inputs[name]["parameterType"]
        if not isinstance(value, _TYPES[wanted]) or (isinstance(value, bool) and wanted != "BOOLEAN"):
            raise UsageError(f"input {name} of the pipeline is of type {wanted}; {value!r} is not", "correct it")


def _check_places(steps: blocks.Blocks, names: Sequence[str]) -> None:
    """Raises UsageError for files of the folder that the command runs in: a pod starts in its image, where they are not."""
    here = []
    for step in names:
        params = importlib.import_module(f"components.{step}.params").Params.model_validate(steps[step])
        for name, place in params.local_places().items():
            if not place.is_absolute() and str(place) not in IN_THE_IMAGES:
                here.append(f"{step}.{name} = {str(place)!r}")
    if here:
        raise UsageError(
            f"on this machine alone, where no pod can read it: {'; '.join(here)}",
            "put it where pods can, and name that: dvc://REPO@REV:PATH, s3://..., https://..., for a model a hub id; on this "
            "machine the pipeline runs by dvc repro",
        )


def upload(server: Server, content: Package) -> tuple[Any, bool]:
    """The version of `content` on the server, and whether it is new there. Several processes at once make one version."""
    from kfp_server_api import V2beta1Pipeline

    body = V2beta1Pipeline(name=content.pipeline, display_name=content.pipeline, namespace=server.namespace)
    pipeline, _ = _found_or_made(
        lambda: server.named(_PIPELINES, content.pipeline, namespace=server.namespace),
        lambda: server.call("PipelineServiceApi.pipeline_service_create_pipeline", body),
    )

    def send() -> Any:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "pipeline.yaml"
            file.write_text(content.text, encoding="utf-8")
            method = "PipelineUploadServiceApi.upload_pipeline_version"
            return server.call(method, str(file), name=content.version, pipelineid=pipeline.pipeline_id)

    return _found_or_made(lambda: server.named(_VERSIONS, content.version, pipeline_id=pipeline.pipeline_id), send)


def experiment(server: Server, name: str) -> str:
    """The id of the experiment `name`, which is made when there is none."""
    from kfp_server_api import V2beta1Experiment

    body = V2beta1Experiment(display_name=name, namespace=server.namespace)
    found, _ = _found_or_made(
        lambda: server.named(_EXPERIMENTS, name, namespace=server.namespace),
        lambda: server.call("ExperimentServiceApi.experiment_service_create_experiment", body),
    )
    return str(found.experiment_id)


def references(version: Any, content: Package) -> dict[str, Any]:
    """The part of a run and of a recurring run that says what runs: the version, with which arguments."""
    from kfp_server_api import V2beta1PipelineVersionReference, V2beta1RuntimeConfig

    return {
        "pipeline_version_reference": V2beta1PipelineVersionReference(
            pipeline_id=version.pipeline_id, pipeline_version_id=version.pipeline_version_id
        ),
        "runtime_config": V2beta1RuntimeConfig(parameters=content.arguments),
        "service_account": content.service_account or None,
    }


def _found_or_made(find: Callable[[], list[Any]], make: Callable[[], Any]) -> tuple[Any, bool]:
    if found := find():
        return found[0], False
    try:
        return make(), True
    except ServerError as error:
        if error.status != 409 or not (found := find()):  # 409: another process was faster
            raise
        return found[0], False


def _switch_cache_off(specification: dict[str, Any]) -> None:
    """Takes caching from every task; kfp's own enable_caching reaches neither versions nor tasks in nested pipelines."""
    for part in [specification["root"], *specification["components"].values()]:
        for task in part.get("dag", {}).get("tasks", {}).values():
            if "cachingOptions" in task:
                task["cachingOptions"] = {}
