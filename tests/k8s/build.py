"""What the kustomizations below k8s/ build, as plain objects, and what the rules ask of it."""

import atexit
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

K8S = Path(__file__).parents[2] / "k8s"

Object = dict[str, Any]


class Build(NamedTuple):
    """What one kustomization gives, and what else is there when it is applied (nothing, if it makes the namespace)."""

    objects: list[Object]
    around: list[Object]
    secrets: dict[str, set[str]]


class Pod(NamedTuple):
    """The pod of a workload: who makes it, its labels and its spec."""

    owner: Object
    labels: dict[str, str]
    spec: Object


def kustomizations() -> list[Path]:
    """The folders below k8s/ that build something."""
    files = sorted(K8S.rglob("kustomization.yaml"))
    return [file.parent for file in files if yaml.safe_load(file.read_text())["kind"] == "Kustomization"]


@cache
def prepared() -> Path:
    """A copy of k8s/ with params.yaml where docs/cluster.md has one put it."""
    folder = Path(tempfile.mkdtemp(prefix="fineline-k8s-"))
    atexit.register(shutil.rmtree, folder)
    shutil.copytree(K8S, folder / "k8s")
    shutil.copyfile(K8S.parent / "params.yaml", folder / "k8s" / "retraining" / "params.yaml")
    return folder / "k8s"


def kustomize(folder: Path) -> list[Object]:
    """The objects of a kustomization, as kubectl builds them; of one below k8s/ when it is prepared."""
    if folder.is_relative_to(K8S):
        folder = prepared() / folder.relative_to(K8S)
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{folder}: {done.stderr}")
    return list(yaml.safe_load_all(done.stdout))


def secret_keys() -> dict[str, set[str]]:
    """The keys of each secret, by name, as the template lists them."""
    template = yaml.safe_load_all((K8S / "secrets.template.yaml").read_text())
    return {secret["metadata"]["name"]: set(secret["stringData"]) for secret in template}


def name_of(thing: Object) -> str:
    meta = thing["metadata"]
    return f"{thing['kind']} {meta.get('namespace', '')}/{meta['name']}"


def pods(objects: list[Object]) -> Iterator[Pod]:
    """The pods that the objects make."""
    for thing in objects:
        spec = thing.get("spec", {})
        if thing["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if thing["kind"] == "InferenceService":
            yield Pod(thing, thing["metadata"].get("labels", {}), spec["predictor"])
        elif "template" in spec:
            yield Pod(thing, spec["template"]["metadata"].get("labels", {}), spec["template"]["spec"])


def containers(pod: Pod) -> Iterator[tuple[str, Object]]:
    """Each container, init containers too, with the name to complain under."""
    for container in pod.spec.get("initContainers", []) + pod.spec["containers"]:
        yield f"{name_of(pod.owner)} container {container['name']}", container


def matches(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a label selector takes these labels; the empty one takes all."""
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    holds = {
        "In": lambda key, values: labels.get(key) in values,
        "NotIn": lambda key, values: labels.get(key) not in values,
        "Exists": lambda key, values: key in labels,
        "DoesNotExist": lambda key, values: key not in labels,
    }
    return wanted and all(
        holds[e["operator"]](e["key"], e.get("values", [])) for e in selector.get("matchExpressions", [])
    )


def ports(container: Object) -> set[Any]:
    """The ports of a container, by number and by name."""
    return {value for port in container.get("ports", []) for value in (port["containerPort"], port.get("name"))}
