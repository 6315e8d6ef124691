"""Labels that changed between two models: which are the same question, and what became of the others."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fineline.process.errors import UsageError

Renamed = Mapping[str, str | None]


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


def answers(probability: np.ndarray, labels: Sequence[str], renamed: Renamed) -> np.ndarray:
    """The present name of the label that a model gives each row, object (n,); probabilities of merged labels are added up."""
    names = [present(renamed, label) for label in labels]
    distinct = sorted(set(names))
    merged = np.stack([_sum_of(probability, names, name) for name in distinct], axis=1)
    return np.array(distinct, dtype=object)[merged.argmax(axis=1)]


def on_shared(
    probability: np.ndarray, labels: Sequence[str], renamed: Renamed, kept: Sequence[str], targets: np.ndarray
) -> np.ndarray:
    """Probabilities over the `kept` labels, float64 (n, k), of rows with these `targets` (their indices in `kept`).

    An answer outside of `kept` is wrong on these rows, and counts as wrong: its probability goes to the label after the
    right one. (As a class of its own it would lower macro-F1 by far more than a wrong answer does.)
    """
    names = [present(renamed, label) for label in labels]
    result = np.stack([_sum_of(probability, names, name) for name in kept], axis=1)
    outside = np.array([answer not in kept for answer in answers(probability, labels, renamed)], dtype=bool)
    wrong = (targets + 1) % len(kept)
    result[outside, wrong[outside]] += 1.0 - result[outside].sum(axis=1)
    return result


def changed(
    rows: Sequence[str],
    given: Mapping[str, np.ndarray],
    renamed: Renamed,
    champion: Sequence[str],
    challenger: Sequence[str],
) -> list[dict[str, Any]]:
    """What became of each label that is not simply shared: {label, what, now, rows, champion, challenger}.

    `rows` are the labels of all test rows as they were written, `given` the present names that each model answers.
    `champion` and `challenger` are recalls on the label's rows, None where the model cannot give it or there is no row.
    """
    written = np.array(rows, dtype=object)
    right = np.array([present(renamed, label) for label in rows], dtype=object)
    names = {label: present(renamed, label) for label in {*champion, *challenger}}
    known = {"champion": [names[label] for label in champion], "challenger": [names[label] for label in challenger]}
    report = []
    for label, new in sorted(names.items()):
        if label not in champion and new in known["champion"]:  # the new name of a label that is listed by its old one
            continue
        if new not in known["challenger"]:
            what, member = "removed", written == label
        elif new not in known["champion"]:
            what, member = "added", right == new
        elif known["champion"].count(new) > 1:
            what, member = "merged", written == label
        elif new != label:
            what, member = "renamed", right == new
        else:
            continue
        recalls = {
            name: float((given[name][member] == new).mean()) if member.any() and new in of else None
            for name, of in known.items()
        }
        report.append({"label": label, "what": what, "now": new, "rows": int(member.sum()), **recalls})
    return report


def _sum_of(probability: np.ndarray, names: Sequence[str], name: str) -> np.ndarray:
    return probability[:, [name == of for of in names]].sum(axis=1)
