"""Parameters of the step augment."""

from typing import Literal

from pydantic import Field, model_validator

from fineline.steps.params import StepParams

Method = Literal["swap", "delete", "insert", "synonym", "contextual"]


class Params(StepParams):
    """Whether, how and how much the training split grows. Validation and test never change."""

    enabled: bool = Field(False, description="Make new rows; when false the splits are passed through byte for byte.")
    methods: list[Method] = Field(
        ["swap", "delete", "insert", "synonym"],
        min_length=1,
        description="How rows are changed, in turns. swap, delete, insert, synonym: the four of EDA (Wei & Zou 2019); "
        "contextual: words that a masked language model puts in their place (Kobayashi 2018), needs contextual_model.",
    )
    target_share: float = Field(
        0.5,
        gt=0,
        le=10,
        description="Each label with fewer rows than this share of the largest label's grows up to it: 1 is balance, above "
        "1 grows every label. The rarer a label is, the more it grows. Above 0, to 10.",
    )
    max_new_per_row: int = Field(
        4,
        ge=1,
        le=64,
        description="New rows tried from one row at most, 1 to 64; 4 is what EDA advises from 5,000 rows on, 16 for 500.",
    )
    change_share: float = Field(
        0.1,
        gt=0,
        le=0.5,
        description="Share of a text's words that change, at least one word: alpha of EDA. Above 0, to 0.5.",
    )
    lexicon: str = Field(
        "data/lexicon.tsv",
        description="File of synonyms for synonym and insert, UTF-8, a line is `word<TAB>synonym,synonym`.",
        json_schema_extra={"location": True},
    )
    contextual_model: str = Field(
        "",
        description="Masked language model for contextual: a folder or a hub id, whose weights include that head.",
        json_schema_extra={"location": True},
    )
    contextual_revision: str = Field("", description="Revision of a hub id, best a commit; empty: its main branch.")
    top_k: int = Field(
        10, ge=1, le=1000, description="contextual draws from this many of the most probable words, 1 to 1000."
    )
    near_duplicate_threshold: float = Field(
        0.8,
        ge=0,
        le=1,
        description="A new row with at least this Jaccard similarity to a validation or test row is dropped; 0.5 to 1, or "
        "0: only one with the same normal form.",
    )
    seed: int = Field(13, ge=0, description="Decides which rows grow and which words change, 0 or more.")

    @model_validator(mode="after")
    def _check(self) -> "Params":
        if len(set(self.methods)) < len(self.methods):
            raise ValueError("methods names one twice")
        if "contextual" in self.methods and not self.contextual_model:
            raise ValueError("method contextual needs contextual_model")
        if 0 < self.near_duplicate_threshold < 0.5:
            raise ValueError("near_duplicate_threshold must be 0 (only equal texts) or from 0.5 to 1")
        return self
