"""python -m components.export_onnx --model artifacts/model --splits artifacts/augmented --onnx artifacts/onnx --params params.yaml"""  # noqa: E501

import sys
from typing import TYPE_CHECKING

from fineline.steps.command_line import Run, Step, main

if TYPE_CHECKING:
    from fineline.steps.params import StepParams


def load() -> "tuple[type[StepParams], Run]":
    from components.export_onnx.params import Params
    from components.export_onnx.step import run

    return Params, run


STEP = Step(
    name="export_onnx",
    summary="fp32 ONNX with its tokenizer, proven equal to the PyTorch model on real texts.",
    inputs={"model": "the trained model", "splits": "the splits it was trained on; their texts prove the parity"},
    outputs={"onnx": "model.onnx, tokenizer.json, bundle.json, parity.json"},
    load=load,
)

if __name__ == "__main__":
    sys.exit(main(STEP))
