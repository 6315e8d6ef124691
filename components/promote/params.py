"""Parameters of promote."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from fineline.steps.params import StepParams


class Params(StepParams):
    """When a challenger takes the place of the champion."""

    moved: ClassVar[Mapping[str, str]] = {"min_part_rows": "promote.unknown_parts"}

    mode: Literal["auto", "manual"] = Field(
        "auto",
        description="auto: a verdict `promote` moves the alias champion. manual: it waits until a person says `fineline approve` "
        "or `fineline reject`.",
    )
    require: Literal["superior", "non_inferior"] = Field(
        "superior",
        description="superior: promote only what is significantly better in the first of `metrics`, so that equal models change "
        "places at no more than the rate alpha. non_inferior: promote what is not worse than the margins (for a smaller or "
        "faster model, or one with fresher data).",
    )
    metrics: list[str] = Field(
        default_factory=list,
        description="Figures of the task that are compared over the whole test set; [] = the share of right answers and the "
        "task's metric (single-label: accuracy and macro_f1). The first decides superiority (the share of right answers by "
        "McNemar's exact test, any other by exchanging the paired answers), all must stay inside metric_margin.",
    )
    metric_margin: float = Field(
        0.01, gt=0, le=1, description="Largest loss in each of `metrics` that still counts as no worse, 0 to 1."
    )
    worthwhile_gain: float = Field(
        0.01,
        gt=0,
        le=1,
        description="Smallest gain in the first of `metrics` worth a change, 0 to 1: once the interval rules it out, the verdict "
        "is hold instead of inconclusive. Smaller asks for more rows: their number grows with 1 / worthwhile_gain squared.",
    )
    label_margin: float = Field(
        0.05,
        ge=0,
        le=1,
        description="A label whose recall is significantly worse by more than this, 0 to 1, holds the challenger back.",
    )
    slice_margin: float = Field(
        0.03,
        ge=0,
        le=1,
        description="A slice whose accuracy is significantly worse by more than this, 0 to 1, holds the challenger back.",
    )
    alpha: float = Field(
        0.05,
        gt=0,
        lt=0.5,
        description="Chance of ever promoting a model that is no better, over all comparisons with the test set, above 0, below "
        "0.5: each spends a part of it, fresh test rows open more. Also the level at which a comparison holds back.",
    )
    power: float = Field(
        0.8,
        gt=0.5,
        lt=1,
        description="Probability with which the rows that an inconclusive verdict asks for would decide.",
    )
    bootstrap: int = Field(
        2000, ge=200, le=100_000, description="Bootstrap samples behind each interval, 200 to 100,000."
    )
    seed: int = Field(13, ge=0, description="Seed of the bootstrap.")
    slice_columns: list[str] = Field(
        default_factory=lambda: ["*"],
        description="Columns of the test rows by whose values the models are compared, such as [channel]. ['*'] = all that "
        "ingest.keep_columns kept, [] = none.",
    )
    max_slice_values: int = Field(
        12, ge=1, le=100, description="Values of a slice column that are judged, the most frequent first."
    )
    unknown_parts: Literal["allow", "hold"] = Field(
        "allow",
        description="What becomes of a challenger with labels or slices that are neither proven worse nor proven no worse, since "
        "their test rows are too few. allow: it may be promoted, and the summary says how many. hold: more rows are asked for.",
    )
    min_rows: int = Field(
        40,
        ge=2,
        description="Test rows without which every comparison is inconclusive: intervals of fewer say too little.",
    )
    max_latency_ratio: float = Field(
        1.5,
        ge=0,
        description="Most that the challenger may take for one text, in multiples of the champion's median in this run. 0 = off.",
    )
    max_size_ratio: float = Field(
        2.0, ge=0, description="Most that its model files may weigh, as a multiple of the champion's. 0 = off."
    )
    speed_texts: int = Field(100, ge=1, description="Test texts on which latency is measured, both models in turns.")
    speed_rounds: int = Field(
        5, ge=1, le=100, description="Rounds of that measurement; the median of their ratios counts."
    )
    batch_size: int = Field(
        64, ge=1, le=4096, description="Texts per batch while scoring; changes speed and memory only."
    )
    label_map: str = Field(
        "",
        description="YAML file, a path or fsspec URL, of labels that changed, `old: new`: renamed, merged (several old ones to "
        "one new), or removed (`old: null`). It only grows: chains are followed. '' = none.",
        json_schema_extra={"location": True},
    )

    @field_validator("metrics")
    @classmethod
    def _distinct(cls, names: list[str]) -> list[str]:
        if len(set(names)) < len(names):
            raise ValueError("each figure once")
        return names
