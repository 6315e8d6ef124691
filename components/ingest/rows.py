"""From a record's raw values to the typed row of a dataset. Values stay the text that they are: 001 is not 1."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from components.ingest.params import Params
from components.ingest.seen import Seen
from fineline.rows.cells import Classes, text_of
from fineline.rows.records import Record
from fineline.rows.settings import Reading
from fineline.tasks import Task
from fineline.texts.sameness import clean_name

_ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=False)
_SPLITS = {"": None, "train": None, "validation": None, "test": "test"}


def typed_row(
    record: Record, params: Params, how: Reading, task: Task, class_names: Classes, test: bool
) -> dict[str, Any]:
    """The row that `record` holds, with the own id ('' when ids are made) and every optional column that `params` names.

    `class_names` are the names behind numbered classes, by column; `test` puts the row into the test split. Raises
    ValueError with the reason when the record cannot become a row.
    """
    if record.problem:
        raise ValueError(record.problem)

    def cell(column: str) -> str | None:
        return text_of(record, column, how, class_names)

    columns = params.columns
    text = cell(columns["text"])
    if text is None:
        raise ValueError(f"no {columns['text']}")
    raw = {name: record.values.get(columns[name]) for name in task.columns}
    raw = {name: value if isinstance(value, list | dict) else cell(columns[name]) for name, value in raw.items()}
    row = {"text": text, **task.parse(raw, params.label_delimiter)}
    for field in task.fields():
        value = row[field.name]
        names = value if isinstance(value, list) else [value] if isinstance(value, str) else []
        if len(name := max(names, key=len, default="")) > params.max_label_characters:
            raise ValueError(
                f"the {field.name} has {len(name):,} characters, {params.max_label_characters:,} are allowed "
                f"(ingest.max_label_characters): {name[:40]!r}..."
            )
    row["id"] = (cell(columns["id"]) or "") if columns["id"] else ""
    if columns["id"] and not row["id"]:
        raise ValueError(f"no {columns['id']}")
    # An empty group, time or annotator's label says that there is none; else all rows without a group would form one.
    if columns["group"]:
        row["group"] = clean_name(cell(columns["group"]) or "") or None
    if columns["time"]:
        row["time"] = cell(columns["time"]) or None
    if columns["annotators"]:
        row["annotators"] = [clean_name(cell(column) or "") or None for column in columns["annotators"]]
    row["split"] = "test" if test else _split(cell(columns["split"])) if columns["split"] else None
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


def _split(value: str | None) -> str | None:
    name = (value or "").strip().lower()
    if name not in _SPLITS:
        raise ValueError(f"the split is {value!r}, none of train, validation, test")
    return _SPLITS[name]
