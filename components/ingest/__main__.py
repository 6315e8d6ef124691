"""python -m components.ingest --source_version artifacts/source_version --dataset artifacts/dataset --params params.yaml"""

import sys
from typing import TYPE_CHECKING

from fineline.steps.command_line import Run, Step, main

if TYPE_CHECKING:
    from fineline.steps.params import StepParams


def load() -> "tuple[type[StepParams], Run]":
    from components.ingest.params import Params
    from components.ingest.step import run

    return Params, run


STEP = Step(
    name="ingest",
    summary="Reads labelled text from files, folders, a hub, DVC or object storage into one typed Parquet file.",
    documents={"source_version": "what pin made: which version of which source to read"},
    outputs={"dataset": "data.parquet, quarantine.jsonl"},
    load=load,
)

if __name__ == "__main__":
    sys.exit(main(STEP))
