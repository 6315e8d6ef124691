"""python -m components.ingest --dataset artifacts/dataset --params params.yaml"""

import sys
from typing import TYPE_CHECKING

from fineline.step import Run, Step, main

if TYPE_CHECKING:
    from fineline.params import StepParams


def load() -> "tuple[type[StepParams], Run]":
    from components.ingest.params import Params
    from components.ingest.step import run

    return Params, run


STEP = Step(
    name="ingest",
    summary="Reads labelled text from files, folders, a hub, DVC or object storage into one typed Parquet file.",
    outputs={"dataset": "data.parquet, quarantine.jsonl"},
    overrides={"source": "read this instead of the parameter source"},
    load=load,
)

if __name__ == "__main__":
    sys.exit(main(STEP))
