"""What `fineline new` says: what it found, what it chose and why, and what to look at."""

import textwrap
from collections.abc import Iterator
from pathlib import Path

from cli.project.choose_columns import Choice
from cli.project.look_at_data import Look
from cli.project.look_at_texts import CUT_OFF, Texts
from components.data_quality.params import Params as QualityParams
from components.ingest.params import Params as IngestParams
from fineline.rows.dataset import describe

_FEWEST_ROWS = QualityParams.model_fields["min_rows"].default
_BAD_ROWS = IngestParams.model_fields["max_bad_rows"].default
_SPLITS = 3  # training, validation and test
_WIDTH = 120


def found(source: str, seen: Look, choice: Choice, texts: Texts) -> Iterator[str]:
    """The lines about the source, each field and its column, and what to look at."""
    name = f"{len(seen.files)} files" if len(seen.files) > 1 else source if "://" in source else Path(source).name
    rows = f"the first {seen.rows:,} rows" if seen.more else f"{seen.rows:,} rows"
    yield f"{name}: {rows}, {len(seen.columns)} columns{_reading(seen)}"
    if seen.names:
        yield f"  no line of column names: the copy begins with {', '.join(seen.names)}"
    for field, reason in choice.why.items():
        columns = choice.columns[field]
        shown = columns if isinstance(columns, str) else ", ".join(columns)
        more = f"; {_texts(texts)}" if field == "text" else ""
        yield from _line(field, f"{shown}: {reason}{more}")
    for field, names in (("slices", choice.keep), ("not used", choice.unused)):
        if names:
            yield from _line(field, ", ".join(names))
    for warning in _warnings(seen, choice, texts):
        yield from _line("look at", warning)


def _line(name: str, text: str) -> list[str]:
    return textwrap.wrap(f"{name:11}{text}", _WIDTH, initial_indent="  ", subsequent_indent=" " * 13)


def _reading(seen: Look) -> str:
    file = seen.files[0]
    if file.format in ("parquet", "arrow"):
        return ""
    mark = seen.how.delimiter or {".csv": ",", ".tsv": "\t"}.get(file.suffix, "")
    return f"; {seen.how.encoding}" + (f", cells separated by {mark!r}" if mark else "")


def _texts(texts: Texts) -> str:
    return (
        f"{texts.different:,} different ones, {texts.median:,} characters in the middle, {texts.longest:,} at most, "
        f"{texts.writing}"
    )


def _warnings(seen: Look, choice: Choice, texts: Texts) -> Iterator[str]:
    many = f"ingest stops at more than {_BAD_ROWS} (ingest.max_bad_rows)"
    for field in choice.needed:
        column = seen.column(choice.columns[field])
        if (empty := seen.rows - len(column.cells) - column.nested) > _BAD_ROWS:
            yield f"{empty:,} rows have no {field}; {many}: take them out"
        rare = [value for value, count in column.counts.items() if count < _SPLITS]
        if rare and not column.scores:
            yield (
                f"{len(rare):,} of {len(column.counts):,} values of {column.name} are in fewer than {_SPLITS} rows, which all "
                "go to training (split.rare_label)"
            )
    if seen.bad:
        yield f"{describe(seen.bad)} cannot be read ({seen.first_bad}); {many}"
    tests = [file.name for file in seen.files if "test" in file.name.lower()]
    if tests and len(seen.files) > 1:
        yield f"{tests[0]} is read like the others; the test split is given with --test-data, and the others with --data"
    if seen.rows < _FEWEST_ROWS:
        yield f"{seen.rows} rows are few: data_quality wants {_FEWEST_ROWS} (data_quality.min_rows)"
    if not texts.english:
        yield (
            f"the texts are {texts.writing}, and the bundled model learned English: name another one in train.model and "
            "data_quality.model, such as a multilingual one of the hub"
        )
    if texts.cut_off[texts.max_length] > CUT_OFF:
        share = f"{texts.cut_off[texts.max_length]:.0%}"
        yield f"{share} of the texts have more tokens than the model reads ({texts.max_length}), and are cut off"
