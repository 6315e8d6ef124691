"""Kubeflow's contract of quantize: what goes in, what comes out, which program runs in which image."""

from kfp import dsl

from components._image import image


@dsl.container_component
def quantize(
    params: dict,
    onnx: dsl.Input[dsl.Model],
    splits: dsl.Input[dsl.Dataset],
    bundle: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
) -> dsl.ContainerSpec:
    # fmt: off
    return dsl.ContainerSpec(
        image=image("quantize"),
        command=[
            "python", "-m", "components.quantize",
            "--onnx", onnx.path,
            "--splits", splits.path,
            "--bundle", bundle.path,
            "--params", params,
            "--executor-input", "{{$}}",
        ],
    )
    # fmt: on
