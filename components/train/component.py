"""Kubeflow's contract of train: what goes in, what comes out, which program runs in which image."""

from kfp import dsl

from components._image import image


@dsl.container_component
def train(
    params: dict,
    checkpoints: str,
    splits: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
) -> dsl.ContainerSpec:
    # fmt: off
    return dsl.ContainerSpec(
        image=image("train"),
        command=[
            "python", "-m", "components.train",
            "--splits", splits.path,
            "--checkpoints", checkpoints,
            "--model", model.path,
            "--params", params,
            "--executor-input", "{{$}}",
        ],
    )
    # fmt: on
