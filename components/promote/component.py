"""Kubeflow's contract of promote: what goes in, what comes out, which program runs in which image."""

from kfp import dsl

from components._image import image


@dsl.container_component
def promote(
    params: dict,
    bundle: dsl.Input[dsl.Model],
    registration: dsl.Input[dsl.Artifact],
    splits: dsl.Input[dsl.Dataset],
    promotion: dsl.Output[dsl.Artifact],
    html: dsl.Output[dsl.HTML],
) -> dsl.ContainerSpec:
    # fmt: off
    return dsl.ContainerSpec(
        image=image("promote"),
        command=[
            "python", "-m", "components.promote",
            "--bundle", bundle.path,
            "--registration", registration.path,
            "--splits", splits.path,
            "--promotion", promotion.path,
            "--params", params,
            "--executor-input", "{{$}}",
        ],
    )
    # fmt: on
