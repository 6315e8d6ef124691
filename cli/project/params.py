"""The parameters of a new project that differ from the defaults."""

import re
from typing import Any

from cli.project.choose_columns import Choice
from cli.project.look_at_data import Look
from cli.project.look_at_texts import CHARACTERS, LENGTHS, Texts
from components.ingest.params import Params as IngestParams

Blocks = dict[str, dict[str, Any]]

DEFAULT_TASK = IngestParams.model_fields["task"].default

_NO_NAME = re.compile(r"[^A-Za-z0-9_. -]")


def differing(
    name: str, task: str, sources: dict[str, str], seen: Look, choice: Choice, texts: Texts
) -> tuple[Blocks, dict[str, str]]:
    """What differs from the defaults, by block, and the reason for some of the blocks. `name` is the project's, `sources` is
    the block pin."""
    reading = {"encoding": seen.how.encoding, "delimiter": seen.how.delimiter}
    reading = {key: value for key, value in reading.items() if value not in ("", "utf-8")}
    ingest: dict[str, Any] = {} if task == DEFAULT_TASK else {"task": task}
    # text and the task's own fields are in columns of their own names by default, the others nowhere.
    by_default = {"text", *choice.needed}
    columns = {field: column for field, column in choice.columns.items() if column}
    if columns := {f: column for f, column in columns.items() if f not in by_default or f != column}:
        ingest["columns"] = columns
    if choice.keep:
        ingest["keep_columns"] = choice.keep
    recent = {field: choice.columns.get(field, "") for field in ("text", "time")}
    recent = {field: column for field, column in recent.items() if column and (field, column) != ("text", "text")}
    blocks: Blocks = {
        "pin": dict(sources),
        "ingest": {**ingest, **reading},
        "augment": {"lexicon": "data/lexicon.tsv"},
        "register": {"name": _NO_NAME.sub("_", name)},
        "monitor": {"source": sources["source"], **({"columns": recent} if recent else {}), **reading},
    }
    why = {"monitor": "The recent texts, for drift: name your own in place of the labelled rows."}
    quality = {}
    if texts.max_length != LENGTHS[0]:
        why["data_quality"] = f"{texts.cut_off[LENGTHS[0]]:.0%} of the texts have more than {LENGTHS[0]} tokens."
        quality["max_length"] = texts.max_length
        blocks["train"] = {"max_length": texts.max_length}
    if texts.max_characters != CHARACTERS[0]:
        quality["max_characters"] = texts.max_characters
    if quality:
        blocks["data_quality"] = quality
    return blocks, why
