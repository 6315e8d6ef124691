"""Kubeflow's contract of monitor: what goes in, what comes out, which program runs in which image."""

from kfp import dsl

from components._image import image


@dsl.container_component
def monitor(
    params: dict,
    name: str,
    source: str,
    drift: dsl.Output[dsl.Artifact],
    html: dsl.Output[dsl.HTML],
) -> dsl.ContainerSpec:
    # On the champion, whichever it is when the task runs.
    # fmt: off
    return dsl.ContainerSpec(
        image=image("monitor"),
        command=[
            "python", "-m", "components.monitor.watch",
            "--name", name,
            "--source", source,
            "--drift", drift.path,
            "--params", params,
            "--executor-input", "{{$}}",
        ],
    )
    # fmt: on
