"""The retraining pipeline: training, but only when there is a reason.

pin -> ingest -> data_quality, and monitor on the champion -> decide
-> the rest of the training pipeline, if there is a reason
"""

import inspect
from collections.abc import Mapping
from typing import Any

from kfp import dsl

from components.decide.component import decide
from components.monitor.component import monitor
from pipelines.settings import Cluster
from pipelines.site import Site, named
from pipelines.training import (
    checked_rows,
    recorded_end,
    registration_pipeline,
    train_and_register,
    training_pipeline,
)

NAME = "fineline-retraining"


def retraining_pipeline(blocks: Mapping[str, dict[str, Any]], cluster: Cluster) -> Any:
    """The pipeline: its inputs are those of the training pipeline, and those of monitor and decide,
    whose output parameters `retrain` and `reason` say what became of a run.
    """
    registration = registration_pipeline(cluster)
    usual = inspect.signature(training_pipeline(blocks, cluster).pipeline_func).parameters

    def training(*given: Any) -> None:
        site = Site(cluster, dict(zip(names, given, strict=True)))
        # A pipeline of its own: kfp's local runners take dsl.If on another task's output for false.
        with dsl.If(site.inputs["retrain"] == True, name="there-is-a-reason"):  # noqa: E712  kfp compiles the comparison
            train_and_register(site, blocks["train"], site.inputs["clean"], registration)

    inside = {name: parameter.replace(default=inspect.Parameter.empty) for name, parameter in usual.items()}
    inside |= {"retrain": _input("retrain", bool), "clean": _input("clean", dsl.Input[dsl.Dataset])}
    names = list(inside)
    nested = _pipeline("training", "", training, inside)

    def retraining(*given: Any) -> Any:
        site = Site(cluster, dict(zip(names_outside, given, strict=True)))
        end = recorded_end(site)
        with dsl.ExitHandler(end, name="steps"):
            clean = checked_rows(site)
            # Not cached, both: registry, recent texts and clock have moved on.
            watched = monitor(
                params=site.inputs["monitor_params"], name=site.inputs["name"], source=site.inputs["recent"]
            )
            site.tracked(site.with_object_store(site.placed(watched, "monitor", cached=False)))
            decided = decide(
                params=site.inputs["decide_params"],
                name=site.inputs["name"],
                dataset=clean,
                drift=watched.outputs["drift"],
            )
            site.tracked(site.placed(decided, "decide", cached=False))
            passed_on = {name: site.inputs[name] for name in usual}
            nested(**passed_on, retrain=decided.outputs["retrain"], clean=clean)

    outside = {
        **usual,
        "monitor_params": _input("monitor_params", dict, blocks["monitor"]),
        "decide_params": _input("decide_params", dict, blocks["decide"]),
        "monitor_image": _input("monitor_image", str, named(cluster, "monitor")),
        "decide_image": _input("decide_image", str, named(cluster, "decide")),
        "name": _input("name", str, blocks["register"]["name"]),
        "recent": _input("recent", str, blocks["decide"]["recent"]),
    }
    names_outside = list(outside)
    return _pipeline(NAME, "Trains again when there is a reason, and says why or why not.", retraining, outside)


def _input(name: str, kind: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=kind)


def _pipeline(name: str, description: str, body: Any, inputs: Mapping[str, inspect.Parameter]) -> Any:
    """`body` as a pipeline with `inputs`: kfp reads them from a function's signature, and both pipelines share most."""
    body.__signature__ = inspect.Signature(list(inputs.values()))
    return dsl.pipeline(body, name=name, description=description)
