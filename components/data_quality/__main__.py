"""python -m components.data_quality --dataset data --clean clean --quality quality --params params.yaml"""

import sys
from typing import TYPE_CHECKING

from fineline.steps.command_line import Run, Step, main

if TYPE_CHECKING:
    from fineline.steps.params import StepParams


def load() -> "tuple[type[StepParams], Run]":
    from components.data_quality.params import Params
    from components.data_quality.step import run

    return Params, run


STEP = Step(
    name="data_quality",
    summary="Great Expectations suite, duplicates, label quality, truncation, personal data: rejects, quarantines or warns.",
    inputs={"dataset": "the dataset that ingest made"},
    outputs={
        "clean": "data.parquet: the rows that stay, same columns",
        "quality": "quality.json, quarantine.parquet, suite.json and validation.json of Great Expectations, report.html; "
        "written for a rejected dataset too",
    },
    load=load,
)

if __name__ == "__main__":
    sys.exit(main(STEP))
