"""Parameters of the step split."""

from typing import Literal

from pydantic import Field, model_validator

from fineline.steps.params import StepParams


class Params(StepParams):
    """How rows are divided into training, validation and test. What validation and test leave is training."""

    mode: Literal["stratified", "time"] = Field(
        "stratified",
        description="stratified: each split has the same share of every label; time: by the column `time`, the oldest "
        "rows are training, the newest test. Rows that the dataset marks as test are the test split in both.",
    )
    validation_share: float = Field(
        0.1, gt=0, lt=1, description="Share of the rows for validation, above 0, below 1; 7:1:2 by default."
    )
    test_share: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="Share of the rows for the test, above 0, below 1. With a predefined test split, the other rows are "
        "divided as (1 - validation_share - test_share) : validation_share.",
    )
    seed: int = Field(
        13,
        ge=0,
        description="Decides which groups of rows go where, 0 or more; used by mode stratified. With the same seed most "
        "rows stay in their split while the dataset grows.",
    )
    near_duplicate_threshold: float = Field(
        0.8,
        ge=0,
        le=1,
        description="Texts whose character 4-grams have at least this Jaccard similarity stay in one split; 0.5 to 1, "
        "or 0: only texts with the same normal form stay together.",
    )
    max_group_share: float = Field(
        0.1,
        gt=0,
        le=1,
        description="Share of all rows that a group of near-duplicates may have: a larger one fills validation or the test, or "
        "can only be training. It is cut into pieces of at most this share of it; 1: none is cut. Rows of one text or `group` "
        "are never divided.",
    )
    max_cut_loss: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Where a group was cut, rows of validation and test that are near a row on another side leave, up to this "
        "share of a label's rows there. A label that would lose more (a template) keeps them, and they are counted. 1: all "
        "leave, 0: none.",
    )
    use_group: bool = Field(
        True,
        description="Rows with the same value in the column `group` stay in one split, where there is that column.",
    )
    rare_label: Literal["train", "spread", "drop", "reject"] = Field(
        "train",
        description="What becomes of a label with fewer groups of rows than there are splits to fill (3, or 2 with a "
        "predefined test split), in mode stratified. train: all its rows go to training; spread: one group does, the others are "
        "divided together with those of other such labels; drop: they leave; reject: exit 3.",
    )
    rare_take: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Share of all rows that labels with few groups may take from training so that each is in every split, 0 to "
        "1, in mode stratified. Beyond it, those that take most are divided as by rare_label: spread.",
    )

    @model_validator(mode="after")
    def _check(self) -> "Params":
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share + test_share must be below 1, or nothing is left to train on")
        if 0 < self.near_duplicate_threshold < 0.5:
            raise ValueError("near_duplicate_threshold must be 0 (off) or from 0.5 to 1")
        return self
