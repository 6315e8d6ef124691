"""Parameters of evaluate."""

from pydantic import Field

from fineline.steps.params import StepParams


class Params(StepParams):
    """How the test rows are scored, and what the gate asks of the shipped model."""

    seed: int = Field(13, ge=0, description="Seed of the bootstrap and of the linear baseline.")
    bootstrap: int = Field(
        1000,
        ge=100,
        le=100_000,
        description="Bootstrap samples behind each 95 % interval, 100 to 100,000. 1,000 fixes the ends of a percentile "
        "interval to about a tenth of its width (Efron and Tibshirani 1993, ch. 13).",
    )
    batch_size: int = Field(
        64, ge=1, le=4096, description="Texts per batch while scoring; changes speed and memory only."
    )
    slice_columns: list[str] = Field(
        default_factory=lambda: ["*"],
        description="Columns of the test rows by whose values the results are broken down, such as [channel]. ['*'] = all "
        "that ingest.keep_columns kept, [] = none.",
    )
    max_slice_values: int = Field(
        12, ge=1, le=100, description="Values of a slice column shown, the most frequent first; the rest is one slice."
    )
    min_slice_rows: int = Field(
        20, ge=1, description="Rows that a slice needs before it can be marked as the worst or as below the whole."
    )
    min_metric: float = Field(
        0.6,
        ge=0,
        le=1,
        description="Gate: least value of the task's metric (single-label: macro-F1), 0 to 1. What a team needs is the team's to "
        "say; 0.6 suits the sample, which is hard on purpose.",
    )
    min_gain_over_baseline: float = Field(
        0.0, ge=-1, le=1, description="Gate: least gain in that metric over the strongest baseline, -1 to 1. -1 = off."
    )
    max_drop_shipped: float = Field(
        0.02,
        ge=0,
        le=1,
        description="Gate: most that the shipped model may lose in that metric against the trained, 0 to 1. On 450 test rows "
        "of which 5 % change, chance alone moves it by 0.01.",
    )
    min_label_f1: float = Field(
        0.3, ge=0, le=1, description="Gate: least F1 of any label that is judged, 0 to 1. 0 = off."
    )
    min_support: int = Field(
        10, ge=1, description="Test rows that a label needs before min_label_f1 judges it; fewer say too little."
    )
