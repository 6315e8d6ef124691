"""python -m components.promote --bundle artifacts/bundle --registration artifacts/registration --splits artifacts/augmented \
--promotion artifacts/promotion --params params.yaml"""

import sys
from typing import TYPE_CHECKING

from fineline.steps.command_line import Run, Step, main

if TYPE_CHECKING:
    from fineline.steps.params import StepParams


def load() -> "tuple[type[StepParams], Run]":
    from components.promote.params import Params
    from components.promote.step import run

    return Params, run


STEP = Step(
    name="promote",
    summary="Compares the registered model with the champion on the same frozen test rows, and moves the alias if it is better.",
    inputs={
        "bundle": "the bundle that was registered",
        "registration": "what register wrote about it",
        "splits": "the splits that it was trained on, whose test rows join the frozen test set",
    },
    outputs={"promotion": "promotion.json: verdict, reasons, evidence; comparison.parquet, report.html"},
    load=load,
)

if __name__ == "__main__":
    sys.exit(main(STEP))
