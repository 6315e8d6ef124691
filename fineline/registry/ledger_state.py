"""What a ledger says, as plain data: its lines, how each alias stands to them, and which versions are rejected."""

import dataclasses
import functools
import json
import re
from collections.abc import Mapping
from typing import Any

CHAMPION = "champion"
CHALLENGER = "challenger"

MOVES = "ledger"
"""The series of the lines."""

ROLLBACK, REJECTED, REPAIRED, OUTSIDE = "rollback", "rejected", "repaired", "outside"
"""Verdicts of lines that no comparison wrote. OUTSIDE: a person moved the alias without fineline, and it was recorded later."""

AGREES, HALF_DONE, ASTRAY, DELETED = "agrees", "half done", "astray", "deleted"
"""How an alias stands to its newest line: it is there; the move was cut short; a person moved it outside fineline; the version
that it should be at was deleted."""

DONE = "done"

Line = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class State:
    """The ledger and the registry as they were found. `missing` are versions that the newest lines name and that were deleted."""

    run_id: str
    params: dict[str, str]
    tags: dict[str, str]
    aliases: dict[str, int]
    missing: frozenset[int]

    @functools.cached_property
    def lines(self) -> list[Line]:
        """The lines in their order, each with its `number`."""
        return in_series(self.params, MOVES)

    @property
    def names(self) -> list[str]:
        """Every alias that the registry or a line knows."""
        return sorted(self.aliases.keys() | {line["alias"] for line in self.lines if line["alias"]})

    def newest(self, alias: str) -> Line | None:
        """The newest line about `alias`."""
        return next((line for line in reversed(self.lines) if line["alias"] == alias), None)

    def at(self, alias: str) -> int | None:
        """The version that `alias` is at by the lines, else (none is about it) by the registry."""
        line = self.newest(alias)
        return line["to"] if line else self.aliases.get(alias)

    def standing(self, alias: str) -> str:
        """AGREES, HALF_DONE, ASTRAY or DELETED."""
        line, now = self.newest(alias), self.aliases.get(alias)
        if line is None or now == line["to"]:
            return AGREES
        cut_short = not self.done(line) and line["verdict"] != OUTSIDE and now in (line["from"], None)
        if line["to"] in self.missing and (cut_short or now is None):
            return DELETED
        return HALF_DONE if cut_short else ASTRAY

    def done(self, line: Line) -> bool:
        """Whether somebody saw the alias of `line` where it says."""
        return f"{key_of(MOVES, line['number'])}.{DONE}" in self.params

    def rejected(self) -> dict[int, Line]:
        """version -> the line that rejected it, of those that did not become champion since."""
        found: dict[int, Line] = {}
        for line in self.lines:
            if rejects := line["to"] if line["verdict"] == REJECTED else line.get("rejects"):
                found[rejects] = line
            if line["alias"] == CHAMPION:
                found.pop(line["to"], None)
        return found


def key_of(series: str, number: int) -> str:
    """The parameter that holds an entry."""
    return f"{series}.{number:06d}"


def in_series(params: Mapping[str, str], series: str) -> list[Line]:
    """The entries of a series among a run's parameters, in their order."""
    numbers = sorted(int(key[-6:]) for key in params if re.fullmatch(rf"{re.escape(series)}\.\d{{6}}", key))
    return [{"number": number, **json.loads(params[key_of(series, number)])} for number in numbers]


def copies(params: Mapping[str, str]) -> dict[str, str]:
    """tag -> value of the tags that repeat the entries in `params`; a line's tag also names its alias."""
    found = {}
    for key in params:
        if match := re.fullmatch(r"(\w+)\.(\d{6})", key):
            entry = {"number": int(match[2]), **json.loads(params[key])}
            tag = f"{key}.{entry['alias'] or entry['verdict']}" if match[1] == MOVES else key
            found[tag] = json.dumps(entry, sort_keys=True, ensure_ascii=False)
    return found
