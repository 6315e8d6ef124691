"""Whatever a parameter holds reaches its step: compiled, through the model of a cluster, read by the step's own command line."""

import dataclasses
import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ConfigDict

from components.monitor.watch import configured
from fineline.kubeflow import delivery
from fineline.process.errors import UsageError
from fineline.sources import source_version
from fineline.steps import command_line
from fineline.steps.params import StepParams
from pipelines import blocks
from pipelines.compiler import LARGEST_ARGUMENT, LARGEST_AROUND, package, retraining_package
from pipelines.settings import Cluster
from tests.conftest import PROJECT
from tests.fineline.test_delivery import TEXTS
from tests.pipelines.cluster_model import Failure, Pod, pods

STEPS, _ = blocks.read(file=PROJECT / "params.yaml")
OUTPUTS = {"passed": True, "retrain": True, "reason": "new rows", "version": '{"source": {"version": "sha256:0"}}'}
HOSTILE = [
    "no$$such$(KFP_POD_NAME)-{{workflow.name}}.csv",
    *("{{$.outputs.artifacts['model'].path}}", "{{$}}", "{{=1+}}", "[[Index]]", "-x", "\x00", "\x7f", "\U000e0067"),
]
VALUES = st.recursive(
    st.one_of(TEXTS, st.booleans(), st.integers(-(2**53), 2**53)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=6,
)


class Anything(StepParams):
    """Parameters of any name, so that the way to a step is tested apart from what the step wants."""

    model_config = ConfigDict(extra="allow")


def read(name: str, argv: list[str]) -> dict[str, Any]:
    """The parameters, by name, and paths that the step's own command line makes of `argv`."""
    spec = importlib.import_module(f"components.{name}.__main__").STEP
    heard: dict[str, Any] = {}

    def run(params: Anything, **paths: Path | None) -> str:
        heard.update(params.model_dump(), **{f"--{flag}": path for flag, path in paths.items()})
        return ""

    assert command_line.main(dataclasses.replace(spec, load=lambda: (Anything, run)), argv) == 0
    return heard


def heard_by(found: dict[str, Pod], name: str) -> dict[str, Any]:
    argv = found[name].argv
    assert argv[:3] == ["python", "-m", f"components.{name}"]
    return read(name, argv[3:])


def sent(package_text: str, name: str, **given: Any) -> dict[str, Any]:
    """What `name` hears of a run in which an argument, or what another task says, is `given`; by hand and by a schedule."""
    says = OUTPUTS | {key: value for key, value in given.items() if key in OUTPUTS}
    arguments = {key: value for key, value in given.items() if key not in OUTPUTS}
    by_hand, scheduled = (
        heard_by(pods(package_text, arguments, says, often, only=name), name) for often in (False, True)
    )
    assert by_hand == scheduled
    return by_hand


@pytest.fixture(scope="module")
def compiled() -> str:
    return package(STEPS, Cluster())


@pytest.mark.slow
@settings(max_examples=200)
@given(value=VALUES, key=TEXTS)
def test_any_value_of_a_block_arrives(compiled: str, value: Any, key: str) -> None:
    block = {**STEPS["split"], "text": value, f"{key} ": [key, {key: value}]}
    heard = sent(compiled, "split", split_params=delivery.encoded(block))
    assert {name: heard[name] for name in block} == block


@pytest.mark.slow
@settings(max_examples=3)
@given(values=st.lists(VALUES, min_size=15, max_size=15), key=TEXTS)
def test_any_compiled_default_arrives(values: list[Any], key: str) -> None:
    steps = {**STEPS, "split": {"values": values, "hostile": HOSTILE, f"{key} ": key}}
    text = package(steps, Cluster())
    heard = sent(text, "split")
    assert {name: heard[name] for name in steps["split"]} == steps["split"]


@settings(max_examples=100)
@given(text=TEXTS.map(lambda text: text.replace("\x00", "")).filter(bool))  # no path has a NUL
def test_any_text_that_a_step_takes_by_itself_arrives(compiled: str, text: str) -> None:
    version = source_version.line({"source": source_version.Source(text, 1, "0" * 64)})
    assert sent(compiled, "ingest", version=delivery.encoded(version))["--source_version"] == version
    heard = sent(compiled, "train", checkpoints=delivery.encoded(f"/checkpoints/{text}"))
    assert heard["--checkpoints"] == Path(f"/checkpoints/{text}")


@pytest.mark.slow
def test_hostile_texts_arrive_as_defaults_of_both_pipelines() -> None:
    text = " percent-encoded:100% ".join(HOSTILE)
    steps = {**STEPS, "pin": {**STEPS["pin"], "source": text}, "decide": {**STEPS["decide"], "recent": text}}
    for compile_it in (package, retraining_package):
        found = pods(compile_it(steps, Cluster()), {}, OUTPUTS)
        assert heard_by(found, "pin")["source"] == text
    asked = configured().parse_args(found["monitor"].argv[3:])
    assert delivery.decoded(asked.source) == text
    assert heard_by(found, "decide")["recent"] == text


@pytest.mark.parametrize("text", HOSTILE)
def test_without_the_encoding_they_do_not(compiled: str, text: str) -> None:
    """The model is as unkind as a cluster: tests/recorded/README.md has what became of the first of them."""
    with pytest.raises((AssertionError, Failure, SystemExit)):
        assert str(sent(compiled, "train", checkpoints=text)["--checkpoints"]) == text


def test_what_was_recorded_of_a_text(compiled: str) -> None:
    found = pods(compiled, {"checkpoints": "no$$such$(KFP_POD_NAME)-{{workflow.name}}.csv"}, OUTPUTS, only="train")
    argv = found["train"].argv
    assert argv[argv.index("--checkpoints") + 1] == "no$suchfineline-training-6kkrk-1-fineline-training-6kkrk.csv"


def test_a_text_typed_by_hand_that_is_no_encoding_arrives_as_typed(compiled: str) -> None:
    for typed in ("percent-encoded:100%", "percent-encoded:plain", "100%"):
        assert str(sent(compiled, "train", checkpoints=typed)["--checkpoints"]) == typed
        block = {"text": typed}
        assert sent(compiled, "split", split_params=block)["text"] == typed


def test_by_hand_nothing_is_decoded(tmp_path: Path) -> None:
    block = {"text": "percent-encoded:%24%24"}
    flags = ["--dataset", str(tmp_path / "in"), "--splits", str(tmp_path / "out")]
    assert read("split", [*flags, "--params", json.dumps(block)])["text"] == block["text"]


def test_inputs_as_large_as_are_let_through_fit_and_larger_ones_would_not(compiled: str) -> None:
    free = LARGEST_ARGUMENT - LARGEST_AROUND
    usual = len(json.dumps(STEPS)) + 4000  # and the other inputs
    steps = {**STEPS, "split": {**STEPS["split"], "text": "x" * (free - usual)}}
    assert heard_by(pods(package(steps, Cluster()), {}, OUTPUTS), "split")["text"] == steps["split"]["text"]
    steps["split"]["text"] += "x" * LARGEST_AROUND
    with pytest.raises(UsageError, match="split_params alone"):
        package(steps, Cluster())
    with pytest.raises(Failure, match="argument list too long"):
        pods(compiled, {"split_params": {"text": "x" * LARGEST_ARGUMENT}}, OUTPUTS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("selector", "tolerations"),
    [
        ({}, []),
        (
            {"gpu": "a100", "example.com/zone": "b"},
            [{"key": "gpu", "operator": "Exists"}, {"key": "a", "effect": "NoExecute", "tolerationSeconds": 30}],
        ),
    ],
)
def test_selector_and_tolerations_reach_the_pod_of_train(selector: dict, tolerations: list) -> None:
    cluster = Cluster.model_validate({"node_selector": selector, "tolerations": tolerations})
    for compile_it in (package, retraining_package):
        found = pods(compile_it(STEPS, cluster), {}, OUTPUTS)
        assert (found["train"].node_selector, found["train"].tolerations) == (selector, tolerations)
        others = [pod for name, pod in found.items() if name != "train"]
        assert not any(pod.node_selector or pod.tolerations for pod in others)


def test_as_text_they_would_not(compiled: str) -> None:
    with pytest.raises(Failure, match="unexpected toleration proto value"):
        pods(compiled, {"tolerations": "[]"}, OUTPUTS)
    assert pods(compiled, {"node_selector": '{"gpu": "a100"}'}, OUTPUTS)["train"].node_selector == {}
