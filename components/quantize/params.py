"""Parameters of quantize."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from fineline.steps.params import StepParams


class Params(StepParams):
    """Which candidates are made, what each may lose on the validation split, and which of those left ships."""

    moved: ClassVar[Mapping[str, str]] = {"fallback_shares": "the rung 'int8 in blocks', without a parameter,"}

    candidates: list[Literal["int8", "fp16"]] = Field(
        ["int8"],
        description="Candidates beside fp32: int8 (a scale for each token; where that leaves the margins, for each block of 64 "
        "numbers) and fp16 (tried only where ONNX Runtime has a GPU, as "
        "CPUs compute it slower than fp32). []: fp32 ships.",
    )
    select: Literal["fastest", "smallest"] = Field(
        "fastest",
        description="Which candidate inside the margins ships: fastest = least median latency for one text, measured here, "
        "the smaller of two within 10 %; smallest = fewest bytes, the same on every machine.",
    )
    max_metric_drop: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Most that a candidate may lose of the task's metric against fp32, 0 to 1; half of evaluate's bound, as "
        "among 150 validation rows one row is 0.007.",
    )
    max_changed_share: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Largest share of validation rows whose prediction may change, 0 to 1; also to a right one. Where labels "
        "are hard, undecided rows flip both ways at equal quality (5 % on the sample); a broken graph flips far more.",
    )
    max_recall_drop: float = Field(
        0.1, ge=0, le=1, description="Most recall that any label may lose, 0 to 1: one row of ten."
    )
    min_support: int = Field(
        10,
        ge=1,
        description="Validation rows that a label needs before max_recall_drop judges it; fewer say too little.",
    )
    reduce_range: bool = Field(
        False,
        description="Use 7 bits for int8 weights that have a scale for each output: for processors with AVX2 but without VNNI "
        "(Intel before 2019, AMD before 2022), whose 8-bit products can overflow.",
    )
    calibrate: bool = Field(
        True,
        description="Fit the temperature of the probabilities on the validation logits of what ships (else, and with fewer than "
        "20 rows, it is 1).",
    )
    golden_tolerance: float = Field(
        0.05,
        gt=0,
        le=1,
        description="Difference of probabilities that the self-test of an int8 or fp16 bundle allows, 0 to 1. Another order of "
        "the same sums moved them by 0.01 (docs/decisions/0002-onnx-export.md), a damaged model moves them by far more.",
    )
    batch_size: int = Field(
        64,
        ge=1,
        le=4096,
        description="Texts per batch when scoring the validation split and measuring throughput.",
    )
    speed_texts: int = Field(
        200, ge=10, description="Validation texts on which latency and throughput are measured (all, when fewer)."
    )
    speed_rounds: int = Field(
        5, ge=1, le=100, description="Rounds of that measurement; the candidates take turns within each."
    )
    threads: int = Field(0, ge=0, description="Threads of ONNX Runtime in this step; 0 = one for each core.")
    reference_rows: int = Field(
        2_000,
        ge=0,
        le=20_000,
        description="Validation and test rows of which the bundle keeps features, no texts, for monitor to compare recent texts "
        "with; drawn at random when there are more. 0 = none. 2,000 take 1.5 MB with 384 dimensions.",
    )
    reference_columns: list[str] = Field(
        default_factory=lambda: ["*"],
        description="Columns of those rows whose values the bundle keeps too, such as [channel]: monitor then compares each. "
        "['*'] = all that ingest.keep_columns kept, [] = none.",
    )

    @model_validator(mode="after")
    def _lists(self) -> "Params":
        if len(set(self.candidates)) < len(self.candidates):
            raise ValueError("candidates names one twice")
        if len(set(self.reference_columns)) < len(self.reference_columns):
            raise ValueError("reference_columns names one twice")
        return self
