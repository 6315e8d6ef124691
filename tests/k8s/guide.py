"""docs/cluster.md, walked: its shell blocks run by bash in one shell, with programs that note how they are called.

`kubectl apply -k` and `diff -k` build for real, so that a path that does not build stops the walk; nothing else does its work.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.k8s.build import K8S

PAGE = K8S.parent / "docs" / "cluster.md"
MODES = {"multi-user": ("fineline", "k8s/overlays/gpu"), "standalone": ("kubeflow", "k8s/overlays/local")}
"""By mode, the namespace of the steps and the overlay."""

_BLOCK = re.compile(r"^```(sh|yaml)( multi-user| standalone)?\n(.*?)^```$", re.M | re.S)
_TYPED = "postgres-password\naccess-key\nsecret-key\n"
_NOTING = f"""#!{sys.executable}
import json, os, subprocess, sys
name, words = os.path.basename(sys.argv[0]), sys.argv[1:]
read = lambda path: open(path).read() if path.startswith("/dev/fd/") else path
call = {{"words": [name, *[read(word.lstrip("@")) if "/dev/fd/" in word else word for word in words]], "cwd": os.getcwd()}}
call["environment"] = dict(os.environ)
if words[-2:] == ["-f", "-"]:
    call["stdin"] = sys.stdin.read()
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps(call) + "\\n")
if name == "kubectl" and "-k" in words:
    build = [os.environ["KUBECTL"], "kustomize", words[words.index("-k") + 1]]
    sys.exit(subprocess.run(build, stdout=subprocess.DEVNULL).returncode)
if name == "kubectl" and "jsonpath={{.data.MLFLOW_AUTH_ADMIN_PASSWORD}}" in words:
    print("YWRtaW4=")
"""


class Call(NamedTuple):
    """A program that the guide called: its words, and what it was given on stdin."""

    words: list[str]
    stdin: str


def blocks(kind: str, mode: str) -> Iterator[str]:
    """The page's blocks of a kind, sh or yaml, that are for a mode."""
    for language, only, text in _BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if language == kind and only.strip() in ("", mode):
            yield text


def walk(mode: str, folder: Path, registry: str) -> list[Call]:
    """Runs the blocks of a mode in a copy of k8s/; gives the calls in order. What a block fails at stops it: AssertionError."""
    namespace, overlay = MODES[mode]
    programs, project = folder / "programs", folder / "project"
    programs.mkdir(parents=True)
    shutil.copytree(K8S, project / "k8s")
    shutil.copyfile(K8S.parent / "params.yaml", project / "params.yaml")
    for name in ("kubectl", "docker", "make", "curl", "fineline"):
        (programs / name).write_text(_NOTING)
        (programs / name).chmod(0o755)
    script = "\n".join(blocks("sh", mode))
    for default, own in (
        ("NS=fineline OVERLAY=k8s/overlays/gpu", f"NS={namespace} OVERLAY={overlay}"),
        ("REGISTRY=registry.example.com/team", f"REGISTRY={registry}"),
        ('PATH="$PWD/.venv/bin:$PATH"', f'PATH="{programs}:$PATH"'),
    ):
        assert script.count(default) == 1, default
        script = script.replace(default, own)
    environment = {"PATH": os.environ["PATH"], "CALLS": str(folder / "calls"), "KUBECTL": str(shutil.which("kubectl"))}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=project,
        env=environment,
        input=_TYPED,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    calls = [json.loads(line) for line in (folder / "calls").read_text().splitlines()]
    return [Call(call["words"], call.get("stdin", "")) for call in calls]


def option(words: list[str], *names: str) -> str:
    """The value of a flag, '' when it is not given."""
    return next((words[number + 1] for number, word in enumerate(words) if word in names), "")


def secrets(calls: list[Call]) -> dict[tuple[str, str], set[str]]:
    """The keys of each secret that the walk makes, by (namespace, name)."""
    made = {}
    for call in calls:
        if call.words[0] == "kubectl" and "secret" in call.words and "create" in call.words:
            name = call.words[call.words.index("generic") + 1]
            literals = [
                word.removeprefix("--from-literal=") for word in call.words if word.startswith("--from-literal=")
            ]
            assert all(literal.partition("=")[2] for literal in literals), call.words
            made[option(call.words, "-n", "--namespace"), name] = {literal.partition("=")[0] for literal in literals}
    return made


def applied(calls: list[Call], folder: Path) -> list[dict[str, Any]]:
    """All objects of the kustomizations that the walk applies, built once more from its copy."""
    objects = []
    for path in [option(call.words, "-k") for call in calls if "apply" in call.words and "-k" in call.words]:
        done = subprocess.run(
            ["kubectl", "kustomize", str(folder / "project" / path)], capture_output=True, text=True, check=True
        )
        objects += list(yaml.safe_load_all(done.stdout))
    return objects
