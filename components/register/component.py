"""Kubeflow's contract of register: what goes in, what comes out, which program runs in which image."""

from kfp import dsl

from components._image import image


@dsl.container_component
def register(
    params: dict,
    bundle: dsl.Input[dsl.Model],
    report: dsl.Input[dsl.Artifact],
    splits: dsl.Input[dsl.Dataset],
    registration: dsl.Output[dsl.Artifact],
) -> dsl.ContainerSpec:
    # fmt: off
    return dsl.ContainerSpec(
        image=image("register"),
        command=[
            "python", "-m", "components.register",
            "--bundle", bundle.path,
            "--report", report.path,
            "--splits", splits.path,
            "--registration", registration.path,
            "--params", params,
            "--executor-input", "{{$}}",
        ],
    )
    # fmt: on
