"""python -m components.pin --source_version artifacts/source_version --params params.yaml"""

import sys
from typing import TYPE_CHECKING

from fineline.steps.command_line import Run, Step, main

if TYPE_CHECKING:
    from fineline.steps.params import StepParams


def load() -> "tuple[type[StepParams], Run]":
    from components.pin.params import Params
    from components.pin.step import run

    return Params, run


STEP = Step(
    name="pin",
    summary="Says which version the source is now: commit, version id, ETag or sha256; all that follows reads exactly that.",
    outputs={"source_version": "version.json"},
    load=load,
)

if __name__ == "__main__":
    sys.exit(main(STEP))
