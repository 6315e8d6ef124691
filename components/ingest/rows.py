"""From a record's raw values to the typed row of a dataset. Values stay the text that they are: 001 is not 1."""

import datetime
import decimal
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from components.ingest.params import Params
from components.ingest.records import Record, unreadable
from components.ingest.seen import Seen
from fineline.tasks import Task
from fineline.text import clean_name

_ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=False)
_SPLITS = {"": None, "train": None, "validation": None, "test": "test"}


def typed_row(
    record: Record, params: Params, task: Task, class_names: Mapping[str, list[str]], test: bool
) -> dict[str, Any]:
    """The row that `record` holds, with the own id ('' when ids are made) and every optional column that `params` names.

    `class_names` are the names behind numbered classes, by column; `test` puts the row into the test split. Raises
    ValueError with the reason when the record cannot become a row.
    """
    if record.problem:
        raise ValueError(record.problem)

    def cell(column: str) -> str | None:
        return _cell(column, record.values.get(column), params.max_cell_bytes, class_names)

    text = cell(params.text_column)
    if text is None:
        raise ValueError(f"no {params.text_column}")
    label = record.values.get(params.label_column)
    row = {
        "text": text,
        **task.parse({"label": label if isinstance(label, list | dict) else cell(params.label_column)}),
    }
    for field in task.fields():
        if isinstance(name := row[field.name], str) and len(name) > params.max_label_characters:
            raise ValueError(
                f"the {field.name} has {len(name):,} characters, {params.max_label_characters:,} are allowed "
                f"(ingest.max_label_characters): {name[:40]!r}..."
            )
    row["id"] = (cell(params.id_column) or "") if params.id_column else ""
    if params.id_column and not row["id"]:
        raise ValueError(f"no {params.id_column}")
    # An empty group, time or annotator's label says that there is none; else all rows without a group would form one.
    if params.group_column:
        row["group"] = clean_name(cell(params.group_column) or "") or None
    if params.time_column:
        row["time"] = cell(params.time_column) or None
    if params.annotator_columns:
        row["annotators"] = [clean_name(cell(column) or "") or None for column in params.annotator_columns]
    row["split"] = "test" if test else _split(cell(params.split_column)) if params.split_column else None
    row.update((column, cell(column)) for column in params.keep_columns)
    return row


def set_id(row: dict[str, Any], label_columns: Sequence[str], seen: Seen, place: str) -> None:
    """Gives `row`, read at `place`, its id: its own, which must be new, or one made of its text and label.

    A made id is the first 16 hex digits of their sha256; the second row with both the same gets '-2' behind it, and so
    on. So a row has the same id wherever in the file it stands. Raises ValueError when its own id was seen before.
    """
    if row["id"]:
        times, first = seen.count(row["id"].encode(), place)
        if times > 1:
            raise ValueError(f"the id {row['id'][:80]!r} is already that of {first}")
        return
    content = {name: row[name] for name in ("text", *label_columns)}
    digest = hashlib.sha256(_ENCODER.encode(content).encode()).digest()[:8]
    times, _first = seen.count(digest)
    row["id"] = digest.hex() if times == 1 else f"{digest.hex()}-{times}"


def _cell(column: str, value: Any, limit: int, class_names: Mapping[str, list[str]]) -> str | None:
    """A value as text, None when it is missing; raises ValueError for what is no single value, too large or no text."""
    if column in class_names and value is not None:
        return _class_name(column, value, class_names[column])
    text = value if isinstance(value, str) else _as_text(column, value)
    if text is None:
        return None
    if len(text) * 4 > limit and (size := len(text.encode("utf-8", "surrogatepass"))) > limit:
        raise ValueError(f"{column} has {size:,} bytes, {limit:,} are allowed (ingest.max_cell_bytes)")
    if problem := unreadable(text):
        raise ValueError(f"{column}: {problem}")
    return text


def _as_text(column: str, value: Any) -> str | None:
    """A typed value as text, as CSV and JSON have it: 1.0 is '1.0', so that one column has one set of labels in every format."""
    if value is None or value != value:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, int | decimal.Decimal):
        return str(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    raise ValueError(f"{column} is a {type(value).__name__}, not one value")


def _class_name(column: str, value: Any, names: list[str]) -> str | None:
    """The name behind a class's number; None for -1, with which `datasets` marks a row without a class."""
    try:
        number = int(value)
    except (TypeError, ValueError):
        if value in names:
            return value
        raise ValueError(f"{column} is {value!r}, which is no class") from None
    if number == -1:
        return None
    if not 0 <= number < len(names):
        raise ValueError(f"{column} is {number}, but there are {len(names)} classes")
    return names[number]


def _split(value: str | None) -> str | None:
    name = (value or "").strip().lower()
    if name not in _SPLITS:
        raise ValueError(f"the split is {value!r}, none of train, validation, test")
    return _SPLITS[name]
