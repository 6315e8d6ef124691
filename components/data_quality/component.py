"""Kubeflow's contract of data_quality: what goes in, what comes out, which program runs in which image."""

from kfp import dsl

from components._image import image


@dsl.container_component
def data_quality(
    params: dict,
    dataset: dsl.Input[dsl.Dataset],
    clean: dsl.Output[dsl.Dataset],
    quality: dsl.Output[dsl.Artifact],
    html: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> dsl.ContainerSpec:
    # fmt: off
    return dsl.ContainerSpec(
        image=image("data_quality"),
        command=[
            "python", "-m", "components.data_quality",
            "--dataset", dataset.path,
            "--clean", clean.path,
            "--quality", quality.path,
            "--params", params,
            "--executor-input", "{{$}}",
        ],
    )
    # fmt: on
