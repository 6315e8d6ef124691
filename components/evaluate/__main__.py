"""python -m components.evaluate --model artifacts/model --bundle artifacts/bundle --splits artifacts/augmented --report artifacts/report --params params.yaml"""  # noqa: E501

import sys
from typing import TYPE_CHECKING

from fineline.steps.command_line import Run, Step, main

if TYPE_CHECKING:
    from fineline.steps.params import StepParams


def load() -> "tuple[type[StepParams], Run]":
    from components.evaluate.params import Params
    from components.evaluate.step import run

    return Params, run


STEP = Step(
    name="evaluate",
    summary="Scores the trained and the shipped model on the same test rows, with intervals, slices and the gate's verdict.",
    inputs={
        "model": "the trained model",
        "bundle": "the bundle made from it that ships",
        "splits": "the splits that the model was trained on",
    },
    outputs={
        "report": "metrics.json, gate.json, predictions.parquet, plots/*.csv, MODEL_CARD.md, report.html",
    },
    load=load,
)

if __name__ == "__main__":
    sys.exit(main(STEP))
