"""python -m components.monitor --bundle artifacts/bundle --drift artifacts/drift --params params.yaml --source new.csv"""

import sys
from typing import TYPE_CHECKING

from fineline.steps.command_line import Run, Step, main

if TYPE_CHECKING:
    from fineline.steps.params import StepParams


def load() -> "tuple[type[StepParams], Run]":
    from components.monitor.params import Params
    from components.monitor.step import run

    return Params, run


STEP = Step(
    name="monitor",
    summary="Whether recent texts, without labels, still look like the rows the model was tested on.",
    inputs={"bundle": "the model that serves, with the reference that quantize keeps in it"},
    outputs={"drift": "drift.json, report.html"},
    overrides={"source": "read this instead of the parameter source"},
    load=load,
)

if __name__ == "__main__":
    sys.exit(main(STEP))
