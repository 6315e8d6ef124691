"""Parameters of ingest."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, ValidationInfo, field_validator, model_validator

from fineline.process.errors import UsageError
from fineline.rows.columns import Columns, mapped
from fineline.rows.dataset import own_columns
from fineline.rows.settings import Quoting, Reading
from fineline.steps.params import BadRows, Encoding, Mark, StepParams
from fineline.tasks import get_task

_ONE_COLUMN_EACH = ("id", "group", "time", "split")
"""Fields that a row of any task may have, beside `annotators`, which is in several columns."""


class Params(StepParams):
    """What the rows' columns are called, and how much may be wrong with them."""

    moved: ClassVar[Mapping[str, str]] = {
        "source": "pin.source",
        "test_source": "pin.test_source",
        "annotator_columns": "ingest.columns.annotators",
        **{f"{name}_column": f"ingest.columns.{name}" for name in ("text", "label", *_ONE_COLUMN_EACH)},
    }

    task: str = Field("single_label", description="What the model will learn; decides which label columns a row has.")
    columns: Columns = Field(
        default_factory=dict,
        validate_default=True,
        description="Which column of the source each field of a row is in: {text: body, label: topic}. text and the task's "
        "own fields (label) are in columns of their own names unless said otherwise; the others are where this says so, '' = "
        "nowhere. id: a unique id per row, else ids are made from text and label. group: rows of "
        "equal values stay in one split (customer, thread). time: when a row arose, for a split by time. split: train, "
        "validation or test; 'test' rows are kept apart as the test split, the others are split anew. annotators: a list, "
        "the label that each gave, for the agreement in data_quality.",
    )
    keep_columns: list[str] = Field(
        default_factory=list, description="Further columns to keep as text, for slices in evaluate; [] = none."
    )
    encoding: Encoding = Field(
        "utf-8",
        description="Encoding of text files, a name that Python knows (cp1252, utf-16, ...); for UTF-8 a byte order mark "
        "is skipped.",
    )
    delimiter: Mark = Field(
        "",
        description=r"What separates cells, one character, \t for a tab; '' = by the file's name: ',' for .csv, tab for "
        ".tsv. When given, files of any other name are read as delimited text too.",
    )
    quoting: Quoting = Field(
        "auto",
        description="What quotes in delimited text are. auto: they stand around cells, and a cell whose lines look like rows "
        "has lost its quote and is a bad row; where a tab separates cells, the file's beginning shows whether they do or are "
        "text. quoted: they stand around cells of any content. none: they are text, and every line is a row.",
    )
    quotechar: Mark = Field('"', description="The quote, one character; twice it stands for itself within quotes.")
    escapechar: Mark = Field(
        "", description=r"Character that takes the meaning of the one behind it, such as \ before a quote; '' = none."
    )
    max_bad_rows: BadRows = Field(
        10,
        description="Rows that may be unreadable, over all files, before the step fails with exit code 3; below 1 their share "
        "of all rows. Ten can still be looked at one by one; more point to a wrong encoding, delimiter or export.",
    )
    max_cell_bytes: int = Field(
        1_000_000,
        ge=1,
        le=16_000_000,
        description="Largest size of a cell in bytes of UTF-8, 1 to 16,000,000; a larger one makes its row a bad row. No "
        "model reads a text of 1 MB; such a cell is a file that slipped in or a lost quote.",
    )

    label_delimiter: Mark = Field(
        "|",
        min_length=1,
        description="What separates the labels in a cell of delimited text, one character, for tasks whose rows have several; a "
        "JSON list is read too.",
        json_schema_extra={"recorded": "if given"},
    )
    max_label_characters: int = Field(
        100,
        ge=1,
        description="Longest label, in characters, 1 or more; a longer one makes its row a bad row. A label is a name; a "
        "sentence in its place comes from shifted columns or a lost quote.",
    )

    @field_validator("task")
    @classmethod
    def _known_task(cls, value: str) -> str:
        try:
            return get_task(value).name
        except UsageError as error:
            raise ValueError(f"{error.what}; {error.hint}") from None

    @model_validator(mode="after")
    def _can_be_read(self) -> "Params":
        self.reading()
        return self

    @field_validator("columns")
    @classmethod
    def _fields_of_the_task(cls, value: Columns, given: ValidationInfo) -> Columns:
        if "task" not in given.data:  # wrong itself, and said so
            return value
        needed = ["text", *get_task(given.data["task"]).columns]
        return mapped(value, needed, _ONE_COLUMN_EACH, several=["annotators"])

    @field_validator("keep_columns")
    @classmethod
    def _names_not_taken(cls, value: list[str], given: ValidationInfo) -> list[str]:
        if len(set(value)) < len(value) or "" in value:
            raise ValueError("holds an empty or a repeated name")
        if "task" in given.data and (taken := sorted(own_columns(get_task(given.data["task"])) & set(value))):
            raise ValueError(
                f"cannot keep {', '.join(taken)}: the dataset uses these names itself; name such a column in "
                "ingest.columns, or rename it"
            )
        return value

    def reading(self) -> Reading:
        """How the files are read."""
        return Reading(
            "ingest.",
            self.encoding,
            self.delimiter,
            self.max_cell_bytes,
            self.quoting,
            self.quotechar,
            self.escapechar,
        )

    def needed_columns(self) -> list[str]:
        """The columns that every file must have."""
        named = [name for column in self.columns.values() for name in ([column] if isinstance(column, str) else column)]
        return list(dict.fromkeys(name for name in [*named, *self.keep_columns] if name))
