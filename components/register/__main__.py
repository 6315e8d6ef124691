"""python -m components.register --bundle artifacts/bundle --report artifacts/report --splits artifacts/augmented \
--registration artifacts/registration --params params.yaml"""

import sys
from typing import TYPE_CHECKING

from fineline.steps.command_line import Run, Step, main

if TYPE_CHECKING:
    from fineline.steps.params import StepParams


def load() -> "tuple[type[StepParams], Run]":
    from components.register.params import Params
    from components.register.step import run

    return Params, run


STEP = Step(
    name="register",
    summary="One MLflow model version with the whole lineage, if the gate said yes.",
    inputs={
        "bundle": "the bundle that ships",
        "report": "evaluate's report on exactly that bundle",
        "splits": "the splits that the model was trained on",
    },
    outputs={"registration": "registration.json: name, version, aliases, run, gate"},
    load=load,
)

if __name__ == "__main__":
    sys.exit(main(STEP))
