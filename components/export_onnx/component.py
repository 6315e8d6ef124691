"""Kubeflow's contract of export_onnx: what goes in, what comes out, which program runs in which image."""

from kfp import dsl

from components._image import image


@dsl.container_component
def export_onnx(
    params: dict,
    model: dsl.Input[dsl.Model],
    splits: dsl.Input[dsl.Dataset],
    onnx: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
) -> dsl.ContainerSpec:
    # fmt: off
    return dsl.ContainerSpec(
        image=image("export_onnx"),
        command=[
            "python", "-m", "components.export_onnx",
            "--model", model.path,
            "--splits", splits.path,
            "--onnx", onnx.path,
            "--params", params,
            "--executor-input", "{{$}}",
        ],
    )
    # fmt: on
