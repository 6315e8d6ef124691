"""What a training is to do, once its parameters and its rows have been looked at: what all of its parts are told."""

import dataclasses
from collections.abc import Sequence

from components.train.examples import Examples
from components.train.params import Params
from fineline.tasks import Task


@dataclasses.dataclass(frozen=True)
class Plan:
    """`metric` is the validation figure that picks the best checkpoint; `precision` the arithmetic: fp32, bf16 or fp16."""

    params: Params
    task: Task
    labels: Sequence[str]
    examples: Examples
    metric: str
    precision: str
