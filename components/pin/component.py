"""Kubeflow's contract of pin: what goes in, what comes out, which program runs in which image."""

from kfp import dsl

from components._image import image


@dsl.container_component
def pin(
    params: dict,
    source_version: dsl.Output[dsl.Artifact],
    version: dsl.OutputPath(str),  # type: ignore[valid-type]
) -> dsl.ContainerSpec:
    # fmt: off
    return dsl.ContainerSpec(
        image=image("pin"),
        command=[
            "python", "-m", "components.pin",
            "--source_version", source_version.path,
            "--params", params,
            "--executor-input", "{{$}}",
        ],
    )
    # fmt: on
