"""Kubeflow's contract of split: what goes in, what comes out, which program runs in which image."""

from kfp import dsl

from components._image import image


@dsl.container_component
def split(
    params: dict,
    dataset: dsl.Input[dsl.Dataset],
    splits: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
) -> dsl.ContainerSpec:
    # fmt: off
    return dsl.ContainerSpec(
        image=image("split"),
        command=[
            "python", "-m", "components.split",
            "--dataset", dataset.path,
            "--splits", splits.path,
            "--params", params,
            "--executor-input", "{{$}}",
        ],
    )
    # fmt: on
