"""A small model of Kubeflow's cache over a compiled pipeline: which tasks a night finds, and which it runs.

What is in a key: kubeflow/pipelines, backend/src/v2/driver/cache.go (getFingerPrint), backend/src/v2/cacheutils/cache.go
(GenerateCacheKey): parameters, names (ids) of input artifacts, names and types of outputs, command and image as they are
compiled, names of mounted claims; entries are looked up within a pipeline's name. A task that runs makes artifacts with new
ids, whatever they hold; a task that is found gives those of the run that made them (recorded: shared/kubeflow, "The cache").
"""

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any

import yaml

Says = Callable[[str, Mapping[str, Any]], dict[str, Any]]
"""(task, its parameters) -> the output parameters that its program gives."""


class Cluster:
    """Keeps what was run, over any number of runs and versions of a pipeline."""

    def __init__(self) -> None:
        self._cache: dict[str, tuple[dict[str, str], dict[str, Any]]] = {}
        self._ids = itertools.count(1)

    def run(self, package: str, says: Says, arguments: Mapping[str, Any] | None = None) -> dict[str, str]:
        """Runs a compiled package; gives each task that has a program as 'ran' or 'cached'."""
        pipeline, platform = yaml.load_all(package, Loader=yaml.CSafeLoader)
        night = _Night(self, pipeline, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"], says)
        inputs = pipeline["root"]["inputDefinitions"]["parameters"]
        parameters = {name: given["defaultValue"] for name, given in inputs.items()} | dict(arguments or {})
        night.dag(pipeline["root"]["dag"], parameters, {})
        return night.ended

    def task(
        self, name: str, key: Mapping[str, Any], cached: bool, outputs: list[str], says: Callable[[], dict[str, Any]]
    ) -> tuple[dict[str, str], dict[str, Any], bool]:
        """The task's output artifacts (their ids), its output parameters, and whether it was found."""
        fingerprint = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        if cached and fingerprint in self._cache:
            return *self._cache[fingerprint], True
        made = {output: f"{name}/{output}/{next(self._ids)}" for output in outputs}, says()
        if cached:
            self._cache[fingerprint] = made
        return *made, False


class _Night:
    def __init__(self, cluster: Cluster, pipeline: Mapping[str, Any], pods: Mapping[str, Any], says: Says) -> None:
        self.cluster, self.pipeline, self.pods, self.says = cluster, pipeline, pods, says
        self.ended: dict[str, str] = {}

    def dag(self, dag: Mapping[str, Any], parameters: Mapping[str, Any], artifacts: Mapping[str, str]) -> None:
        """Runs the tasks of a DAG in the order in which they need each other."""
        outputs: dict[str, tuple[dict[str, str], dict[str, Any]]] = {}
        waiting = dict(dag["tasks"])
        while waiting:
            name = next(name for name, task in waiting.items() if outputs.keys() >= {*task.get("dependentTasks", [])})
            task = waiting.pop(name)
            given = {
                key: _parameter(entry, parameters, outputs)
                for key, entry in task.get("inputs", {}).get("parameters", {}).items()
                if "taskFinalStatus" not in entry
            }
            read = {
                key: artifacts[entry["componentInputArtifact"]]
                if "componentInputArtifact" in entry
                else outputs[entry["taskOutputArtifact"]["producerTask"]][0][
                    entry["taskOutputArtifact"]["outputArtifactKey"]
                ]
                for key, entry in task.get("inputs", {}).get("artifacts", {}).items()
            }
            outputs[name] = self._task(name, task, given, read, parameters)

    def _task(
        self,
        name: str,
        task: Mapping[str, Any],
        given: Mapping[str, Any],
        read: Mapping[str, str],
        around: Mapping[str, Any],
    ) -> tuple[dict[str, str], dict[str, Any]]:
        """The task's outputs. Claims are named by parameters of the DAG `around` it."""
        component = self.pipeline["components"][task["componentRef"]["name"]]
        if "dag" in component:  # a branch is taken: the tests look at runs in which the gate said yes
            self.dag(component["dag"], given, read)
            return {}, {}
        label = component["executorLabel"]
        container = self.pipeline["deploymentSpec"]["executors"][label]["container"]
        defined = component.get("outputDefinitions", {})
        key = {
            "pipeline": self.pipeline["pipelineInfo"]["name"],
            "parameters": given,
            "artifacts": read,
            "outputs": defined,
            "command": container["command"],
            "image": container["image"],
            "claims": sorted(
                _parameter(mount["pvcNameParameter"], around, {}) for mount in self.pods[label].get("pvcMount", [])
            ),
        }
        cached = bool(task.get("cachingOptions", {}).get("enableCache"))
        made, said, found = self.cluster.task(
            name, key, cached, list(defined.get("artifacts", {})), lambda: self.says(name, given)
        )
        self.ended[name.replace("-", "_")] = "cached" if found else "ran"
        return made, said


def _parameter(entry: Mapping[str, Any], parameters: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
    if "runtimeValue" in entry:
        return entry["runtimeValue"]["constant"]
    if "componentInputParameter" in entry:
        return parameters[entry["componentInputParameter"]]
    source = entry["taskOutputParameter"]
    return outputs[source["producerTask"]][1][source["outputParameterKey"]]
