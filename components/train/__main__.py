"""python -m components.train --splits artifacts/augmented --model artifacts/model --params params.yaml"""

import sys
from typing import TYPE_CHECKING

from fineline.steps.command_line import Run, Step, main

if TYPE_CHECKING:
    from fineline.steps.params import StepParams


def load() -> "tuple[type[StepParams], Run]":
    from components.train.params import Params
    from components.train.step import run

    return Params, run


STEP = Step(
    name="train",
    summary="Fine-tunes a pretrained transformer: full, LoRA or partly frozen; goes on after a kill where it was.",
    inputs={"splits": "train and validation rows (the augmented splits)"},
    outputs={"model": "a Hugging Face folder (safetensors, tokenizer.json), model.json, curves.csv"},
    optional={
        "checkpoints": "where checkpoints lie until the training is done; without it a kill starts from the beginning"
    },
    load=load,
)

if __name__ == "__main__":
    sys.exit(main(STEP))
