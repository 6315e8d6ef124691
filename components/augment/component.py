"""Kubeflow's contract of augment: what goes in, what comes out, which program runs in which image."""

from kfp import dsl

from components._image import image


@dsl.container_component
def augment(
    params: dict,
    splits: dsl.Input[dsl.Dataset],
    augmented: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
) -> dsl.ContainerSpec:
    # fmt: off
    return dsl.ContainerSpec(
        image=image("augment"),
        command=[
            "python", "-m", "components.augment",
            "--splits", splits.path,
            "--augmented", augmented.path,
            "--params", params,
            "--executor-input", "{{$}}",
        ],
    )
    # fmt: on
