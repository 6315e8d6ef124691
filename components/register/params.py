"""Parameters of register."""

from typing import Literal

from pydantic import Field

from fineline.steps.params import StepParams


class Params(StepParams):
    """Where the version goes, and what a gate that said no does to the pipeline."""

    name: str = Field(
        "fineline",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_. -]{0,199}$",
        description="Name of the registered model: letters, digits, '_', '.', ' ' and '-', 1 to 200 of them; one name per "
        "use case, since champion and challenger are aliases of it.",
    )
    on_gate_failure: Literal["continue", "stop"] = Field(
        "continue",
        description="What a gate that said no does: continue ends green and registers nothing, so that a scheduled run that "
        "is no better than before is no incident; stop ends with exit code 5, for CI.",
    )
