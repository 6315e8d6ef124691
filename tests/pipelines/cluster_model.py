"""What becomes of a compiled package on a cluster: a small model of Kubeflow's backend, Argo and Kubernetes.

Each rule names what it follows: a file of tests/recorded, which a real server wrote, or the source file upstream
(kubeflow/pipelines, argoproj/argo-workflows, kubernetes/kubernetes). What they cannot carry out is a Failure.
"""

import dataclasses
import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

ONE_ARGUMENT = 128 * 1024
"""include/uapi/linux/binfmts.h: MAX_ARG_STRLEN is 32 pages; the first driver of 140,000 bytes died (tests/recorded/README.md)."""
POD = {"KFP_POD_NAME": "fineline-training-6kkrk-1", "MLFLOW_TRACKING_URI": "http://mlflow"}
WORKFLOW = {"workflow.name": "fineline-training-6kkrk", "workflow.uid": "c0ffee", "retries": "0"}
_MAYBE_UNPRINTABLE = re.compile("[\x7f\U00010000-\U0010ffff]")
_TAG = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_PARAMETER = re.compile(r"\{\{\$\.inputs\.parameters\['([^']+)'\]\}\}")
_MACRO = re.compile(r"\[\[(.*?)\]\]", re.DOTALL)


class Failure(Exception):
    """What a driver, a workflow or a pod dies of."""


@dataclasses.dataclass(frozen=True)
class Pod:
    """What a step is started with."""

    argv: list[str]
    image: str
    executor_input: dict[str, Any]
    node_selector: dict[str, str]
    tolerations: list[dict[str, Any]]
    claims: dict[str, str]
    secrets: set[str]
    deadline: int
    retry: dict[str, str]


