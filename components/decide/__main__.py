"""python -m components.decide --dataset artifacts/clean --drift artifacts/drift --decision artifacts/decision --name fineline \
--params params.yaml"""

import sys
from typing import TYPE_CHECKING

from fineline.steps.command_line import Run, Step, main

if TYPE_CHECKING:
    from fineline.steps.params import StepParams


def load() -> "tuple[type[StepParams], Run]":
    from components.decide.params import Params
    from components.decide.step import run

    return Params, run


STEP = Step(
    name="decide",
    summary="Whether there is a reason to train again, and which: new rows, drift, age; and what speaks against it.",
    inputs={"dataset": "the labelled rows as they are now, checked"},
    optional={"drift": "optional input: what monitor found in recent texts"},
    outputs={"decision": "decision.json: retrain, reason, and the facts it rests on"},
    overrides={"name": "the registered model, instead of the parameter name"},
    load=load,
)

if __name__ == "__main__":
    sys.exit(main(STEP))
