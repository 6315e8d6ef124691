"""python -m components.quantize --onnx artifacts/onnx --splits artifacts/augmented --bundle artifacts/bundle --params params.yaml"""  # noqa: E501

import sys
from typing import TYPE_CHECKING

from fineline.steps.command_line import Run, Step, main

if TYPE_CHECKING:
    from fineline.steps.params import StepParams


def load() -> "tuple[type[StepParams], Run]":
    from components.quantize.params import Params
    from components.quantize.step import run

    return Params, run


STEP = Step(
    name="quantize",
    summary="The fastest of fp32, int8 and fp16 that keeps its quality on the validation split.",
    inputs={
        "onnx": "the fp32 bundle",
        "splits": "the splits the model was trained on; validation judges, it and test are the reference of monitor",
    },
    outputs={"bundle": "model.onnx, tokenizer.json, bundle.json, quantize.json, reference.parquet"},
    load=load,
)

if __name__ == "__main__":
    sys.exit(main(STEP))