def pods(
    package: str, arguments: Mapping[str, Any], outputs: Mapping[str, Any], scheduled: bool = False, only: str = ""
) -> dict[str, Pod]:
    """The pods of a run of `package` with `arguments`, by task, or the one of the task `only`; `outputs` are the output
    parameters of its tasks, by name."""
    specification, platform = _parsed(package)
    inputs = specification["root"]["inputDefinitions"]["parameters"]
    # backend/src/v2/compiler/argocompiler/argo.go: defaults of the root component are filled into the runtime config.
    values = {name: given.get("defaultValue") for name, given in inputs.items()} | dict(arguments)
    text = _json({"parameterValues": values})
    if scheduled:
        text = _macros(text)
    # tests/recorded/workflow/training.json: one argument of the first driver, put in by Argo.
    values = json.loads(_one_argument(_argo(text)))["parameterValues"]
    _one_argument(_argo(_json(specification["root"])))
    found = _Package(specification, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"], outputs)
    return dict(found.pods(specification["root"], values, only))


@functools.lru_cache(maxsize=8)
def _parsed(package: str) -> list[dict[str, Any]]:
    return list(yaml.load_all(package, Loader=yaml.CSafeLoader))


@dataclasses.dataclass(frozen=True)
class _Package:
    specification: dict[str, Any]
    settings: dict[str, Any]
    outputs: Mapping[str, Any]

    def pods(self, component: dict[str, Any], values: dict[str, Any], only: str) -> Iterator[tuple[str, Pod]]:
        for name, task in component["dag"]["tasks"].items():
            # backend/src/v2/driver/resolve.go: a task's inputs are those of its DAG, constants, or outputs of other tasks.
            given = {key: self._value(how, values) for key, how in task.get("inputs", {}).get("parameters", {}).items()}
            inner = self.specification["components"][task["componentRef"]["name"]]
            if "dag" in inner:
                yield from self.pods(inner, given, only)
            elif only in ("", name.replace("-", "_")):
                yield name.replace("-", "_"), self._pod(name, task, inner, given, values)

    def _value(self, how: dict[str, Any], values: dict[str, Any]) -> Any:
        match how:
            case {"componentInputParameter": name}:
                if name not in values:
                    raise Failure(f"no input {name}")
                return values[name]
            case {"runtimeValue": {"constant": constant}}:
                return constant
            case {"taskOutputParameter": {"outputParameterKey": key}}:
                return self.outputs[key]
            case {"taskFinalStatus": _}:  # tests/recorded/executor-input/finish.json
                return {"error": {}, "state": "RUNNING", "pipelineTaskName": "exit-handler-1"}
        raise Failure(f"an input of an unknown kind: {how}")

    def _pod(
        self, name: str, task: dict[str, Any], component: dict[str, Any], given: dict[str, Any], values: dict[str, Any]
    ) -> Pod:
        container = self.specification["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        settings = self.settings.get(component["executorLabel"], {})
        asked = _executor_input(name, component, given)
        command = filled(container["command"], given)
        # The pod's patch, with the executor input in the launcher's command, goes through Argo and then through Kubernetes.
        patch = json.loads(_argo(_json([_json(asked), *command])))
        arrived, *command = (_one_argument(_kubernetes(part)) for part in patch)
        argv = [launched(part, json.loads(arrived)) for part in command]
        if any("\x00" in part for part in argv):
            raise Failure("execve: invalid argument")
        selector, tolerations = _placement(settings, values)
        volumes = settings.get("pvcMount", [])
        secrets = settings.get("secretAsEnv", [])
        return Pod(
            argv=argv,
            image=_resolved(container["image"], given),
            executor_input=asked,
            node_selector=selector,
            tolerations=tolerations,
            claims={volume["mountPath"]: self._value(volume["pvcNameParameter"], values) for volume in volumes},
            secrets={self._value(secret["secretNameParameter"], values) for secret in secrets},
            deadline=int(settings["activeDeadlineSeconds"]),
            retry=retry_inputs(task["retryPolicy"]),
        )


def retry_inputs(policy: Mapping[str, Any]) -> dict[str, str]:
    """tests/recorded/workflow/training.json: what the arguments of a task's retry template are, seconds without their s."""
    return {
        "retry-max-count": str(policy["maxRetryCount"]),
        "retry-backoff-duration": policy["backoffDuration"].removesuffix("s"),
        "retry-backoff-factor": f"{policy['backoffFactor']:g}",
        "retry-backoff-max-duration": policy["backoffMaxDuration"].removesuffix("s"),
    }


def filled(command: Sequence[str], given: Mapping[str, Any]) -> list[str]:
    """backend/src/v2/driver/util.go, resolveContainerArgs: the driver fills in parameters, and the launcher the rest."""
    return [_PARAMETER.sub(lambda found: _text(given[found[1]]), part) for part in command]


def launched(part: str, asked: Mapping[str, Any]) -> str:
    """backend/src/v2/component/launcher_v2.go, compileCmdAndArgs and getPlaceholders: {{$}} first, then places of artifacts."""
    part = part.replace("{{$}}", _json(asked))
    for side in ("inputs", "outputs"):
        for name, entry in asked[side].get("artifacts", {}).items():
            uri = entry["artifacts"][0]["uri"]
            part = part.replace(f"{{{{$.{side}.artifacts['{name}'].uri}}}}", uri)
            part = part.replace(f"{{{{$.{side}.artifacts['{name}'].path}}}}", "/" + uri.replace("://", "/").lstrip("/"))
    return part


def _executor_input(name: str, component: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """backend/src/v2/driver/driver.go, provisionOutputs, and tests/recorded/executor-input: executor-logs is always asked for."""
    root = f"minio://mlpipeline/v2/artifacts/{name}"
    kinds = component.get("outputDefinitions", {})
    artifacts = {key: entry["artifactType"] for key, entry in kinds.get("artifacts", {}).items()}
    artifacts["executor-logs"] = {"schemaTitle": "system.Artifact"}
    inputs = component.get("inputDefinitions", {}).get("artifacts", {})
    return {
        "inputs": {
            "parameterValues": given,
            "artifacts": {key: {"artifacts": [{"name": "1", "uri": f"{root}-in/{key}"}]} for key in inputs},
        },
        "outputs": {
            "artifacts": {
                key: {"artifacts": [{"name": key, "type": kind, "uri": f"{root}/{key}"}]}
                for key, kind in artifacts.items()
            },
            "parameters": {key: {"outputFile": f"/tmp/kfp/outputs/{key}"} for key in kinds.get("parameters", {})},
            "outputFile": f"/minio/mlpipeline/v2/artifacts/{name}/output_metadata.json",
        },
    }


def _placement(settings: Mapping[str, Any], values: Mapping[str, Any]) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """backend/src/v2/driver/k8s.go, extendPodSpecPatch: a toleration is a struct or a list; a text as selector is {}."""
    selector: Any = {}
    if "nodeSelector" in settings:
        selector = values[settings["nodeSelector"]["nodeSelectorJson"]["componentInputParameter"]]
        selector = selector if isinstance(selector, dict) else {}
    tolerations: list[dict[str, Any]] = []
    for entry in settings.get("tolerations", []):
        value = values[entry["tolerationJson"]["componentInputParameter"]]
        if not isinstance(value, dict | list):
            raise Failure("encountered unexpected toleration proto value, must be either struct or list type")
        tolerations += value if isinstance(value, list) else [value] if value else []
    return selector, tolerations


def _json(value: Any) -> str:
    """encoding/json of Go, which the driver uses: sorted keys, UTF-8, numbers of type double, '<' as \\u003c. Escapes that a
    sender chose are gone: a value, not its text, is passed on."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _text(value: Any) -> str:
    """backend/src/v2/driver/util.go, pbValueToString."""
    return value if isinstance(value, str) else _json(value)


def _resolved(text: str, given: Mapping[str, Any]) -> str:
    """backend/src/v2/driver/util.go, resolvePodSpecInputRuntimeParameter: the value must be a text, else it is empty."""
    found = _PARAMETER.fullmatch(text)
    return text if not found else given[found[1]] if isinstance(given[found[1]], str) else ""


def _macros(text: str) -> str:
    """backend/src/common/util/parameter_formatter.go: what the controller of recurring runs fills in."""
    known = {"RunUUID": "c0ffee", "ScheduledTime": "20261130030000", "CurrentTime": "20261130030001", "Index": "7"}
    return _MACRO.sub(lambda found: known.get(found[1].partition(".")[0], found[0]), text)


def _argo(text: str) -> str:
    """util/template/simple_template.go and expression_template.go: a tag that names something is filled in, any other stays, an
    expression is evaluated. What is put in goes through Go's strconv.Quote into JSON, which knows no \\x7f and no \\U000e0067."""
    for character in _MAYBE_UNPRINTABLE.findall(text):
        if character == "\x7f" or not character.isprintable():
            raise Failure(f"invalid character in string escape code: {character!r}")
    for found in _TAG.finditer(text):
        if found[1].startswith("="):
            raise Failure(f"failed to evaluate expression {found[1]!r}")
    return _TAG.sub(lambda found: WORKFLOW.get(found[1].strip(), found[0]), text)


def _kubernetes(text: str) -> str:
    """third_party/forked/golang/expansion/expand.go: $(NAME) of the container's environment, and $$ for $."""
    changed = re.compile(r"\$\$|\$\(([^)]*)\)")
    return changed.sub(lambda found: "$" if found[0] == "$$" else POD.get(found[1], found[0]), text)


def _one_argument(text: str) -> str:
    if len(text.encode()) >= ONE_ARGUMENT:
        raise Failure("fork/exec: argument list too long")
    return text
