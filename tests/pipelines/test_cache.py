"""What a night on Kubeflow costs: nothing is done twice for the same bytes, and all of it for others."""

import functools

import pytest

from pipelines import blocks
from pipelines.blocks import STEPS
from pipelines.compiler import PIPELINES
from tests.conftest import PROJECT
from tests.pipelines.cache_key import Cluster, Says

ALWAYS = {"pin", "register", "promote", "finish", "monitor", "decide"}
"""They look at what is outside: the source, the registry, the recent texts, the clock."""
CACHED = set(STEPS) - ALWAYS


@functools.cache
def compiled(pipeline: str, *overrides: str) -> str:
    return PIPELINES[pipeline](*blocks.read(overrides, PROJECT / "params.yaml"))


def with_source(version: str) -> Says:
    """Programs that find the source in this version, a gate that says yes and a reason to train."""
    said = {"pin": {"version": version}, "evaluate": {"passed": True}, "decide": {"retrain": True, "reason": ""}}
    return lambda task, parameters: said.get(task, {})


def ran(ended: dict[str, str]) -> set[str]:
    assert {*STEPS, "finish"} <= ended.keys()
    return {task for task, how in ended.items() if how == "ran"}


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_night_without_new_data_runs_only_what_looks_outside(pipeline: str) -> None:
    cluster, package = Cluster(), compiled(pipeline)
    first = cluster.run(package, with_source("one"))
    assert ran(first) == first.keys()
    assert ran(cluster.run(package, with_source("one"))) == first.keys() - CACHED
    assert ran(cluster.run(package, with_source("two"))) == first.keys()
    assert ran(cluster.run(package, with_source("one"))) == first.keys() - CACHED  # back to the version before


def test_what_changes_no_result_is_not_in_the_key() -> None:
    cluster = Cluster()
    cluster.run(compiled("training"), with_source("one"))
    sizes = ("cpu=3", "memory=6Gi", "train_cpu=7", "train_memory=32Gi", "retries=5", "timeout_hours=3", "shm_size=4Gi")
    resized = compiled("training", *(f"cluster.{size}" for size in sizes))
    assert resized != compiled("training")
    assert not ran(cluster.run(resized, with_source("one"))) & CACHED


@pytest.mark.parametrize(
    ("override", "first"),
    [
        ("ingest.max_bad_rows=11", "ingest"),
        ("split.seed=14", "split"),
        ("evaluate.min_metric=0.1", "evaluate"),
        ("cluster.images.split=registry/split@sha256:1", "split"),
    ],
)
def test_what_changes_results_runs_from_there_on(override: str, first: str) -> None:
    cluster = Cluster()
    cluster.run(compiled("training"), with_source("one"))
    order = [step for step in STEPS if step in CACHED]
    changed = ran(cluster.run(compiled("training", override), with_source("one"))) & CACHED
    assert changed == set(order[order.index(first) :])
