"""Kubeflow's contract of ingest: what goes in, what comes out, which program runs in which image."""

from kfp import dsl

from components._image import image


@dsl.container_component
def ingest(
    params: dict,
    source_version: str,
    dataset: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
) -> dsl.ContainerSpec:
    # The version as text: Kubeflow's cache knows an artifact by its id alone, which is new each time that pin runs.
    # fmt: off
    return dsl.ContainerSpec(
        image=image("ingest"),
        command=[
            "python", "-m", "components.ingest",
            "--source_version", source_version,
            "--dataset", dataset.path,
            "--params", params,
            "--executor-input", "{{$}}",
        ],
    )
    # fmt: on
