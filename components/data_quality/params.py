"""Parameters of data_quality: a bound and a severity for each check."""

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from fineline.steps.params import StepParams

Severity = Literal["reject", "quarantine", "warn", "ignore"]
WholeSeverity = Literal["reject", "warn", "ignore"]


class Pattern(BaseModel):
    """A regular expression (Python's `re`, searched anywhere in the text) that every text must, or must not, match."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, description="name of the check in the report, e.g. ticket_number")
    pattern: str = Field(min_length=1, description="regular expression in Python's syntax")
    must_match: bool = Field(True, description="true: each text must match; false: none may")
    severity: Severity = Field("quarantine", description="what happens to the texts that break it")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return value


class Params(StepParams):
    """Severities: reject ends the pipeline (exit 3), quarantine takes the rows out with their reason, warn only tells,
    ignore skips the check. Rows of a predefined test split leave only for what is wrong in themselves (text, label,
    pattern, personal data), never for what other rows or a classifier say of them: that would choose the test rows.
    """

    seed: int = Field(13, ge=0, description="seed of the folds in which label errors are looked for")

    on_missing_text: Severity = Field("quarantine", description="text absent, empty or only spaces")
    on_missing_label: Severity = Field("quarantine", description="label absent")
    min_characters: int = Field(2, ge=0, description="shortest text, in characters; one character says nothing")
    max_characters: int = Field(
        5000, ge=1, description="longest text, in characters; ten times what 128 tokens hold is no message any more"
    )
    on_text_length: Severity = Field("quarantine", description="text shorter or longer than these")
    labels: list[str] = Field([], description="the labels allowed; [] allows those that are there")
    on_label_twins: Literal["reject", "warn", "unify", "ignore"] = Field(
        "warn",
        description="labels that differ only in case, spacing or the writing of a number (0 and 0.0); unify makes them one: the "
        "one in `labels`, else the commonest",
    )
    on_unknown_label: Severity = Field("reject", description="a label outside `labels`")
    on_repeated_id: Severity = Field(
        "reject", description="rows with one id, by which rows are traced; quarantine: all leave"
    )
    patterns: list[Pattern] = Field(
        [], description="regular expressions: a list of {name, pattern, must_match, severity}"
    )
    suite: str = Field(
        "",
        json_schema_extra={"location": True},
        description="a Great Expectations suite of your own, asked of the rows as they come: a JSON file, or a Python file that "
        "makes one by the name `suite`, with classes of your own (docs/expectations.md)",
    )
    on_suite: Severity = Field(
        "reject",
        description="an expectation of it fails; its meta {on_failure: ...} goes before this. quarantine: the rows that break it "
        "leave",
    )
    on_control_characters: Severity = Field("warn", description="control characters other than tab and line ends")
    on_replacement_characters: Severity = Field(
        "warn", description="U+FFFD: a character that was lost when the text was decoded; it cannot be had back"
    )
    on_mojibake: Literal["reject", "quarantine", "warn", "fix", "ignore"] = Field(
        "fix", description="text decoded with a wrong encoding (Ã© for é), found by ftfy; fix repairs it"
    )
    clean: list[Literal["nfc", "nfkc", "full_width", "control_characters", "html", "urls"]] = Field(
        [],
        description="what is done to every text, in this order; the model's bundle does the same to what it answers. nfc, nfkc: "
        "Unicode's normal forms; full_width: letters, digits and signs as wide as Chinese ones to ASCII; control_characters: "
        "away; html: tags, scripts and comments away, entities to characters; urls: <URL> in their place",
    )
    on_personal_data: Severity = Field(
        "warn",
        description="e-mail addresses, bank account numbers (IBAN), card and phone numbers that are not masked; how well they "
        "are found: docs/personal-data.md",
    )
    mask: bool = Field(
        False,
        description="replace them by <EMAIL>, <IBAN>, <CARD>, <PHONE>, in every file that the step writes: in texts and kept "
        "columns, and in ids and groups with a digest behind it, so that they stay apart. Labels stay: they are what the model "
        "answers",
    )

    fold: list[Literal["compatibility", "punctuation", "symbols"]] = Field(
        [],
        description="in what texts may differ and still be the same, beside case, spacing, invisible characters and Unicode's "
        "ways of writing one letter: compatibility (full-width letters, ligatures), punctuation, symbols (emoji and signs too); "
        "split and augment compare so too",
    )
    on_conflicts: Severity = Field("quarantine", description="one text under different labels; all its rows leave")
    on_duplicates: Severity = Field(
        "quarantine", description="same text (but for case, spacing and `fold`) and label; the first row stays"
    )
    on_near_duplicates: Severity = Field("warn", description="nearly the same text; split keeps them on one side")
    near_duplicate_threshold: float = Field(
        0.8, ge=0.5, le=1.0, description="Jaccard similarity of character 4-grams from which texts are nearly the same"
    )

    model: str = Field(
        "bundled:all-MiniLM-L6-v2",
        min_length=1,
        json_schema_extra={"location": True},
        description="model whose tokenizer counts tokens: bundled:NAME, hub id or folder; as in train.model",
    )
    revision: str = Field("", description="revision of a hub model; empty is its newest")
    max_length: int = Field(128, ge=8, le=8192, description="tokens that the model reads; as in train.max_length")
    max_truncated_share: float = Field(0.05, ge=0, le=1, description="share of texts that may be cut off at max_length")
    on_truncation: Severity = Field("warn", description="more texts are cut off than that")
    max_unknown_share: float = Field(
        0.05,
        ge=0,
        le=1,
        description="share of tokens that the tokenizer may not know, in the texts of any script or label with 20 or more; a "
        "model reads them all as one",
    )
    on_unknown_tokens: Severity = Field(
        "warn", description="more are unknown than that; quarantine: the texts with more leave"
    )

    min_agreement: float = Field(
        0.9,
        ge=0,
        le=1,
        description="least Cohen's kappa of any two annotators (it is never above their percent agreement)",
    )
    on_disagreement: Severity = Field(
        "warn", description="annotators agree less than that; quarantine: disputed rows leave"
    )
    label_folds: int = Field(5, ge=2, le=20, description="folds of the classifier that looks for label errors")
    label_error_confidence: float = Field(
        0.6,
        ge=0,
        le=1,
        description="least out-of-fold probability of the other label for a row to be listed as an error",
    )
    on_label_errors: Severity = Field(
        "warn",
        description="likely wrong labels (cleanlab); under 0.7 out-of-fold accuracy they are listed, never removed",
    )

    min_label_share: float = Field(0.002, ge=0, le=0.5, description="least share of a label in all rows")
    on_rare_label: Severity = Field("warn", description="a label rarer than that; quarantine: all its rows leave")
    max_small_labels: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of the labels that may have one or two rows; more look like text and label swapped",
    )
    on_small_labels: WholeSeverity = Field("warn", description="more have so few")
    max_imbalance: float = Field(10.0, ge=1, description="rows of the commonest label for one of the rarest, at most")
    on_imbalance: WholeSeverity = Field("warn", description="more unbalanced than that")
    on_untrained_label: Severity = Field("reject", description="a label only in the predefined test split")
    min_rows: int = Field(50, ge=1, description="least rows left; of 50 a 7:1:2 split leaves 5 to validate on")
    on_few_rows: WholeSeverity = Field("reject", description="fewer rows left than that")

    @model_validator(mode="after")
    def _fit_together(self) -> "Params":
        if self.min_characters > self.max_characters:
            raise ValueError(f"min_characters ({self.min_characters}) is above max_characters ({self.max_characters})")
        if len(set(self.labels)) == 1:
            raise ValueError("labels: give at least 2 labels, or [] to allow those that are there")
        if len(set(self.clean)) < len(self.clean):
            raise ValueError("clean: an operation stands there twice")
        names = [pattern.name for pattern in self.patterns]
        if len(set(names)) < len(names):
            raise ValueError("patterns: two of them have the same name")
        return self
