"""Parameters of pin."""

from pydantic import Field, field_validator, model_validator

from fineline.sources.redaction import CREDENTIALS
from fineline.steps.params import StepParams


class Params(StepParams):
    """Where the labelled rows are."""

    source: str = Field(
        min_length=1,
        description="The labelled rows: a .csv, .tsv, .jsonl or .parquet file (.gz too for the text formats), a glob, "
        "a folder of such files, a folder written by datasets' save_to_disk, hf://owner/name[@revision][:split], "
        "dvc://repo@rev:path (repo: a path or URL of a git repository with DVC), or any fsspec URL (s3://, gs://, ...).",
        json_schema_extra={"location": True},
    )
    test_source: str = Field(
        "",
        description="Rows kept apart as the test split, a location like source; '' when there are none.",
        json_schema_extra={"location": True},
    )

    @field_validator("source", "test_source")
    @classmethod
    def _no_credentials(cls, value: str) -> str:
        if CREDENTIALS.search(value):
            raise ValueError(
                "a user name or password in it would stand in every run; give them to the storage by its usual environment "
                "variables, to git by a credential helper"
            )
        return value

    @model_validator(mode="after")
    def _two_places(self) -> "Params":
        if self.test_source == self.source:
            raise ValueError("test_source is the same place as source")
        return self
