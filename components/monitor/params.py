"""Parameters of monitor."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from fineline.rows.columns import Columns, mapped
from fineline.rows.settings import Quoting, Reading
from fineline.steps.params import BadRows, Encoding, Mark, StepParams


class Params(StepParams):
    """Where the recent texts are, and from when on they count as drifted."""

    moved: ClassVar[Mapping[str, str]] = {
        "text_column": "monitor.columns.text",
        "time_column": "monitor.columns.time",
    }

    source: str = Field(
        min_length=1,
        description="The recent texts: what pin.source may be, for one the folder that `fineline serve --log-folder` writes.",
        json_schema_extra={"location": True},
    )
    columns: Columns = Field(
        default_factory=dict,
        validate_default=True,
        description="Which column of the source each field of a row is in, as ingest.columns: text (in a column of that name "
        "unless said otherwise), and time, which says when a text came, such as `time` of a serving log; '' = nowhere.",
    )
    encoding: Encoding = Field("utf-8", description="Encoding of text files, as ingest.encoding.")
    delimiter: Mark = Field("", description="What separates cells, as ingest.delimiter; '' = by the file's name.")
    quoting: Quoting = Field("auto", description="What quotes in delimited text are, as ingest.quoting.")
    quotechar: Mark = Field('"', description="The quote, as ingest.quotechar.")
    escapechar: Mark = Field("", description="Takes the meaning of what is behind it, as ingest.escapechar; '' = none.")
    max_bad_rows: BadRows = Field(
        10,
        description="Rows that may be unreadable, or have a time that is none or has not come yet, before the step fails with "
        "exit code 3; below 1 their share of all rows. They are counted and named, and not compared. A file that cannot be read "
        "counts as one.",
    )
    count_repeats: bool = Field(
        False,
        description="Whether a text that comes again counts again. Copies are no independent rows: where clients try again, they "
        "raise false alarms (docs/monitoring.md).",
    )
    window_days: float = Field(
        30.0,
        gt=0,
        description="With columns.time, only texts from so many days before the newest one are recent.",
    )
    predictions: Literal["computed", "logged"] = Field(
        "computed",
        description="computed: the bundle answers the texts here. logged: its answers are the columns label and score of a "
        "serving log, those of the version that answered last; the bundle must give the same labels for 9 in 10.",
    )
    feedback: str = Field(
        "",
        description="Texts with the labels that are right, such as the folder that `fineline serve --feedback-folder` writes: "
        "columns text, label and time. Of those of the newest window_days the accuracy is counted. '' = there are none.",
        json_schema_extra={"location": True},
    )
    alpha: float = Field(
        0.05,
        gt=0,
        lt=0.5,
        description="Probability of a false alarm in one run, over all its tests together (Holm), above 0, below 0.5.",
    )
    min_effect: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="Drift is only what is also this large: a difference between two shares of rows, 0 to 1. 0.05: when less "
        "than 1 row in 20 is of another kind, that is no drift, however many rows prove it.",
    )
    min_rows: int = Field(
        200,
        ge=50,
        description="Recent rows, and rows of the reference, without which the verdict is 'too few rows'; for slices, those "
        "without which a slice is not tested. Fewer find only gross changes (docs/monitoring.md).",
    )
    max_rows: int = Field(
        2_000,
        ge=50,
        le=20_000,
        description="Recent rows that are compared, drawn at random when there are more. As many as the reference has are "
        "enough: beyond, the rows of the reference limit what is found.",
    )
    seed: int = Field(13, ge=0, description="Seed of the rows drawn, of the folds and of the permutations.")

    @field_validator("columns")
    @classmethod
    def _fields(cls, value: Columns) -> Columns:
        return mapped(value, ["text"], ["time"])

    @model_validator(mode="after")
    def _rows_fit(self) -> "Params":
        if self.min_rows > self.max_rows:
            raise ValueError(f"min_rows {self.min_rows} is more than max_rows {self.max_rows}")
        self.reading()  # raises ValueError when one character is to mean two things
        return self

    def reading(self) -> Reading:
        """How the files are read."""
        return Reading(
            "monitor.",
            self.encoding,
            self.delimiter,
            quoting=self.quoting,
            quotechar=self.quotechar,
            escapechar=self.escapechar,
        )
