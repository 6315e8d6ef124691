"""Which column holds what: chosen by what is in it, then by its name, with the reason; where two fit, the user says."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cli.project.look_at_data import LABELS, TEXTS, Column, Look
from fineline.process.errors import UsageError
from fineline.rows.columns import Columns
from fineline.rows.dataset import own_columns
from fineline.tasks import Task

SPLITS = {"train", "validation", "test"}

_ID = re.compile(r"(.*[_. -])?(id|uuid|guid|key|nr|no|number)|.*Id")
_GROUP = re.compile(
    r".*(customer|user|client|account|author|speaker|sender|patient|thread|conversation|dialog|session|case|ticket|order|doc).*"
)
_ANNOTATOR = re.compile(r".*(annotator|rater|coder|judge|labeler|labeller|worker).*")
_SPLIT = re.compile(r".*(split|subset|partition|fold).*|set")
_MOST_LABELS = 1_000
_FEW = 50
_LONGEST_LABEL = 100
_LONGEST_ID = 100
_CLEARLY_LONGER = 3
_LARGEST_GROUP = 0.1
_MOST_KEPT = 20
_ROWS_OF_A_KEPT_VALUE = 10


@dataclasses.dataclass(frozen=True)
class Choice:
    """`columns` as ingest.columns has them, the columns to `keep` for slices, and for each field in use the reason; `needed`
    are the task's own fields."""

    columns: Columns
    needed: list[str]
    keep: list[str]
    why: Mapping[str, str]
    unused: list[str]


def choose(look: Look, task: Task, given: Columns) -> Choice:
    """The column of each field of `task`; those `given` are not chosen ('' = nowhere).

    Raises UsageError where there is none, or more than one that may be meant.
    """
    from pyarrow import types

    said = [name for value in given.values() for name in ([value] if isinstance(value, str) else value) if name]
    for name in said:
        if name not in [column.name for column in look.columns]:
            raise UsageError(
                f"{look.files[0].shown} has no column {name!r}",
                f"it has {', '.join(repr(column.name) for column in look.columns[:50])}",
            )
    columns: Columns = dict(given)
    why = {field: "as you said" for field, name in given.items() if name}
    free = [column for column in look.columns if column.name not in said]

    def take(field: str, column: Column | None, reason: str) -> None:
        if column:
            columns[field], why[field] = column.name, reason
            free.remove(column)

    if "text" not in given:
        take("text", *_text(free))
    needed = task.columns
    for field in task.fields():
        if field.name not in given:
            choice = _lists(field.name, free) if types.is_list(field.type) else _labels(field.name, free)
            take(field.name, *choice)
    labels = set().union(*(look.column(columns[field]).counts for field in needed))
    if "annotators" not in given and (annotators := _annotators(free, labels)):
        columns["annotators"] = [column.name for column in annotators]
        why["annotators"] = "labels of theirs, by its name"
        free = [column for column in free if column not in annotators]
    for field, find, reason in _OTHERS:
        if field not in given:
            take(field, next((column for column in free if find(column, look.rows)), None), reason)
    keep = [column.name for column in free if _is_kept(column) and column.name not in own_columns(task)]
    return Choice(columns, needed, keep, why, [column.name for column in free if column.name not in keep])


def _text(free: Sequence[Column]) -> tuple[Column, str]:
    found = [column for column in free if _is_text(column)]
    if same := [column for column in found if column.name.lower() == "text"]:
        return same[0], "texts, by its name"
    named = [column for column in found if column.name.lower() in TEXTS]
    if len(named) == 1:
        return named[0], "texts, by its name"
    found = sorted(named or found, key=lambda column: -column.length)
    if len(found) == 1:
        return found[0], "the only column of texts"
    if found and found[0].length > _CLEARLY_LONGER * found[1].length:
        return found[0], "by far the longest texts"
    if not found and (named := [column for column in free if column.name.lower() == "text" and column.cells]):
        return named[0], "by its name"
    if found:
        raise _which("text", f"each of {_listed(found)} may be the text", found[0])
    lists = [column for column in free if column.nested > len(column.cells)]
    raise _which(
        "text",
        f"{_listed(lists)} hold{'s' if len(lists) == 1 else ''} lists, and no column holds texts"
        if lists
        else "no column looks like texts: those have several words and are mostly different",
        next((column for column in free if column.cells and not column.dates and not column.numbers), None),
    )


def _labels(field: str, free: Sequence[Column]) -> tuple[Column, str]:
    names = dict.fromkeys([field, *LABELS])
    fitting = [column for column in free if _is_label(column)]
    same = [
        column for column in free if column.name.lower() == field and (column in fitting or _is_small_label(column))
    ]
    if same:
        return same[0], _values(same[0])
    found = [column for column in fitting if column.name.lower() in names]
    if not found:
        found = [
            column for column in fitting if not any(p.fullmatch(column.name) for p in (_GROUP, _SPLIT, _ANNOTATOR))
        ]
    if len(found) == 1:
        return found[0], _values(found[0])
    if found:
        raise _which(field, f"each of {_listed(found)} may be the {field}", found[0])
    possible = [column for column in free if len(column.counts) > 1 and not column.dates and not column.nested]
    raise _which(field, _no_label(field, free), possible[0] if possible else None)


