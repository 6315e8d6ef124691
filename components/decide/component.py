"""Kubeflow's contract of decide: what goes in, what comes out, which program runs in which image."""

from kfp import dsl

from components._image import image


@dsl.container_component
def decide(
    params: dict,
    name: str,
    dataset: dsl.Input[dsl.Dataset],
    drift: dsl.Input[dsl.Artifact],
    decision: dsl.Output[dsl.Artifact],
    retrain: dsl.OutputPath(bool),  # type: ignore[valid-type]
    reason: dsl.OutputPath(str),  # type: ignore[valid-type]
) -> dsl.ContainerSpec:
    # fmt: off
    return dsl.ContainerSpec(
        image=image("decide"),
        command=[
            "python", "-m", "components.decide",
            "--name", name,
            "--dataset", dataset.path,
            "--drift", drift.path,
            "--decision", decision.path,
            "--params", params,
            "--executor-input", "{{$}}",
        ],
    )
    # fmt: on
