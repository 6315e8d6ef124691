"""JSONL: one JSON object per line, numbers kept as they are written."""

import itertools
import json
from collections.abc import Iterator
from typing import Any, TextIO

from fineline.process.errors import DataRejected
from fineline.rows.records import RECORD_LIMIT, Number, Record, unreadable

ARRAY_HINT = "write one object per line: jq -c '.[]' array.json > rows.jsonl"
_PEEKED = 1_000


def read_jsonl(stream: TextIO, shown: str) -> tuple[list[str], Iterator[Record]]:
    """The column names found in the first thousand rows (none when none is readable), and all records, one by one."""
    records = _records(stream, shown)
    first = list(itertools.islice(records, _PEEKED))
    if not first:
        raise DataRejected(f"{shown} is empty", "give a file with one JSON object per line")
    if first[0].raw.lstrip().startswith("[") and not any(record.values for record in first):
        raise DataRejected(f"{shown} is a JSON array, and JSONL holds one JSON object per line", ARRAY_HINT)
    columns = list(dict.fromkeys(name for record in first for name in record.values))
    return columns, itertools.chain(first, records)


def _records(stream: TextIO, shown: str) -> Iterator[Record]:
    number = 0
    while line := stream.readline(RECORD_LIMIT):
        number += 1
        if len(line) >= RECORD_LIMIT:
            raise DataRejected(
                f"{shown} line {number} has more than {RECORD_LIMIT:,} characters",
                "JSONL holds one JSON object per line; write the file so",
            )
        if not line.strip():
            continue
        if problem := unreadable(line):
            yield Record(number, {}, problem, line)
            continue
        try:
            # Numbers stay as they are written: 1.10 is not 1.1.
            values = json.loads(
                line, parse_int=Number, parse_float=Number, parse_constant=_no_number, object_pairs_hook=_each_key_once
            )
            if not isinstance(values, dict):
                raise ValueError("not a JSON object")
            yield Record(number, values, raw=line)
        except (ValueError, RecursionError) as error:
            yield Record(number, {}, f"no JSON object: {error}", line)


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key occurs twice")
    return values
