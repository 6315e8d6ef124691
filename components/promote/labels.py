"""Labels that changed between two models: which are the same question, and what became of the others."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fineline.process.errors import UsageError

Renamed = Mapping[str, str | None]
Bag = Collection[str]
"""The labels of one row."""


def read_map(location: str) -> dict[str, str | None]:
    """The mapping old -> new (None: removed) of a YAML file; {} for ''. Raises UsageError for one that cannot be used."""
    import fsspec
    import yaml

    if not location:
        return {}
    hint = "promote.label_map names a YAML file of lines `old: new`, `old: null` for a label that was removed"
    try:
        with fsspec.open(location if "://" in location else str(Path(location)), "r", encoding="utf-8") as stream:
            content = yaml.safe_load(stream)
    except OSError as error:
        raise UsageError(f"{location} cannot be read: {error.strerror or error}", hint) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{location} is not valid YAML: {str(error).splitlines()[0]}", hint) from None
    if not isinstance(content, dict) or not all(
        isinstance(old, str) and isinstance(new, str | None) for old, new in content.items()
    ):
        raise UsageError(f"{location} is not a mapping of labels (put numbers in quotes)", hint)
    for label in content:
        now(content, label)
    return content


def now(renamed: Renamed, label: str) -> str | None:
    """What `label` is called after all changes, None when it was removed. Raises UsageError for a circle."""
    passed = [label]
    while (new := renamed.get(passed[-1], passed[-1])) != passed[-1]:
        if new is None:
            return None
        if new in passed:
            raise UsageError(
                f"promote.label_map goes in a circle: {' -> '.join([*passed, new])}", "remove one of the lines"
            )
        passed.append(new)
    return passed[-1]


def present(renamed: Renamed, label: str) -> str:
    """What `label` is called now; one that was removed keeps its old name in brackets, which no row has."""
    return now(renamed, label) or f"({label})"


def shared(renamed: Renamed, champion: Sequence[str], challenger: Sequence[str]) -> list[str]:
    """The labels, by their present names, that both models can give, sorted."""
    known = [{now(renamed, label) for label in labels} for labels in (champion, challenger)]
    return sorted(filter(None, known[0] & known[1]))


def changed(
    rows: Sequence[Bag],
    given: Mapping[str, Sequence[Bag]],
    renamed: Renamed,
    champion: Sequence[str],
    challenger: Sequence[str],
) -> list[dict[str, Any]]:
    """What became of each label that is not simply shared: {label, what, now, rows, champion, challenger}.

    `rows` are the labels of each test row as they were written, `given` the present names that each model answers.
    `champion` and `challenger` are recalls on the label's rows, None where the model cannot give it or there is no row.
    """
    right = [{present(renamed, label) for label in bag} for bag in rows]
    names = {label: present(renamed, label) for label in {*champion, *challenger}}
    known = {"champion": [names[label] for label in champion], "challenger": [names[label] for label in challenger]}
    report = []
    for label, new in sorted(names.items()):
        if label not in champion and new in known["champion"]:  # the new name of a label that is listed by its old one
            continue
        if new not in known["challenger"]:
            what, member = "removed", _holding(rows, label)
        elif new not in known["champion"]:
            what, member = "added", _holding(right, new)
        elif known["champion"].count(new) > 1:
            what, member = "merged", _holding(rows, label)
        elif new != label:
            what, member = "renamed", _holding(right, new)
        else:
            continue
        recalls = {
            name: float(_holding(given[name], new)[member].mean()) if member.any() and new in of else None
            for name, of in known.items()
        }
        report.append({"label": label, "what": what, "now": new, "rows": int(member.sum()), **recalls})
    return report


def _holding(rows: Sequence[Bag], label: str) -> np.ndarray:
    """Which rows have the label, bool (n,)."""
    return np.array([label in bag for bag in rows], dtype=bool)