def _lists(field: str, free: Sequence[Column]) -> tuple[Column, str]:
    """The column of lists; in delimited text, where a cell may hold several, that of the field's name or of labels."""
    found = [column for column in free if column.nested] or [column for column in free if _is_label(column)]
    same = [column for column in free if column.name.lower() == field]
    chosen = same or found
    if len(chosen) != 1:
        what = (
            f"each of {_listed(found)} may be the {field}"
            if found
            else f"no column looks like {field}: none holds lists"
        )
        raise _which(field, what, found[0] if found else None)
    return chosen[0], "lists" if chosen[
        0
    ].nested else "labels, several in a cell (ingest.label_delimiter) or a JSON list"


def _no_label(field: str, free: Sequence[Column]) -> str:
    """Why none of these columns is a label."""
    reasons = []
    for column in free[:5]:
        if column.nested:
            reason = "lists"
        elif not column.cells:
            reason = "nothing"
        elif len(column.counts) == 1:
            reason = "one and the same value"
        elif column.scores:
            reason = "numbers with decimals"
        else:
            reason = f"{len(column.counts):,} values in {len(column.cells):,} rows"
        reasons.append(f"{column.name} holds {reason}")
    return f"no column looks like a {field}, a few values that come again" + (
        f": {'; '.join(reasons)}" if reasons else ": there is no other column"
    )


def _which(field: str, what: str, example: Column | None) -> UsageError:
    if example is None:
        return UsageError(what, "give rows with one text and one label each, or name another --task")
    return UsageError(what, f"say which it is: --columns {field}={example.name}")


def _listed(columns: Sequence[Column]) -> str:
    return ", ".join(column.name for column in columns)


def _values(column: Column) -> str:
    counts = column.counts.most_common()
    (most, rows), (least, fewest) = counts[0], counts[-1]
    return f"{len(counts):,} labels, {most} in {rows:,} rows to {least} in {fewest:,}"


def _is_text(column: Column) -> bool:
    different = len(column.counts) > 0.3 * len(column.cells)
    return bool(column.cells) and different and not column.dates and not column.numbers and column.words >= 1.8


def _is_label(column: Column) -> bool:
    return (
        not column.nested
        and 2 <= len(column.counts) <= min(_MOST_LABELS, len(column.cells) / 2)
        and column.longest <= _LONGEST_LABEL
        and not column.dates
        and not column.scores
    )


def _is_small_label(column: Column) -> bool:
    """Whether a column that is named like the field may be it although values hardly come again: of few rows, none need to."""
    few = len(column.cells) < _FEW
    return few and not column.nested and len(column.counts) > 1 and column.longest <= _LONGEST_LABEL


def _annotators(free: Sequence[Column], labels: set[str]) -> list[Column]:
    """The columns that are named so and hold labels; none where there is only one, which agrees with nobody."""
    found = [
        column
        for column in free
        if _ANNOTATOR.fullmatch(column.name.lower())
        and column.cells
        and sum(cell in labels for cell in column.cells) > 0.9 * len(column.cells)
    ]
    return found if len(found) > 1 else []


def _is_id(column: Column, rows: int) -> bool:
    unique = len(column.counts) == len(column.cells) == rows
    named = _ID.fullmatch(column.name) or _ID.fullmatch(column.name.lower())
    return bool(named) and unique and column.longest <= _LONGEST_ID


def _is_group(column: Column, _rows: int) -> bool:
    if not _GROUP.fullmatch(column.name.lower()) or not column.cells:
        return False
    ((_name, largest),) = column.counts.most_common(1)
    return 1 < largest <= max(2, _LARGEST_GROUP * len(column.cells))


def _is_time(column: Column, _rows: int) -> bool:
    return column.dates


def _is_split(column: Column, _rows: int) -> bool:
    values = {value.lower() for value in column.counts}
    return bool(_SPLIT.fullmatch(column.name.lower())) and "test" in values and values <= SPLITS


def _is_kept(column: Column) -> bool:
    counts = column.counts
    return (
        not column.nested
        and 2 <= len(counts) <= _MOST_KEPT
        and len(column.cells) >= _ROWS_OF_A_KEPT_VALUE * len(counts)
        and column.longest <= _LONGEST_LABEL
    )


_OTHERS: list[tuple[str, Callable[[Column, int], bool], Any]] = [
    ("id", _is_id, "unique in all rows"),
    ("split", _is_split, "'test' rows are kept apart as the test split"),
    ("group", _is_group, "rows of one value stay in one split"),
    ("time", _is_time, "dates, for a split by time"),
]
