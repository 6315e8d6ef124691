"""python -m components.split --dataset artifacts/clean --splits artifacts/splits --params params.yaml"""

import sys
from typing import TYPE_CHECKING

from fineline.steps.command_line import Run, Step, main

if TYPE_CHECKING:
    from fineline.steps.params import StepParams


def load() -> "tuple[type[StepParams], Run]":
    from components.split.params import Params
    from components.split.step import run

    return Params, run


STEP = Step(
    name="split",
    summary="Divides the rows into training, validation and test so that no group and no near-duplicate lies on two sides; too "
    "large a group is cut, and what is then near is counted.",
    inputs={"dataset": "the clean dataset"},
    outputs={"splits": "train.parquet, validation.parquet, test.parquet, split.json"},
    load=load,
)

if __name__ == "__main__":
    sys.exit(main(STEP))
