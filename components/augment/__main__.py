"""python -m components.augment --splits artifacts/splits --augmented artifacts/augmented --params params.yaml"""

import sys
from typing import TYPE_CHECKING

from fineline.steps.command_line import Run, Step, main

if TYPE_CHECKING:
    from fineline.steps.params import StepParams


def load() -> "tuple[type[StepParams], Run]":
    from components.augment.params import Params
    from components.augment.step import run

    return Params, run


STEP = Step(
    name="augment",
    summary="Grows the rare labels of the training split with changed copies of its rows, or passes the splits through.",
    inputs={"splits": "the splits"},
    outputs={"augmented": "train.parquet, validation.parquet, test.parquet, split.json, augment.json"},
    load=load,
)

if __name__ == "__main__":
    sys.exit(main(STEP))
