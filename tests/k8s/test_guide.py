"""docs/cluster.md holds together in both modes: its secrets, its images, its commands, and what the manifests want."""

import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import yaml

import cli.__main__
from fineline import __version__
from pipelines.blocks import BLOCKS
from pipelines.settings import Cluster
from pipelines.site import CREDENTIALS, OBJECT_STORE, named
from tests.k8s.build import containers, kustomizations, pods, secret_keys
from tests.k8s.guide import MODES, Call, applied, blocks, option, secrets, walk
from tests.k8s.rules import needs

REGISTRY = "registry.test:5000/team"

pytestmark = pytest.mark.skipif(
    not shutil.which("kubectl"), reason="KUBECTL IS NOT INSTALLED: docs/cluster.md IS NOT WALKED"
)
both = pytest.mark.parametrize("mode", MODES)


@cache
def walked(mode: str) -> tuple[list[Call], list[dict[str, Any]]]:
    """The calls of a walk, and the objects that it applies."""
    folder = Path(mkdtemp(prefix="fineline-guide-"))
    try:
        calls = walk(mode, folder, REGISTRY)
        return calls, applied(calls, folder)
    finally:
        shutil.rmtree(folder)


def called(mode: str, program: str) -> list[list[str]]:
    return [call.words for call in walked(mode)[0] if call.words[0] == program]


@both
def test_every_secret_that_is_made_is_wanted_and_the_other_way_round(mode: str) -> None:
    namespace, _ = MODES[mode]
    calls, objects = walked(mode)
    settings = Cluster.model_validate({})
    wanted: dict[tuple[str, str], set[str]] = {}
    for pod in pods(objects):
        for kind, name, keys in needs(pod):
            if kind == "Secret":
                wanted.setdefault((pod.owner["metadata"]["namespace"], name), set()).update(keys)
    wanted.setdefault((namespace, settings.tracking_secret), set()).update(CREDENTIALS)
    wanted.setdefault((namespace, settings.source_secret), set()).update(OBJECT_STORE)
    made = secrets(calls)
    assert made.keys() == wanted.keys()
    for secret, keys in made.items():
        assert wanted[secret] <= keys
        assert keys == secret_keys()[secret[1]]
    assert {name for _, name in made} == set(secret_keys())


@both
def test_every_image_that_is_pushed_runs_somewhere_and_the_other_way_round(mode: str) -> None:
    _, objects = walked(mode)
    run = {named(Cluster.model_validate({"registry": REGISTRY}), step) for step in BLOCKS}
    ours = [container["image"] for pod in pods(objects) for _, container in containers(pod)]
    run |= {image for image in ours if "fineline" in image or image.startswith(REGISTRY)}
    pushed = [words[2] for words in called(mode, "docker") if words[1] == "push"]
    assert sorted(pushed) == sorted(run)
    tagged = {words[3]: words[2] for words in called(mode, "docker") if words[1] == "tag"}
    assert tagged == {image: f"fineline/{image.removeprefix(REGISTRY + '/')}" for image in pushed}
    assert all(image.endswith(f":{__version__}") for image in pushed)


@both
def test_no_placeholder_is_left(mode: str) -> None:
    images = [container["image"] for pod in pods(walked(mode)[1]) for _, container in containers(pod)]
    assert len(images) > 4
    assert [image for image in images if "example.com" in image or image.startswith("fineline/")] == []


def test_every_kustomization_that_is_for_people_is_in_the_guide() -> None:
    """Those that others are made of, and KServe's, are not applied by it."""
    paths = {option(call.words, "-k") for mode in MODES for call in walked(mode)[0] if "apply" in call.words} - {""}
    parts = {"base", "steps", "steps-standalone"}
    folders = {"/".join(folder.parts[folder.parts.index("k8s") :]) for folder in kustomizations()}
    assert paths == folders - {f"k8s/{part}" for part in parts} - {"k8s/serving/kserve"}


@both
def test_its_commands_are_ones_that_fineline_takes(mode: str) -> None:
    commands = called(mode, "fineline")
    for _, *words in commands:
        cli.__main__._parser(words[0]).parse_args(words)
    names = [words[1] for words in commands]
    assert {"doctor", "submit", "schedule", "status", "promote", "predict", "rollback"} == set(names)
    assert names.index("submit") > names.index("doctor")
    namespace, _ = MODES[mode]
    assert {option(words, "--namespace") for words in commands if words[1] == "doctor"} == {namespace}
    first = next(words for words in commands if words[1] == "submit")
    assert option(first, "--namespace") == (namespace if mode == "multi-user" else "")
    assert not [word for word in first if "epochs" in word]  # fewer do not pass the gate


@both
def test_a_namespace_is_made_once_by_who_owns_it(mode: str) -> None:
    """In multi-user mode the profile comes first, and its namespace is waited for; what else is made comes after it."""
    calls = [
        call
        for call in walked(mode)[0]
        if "Profile" in call.stdin
        or "k8s/base/namespace.yaml" in call.words
        or call.words[:3] == ["kubectl", "get", "namespace"]
    ]
    order = ["profile" if "Profile" in call.stdin else call.words[1] for call in calls]
    assert order == (["profile", "get", "apply"] if mode == "multi-user" else ["apply"])
    kinds = [yaml.safe_load(call.stdin)["metadata"]["name"] for call in calls if call.stdin]
    assert kinds == (["fineline"] if mode == "multi-user" else [])


@both
def test_mlflows_users_are_those_of_the_secrets(mode: str) -> None:
    calls, _ = walked(mode)
    made = called(mode, "curl")
    users = {
        yaml.safe_load(word)["username"]: yaml.safe_load(word)["password"]
        for words in made
        for word in words
        if "{" in word
    }
    in_secrets = {}
    for call in calls:
        given = dict(
            word.removeprefix("--from-literal=").split("=", 1) for word in call.words if "MLFLOW_TRACKING" in word
        )
        if "MLFLOW_TRACKING_USERNAME" in given:
            in_secrets[given["MLFLOW_TRACKING_USERNAME"]] = given["MLFLOW_TRACKING_PASSWORD"]
    assert users == in_secrets
    assert set(users) == {"training", "serving"}
    assert all(len(password) >= 12 for password in users.values())


def test_its_settings_are_ones_that_the_cluster_takes() -> None:
    (block,) = blocks("yaml", "standalone")
    settings = Cluster.model_validate(yaml.safe_load(block)["cluster"])
    assert settings.gpu_count == 1
    assert named(settings, "train").startswith("registry.example.com/team/train@sha256:")
