"""Parameters of ingest."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, field_validator, model_validator

from fineline.errors import UsageError
from fineline.params import BadRows, Encoding, Mark, StepParams
from fineline.reading.settings import Quoting, Reading
from fineline.tasks import get_task

# Columns that later steps read by these names: a kept column must not pass for one of them.
RESERVED = frozenset({"id", "text", "label", "group", "annotators", "time", "split", "parent_id", "method"})


class Params(StepParams):
    """What the rows' columns are called, and how much may be wrong with them."""

    moved: ClassVar[Mapping[str, str]] = {"source": "pin.source", "test_source": "pin.test_source"}

    task: str = Field("single_label", description="What the model will learn; decides which label columns a row has.")
    text_column: str = Field("text", min_length=1, description="Column that holds the text.")
    label_column: str = Field("label", min_length=1, description="Column that holds the label.")
    id_column: str = Field(
        "", description="Column that holds a unique id per row; '' = ids are made from text and label."
    )
    group_column: str = Field(
        "", description="Column whose equal values must stay in one split (customer, thread); '' = none."
    )
    time_column: str = Field(
        "", description="Column that says when a row arose, for a split by time; kept as written; '' = none."
    )
    split_column: str = Field(
        "",
        description="Column with train, validation or test: 'test' rows are kept apart as the test split, the others "
        "are split anew; '' = none.",
    )
    annotator_columns: list[str] = Field(
        default_factory=list,
        description="Columns with the label that each annotator gave, for the agreement in data_quality; [] = none.",
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

    @model_validator(mode="after")
    def _columns_fit(self) -> "Params":
        if self.text_column == self.label_column:
            raise ValueError("text_column and label_column name the same column")
        for name in ("annotator_columns", "keep_columns"):
            columns = getattr(self, name)
            if len(set(columns)) < len(columns) or "" in columns:
                raise ValueError(f"{name} holds an empty or a repeated name")
        if taken := sorted(RESERVED & set(self.keep_columns)):
            raise ValueError(
                f"keep_columns cannot keep {', '.join(taken)}: the dataset uses these names itself; name such a column "
                "in id_column, group_column, time_column or split_column, or rename it"
            )
        return self

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

    def columns(self) -> list[str]:
        """The columns that every file must have."""
        single = (self.id_column, self.group_column, self.time_column, self.split_column)
        named = [self.text_column, self.label_column, *single, *self.annotator_columns, *self.keep_columns]
        return list(dict.fromkeys(name for name in named if name))
