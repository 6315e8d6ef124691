"""Kubeflow's contract of evaluate: what goes in, what comes out, which program runs in which image."""

from kfp import dsl

from components._image import image


@dsl.container_component
def evaluate(
    params: dict,
    model: dsl.Input[dsl.Model],
    bundle: dsl.Input[dsl.Model],
    splits: dsl.Input[dsl.Dataset],
    report: dsl.Output[dsl.Artifact],
    html: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    classification: dsl.Output[dsl.ClassificationMetrics],
    passed: dsl.OutputPath(bool),  # type: ignore[valid-type]
) -> dsl.ContainerSpec:
    # fmt: off
    return dsl.ContainerSpec(
        image=image("evaluate"),
        command=[
            "python", "-m", "components.evaluate",
            "--model", model.path,
            "--bundle", bundle.path,
            "--splits", splits.path,
            "--report", report.path,
            "--params", params,
            "--executor-input", "{{$}}",
        ],
    )
    # fmt: on
