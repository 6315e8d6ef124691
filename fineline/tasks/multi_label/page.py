"""What the report of sets of labels has: thresholds, labels that are missed and added, and calibration."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fineline.reports import html_page
from fineline.tasks.multi_label.answers import choices, confidence, scores, shown_thresholds
from fineline.tasks.multi_label.figures import right
from fineline.tasks.multi_label.rows import NONE
from fineline.tasks.parts import Calibration, Plots, Section
from fineline.tasks.single_label.figures import bins
from fineline.tasks.single_label.page import calibration as section_of
from fineline.tasks.single_label.page import roc

_PAIRS = 15


def describe(labels: int, tokens: int) -> tuple[str, str]:
    """What the model does, and what it is not for."""
    return (
        f"Gives any number of {labels} labels to a text of up to {tokens} tokens, with a probability for each.",
        "A text may get no label, which says that none reached its threshold and not that none fits.",
    )


def outcome(target: np.ndarray, answered: np.ndarray, labels: Sequence[str], calibration: Calibration) -> list[Section]:
    """The threshold of each label with what it lets through, and which label is given in the place of which."""
    chosen = choices(answered)
    rows = [
        [
            label,
            f"{threshold:.3f}",
            int(target[:, i].sum()),
            int(chosen[:, i].sum()),
            int((target & chosen)[:, i].sum()),
        ]
        for i, (label, threshold) in enumerate(zip(labels, shown_thresholds(calibration, len(labels)), strict=True))
    ]
    pairs = instead(target, chosen, labels, _PAIRS)
    table = html_page.table(["missed", "given instead", "rows", "of the rows that have it"], pairs)
    sizes = [
        [size, int((target.sum(axis=1) == size).sum()), int((chosen.sum(axis=1) == size).sum())] for size in range(6)
    ]
    return [
        (
            "Thresholds",
            html_page.table(["label", "threshold", "test rows", "given", "of them right"], rows)
            + html_page.details("labels per text", html_page.table(["labels", "rows", "answers"], sizes)),
            "A label is given from this probability on: the one with the largest F1 on the validation rows.",
        ),
        (
            "Given instead",
            table if pairs else "No label is given in the place of another.",
            "Labels that a row has and is not given, with one that it is given and does not have.",
        ),
    ]


def certainty(target: np.ndarray, answers: Mapping[str, np.ndarray]) -> list[Section]:
    """Confidence in the whole set against the share of right sets."""
    return [section_of({name: bins(confidence(one), right(target, one)) for name, one in answers.items()})]


def plots(target: np.ndarray, answered: np.ndarray, labels: Sequence[str]) -> Plots:
    """confusion.csv (a line per label that is right, missed or added), calibration.csv (of whole sets) and roc.csv."""
    found = bins(confidence(answered), right(target, answered))
    return {
        "confusion.csv": (["actual", "predicted"], confusion(target, choices(answered), labels)),
        "calibration.csv": (["confidence", "accuracy", "rows"], list(found)),
        "roc.csv": (["threshold", "fpr", "tpr"], roc(target, scores(answered))),
    }


def confusion(target: np.ndarray, chosen: np.ndarray, labels: Sequence[str]) -> list[list[str]]:
    """[label, label given]: a right one with itself, a missed one with each that was added in its row, or with none."""
    pairs = []
    for has, given in zip(target, chosen, strict=True):
        both, missed, added = (
            [labels[i] for i in np.flatnonzero(part).tolist()] for part in (has & given, has & ~given, given & ~has)
        )
        pairs += [[name, name] for name in both]
        if missed or added:
            pairs += [list(pair) for pair in itertools.product(missed or [NONE], added or [NONE])]
    return pairs


def instead(target: np.ndarray, chosen: np.ndarray, labels: Sequence[str], most: int) -> list[list[Any]]:
    """[label that was missed, label that was given wrongly, rows, share of the first label's rows], most frequent first."""
    table = (target & ~chosen).T.astype(np.int64) @ (chosen & ~target).astype(np.int64)
    ranked = np.argsort(-table, axis=None, kind="stable")[:most]
    pairs = [divmod(int(cell), len(labels)) for cell in ranked if table.flat[cell]]
    return [
        [labels[i], labels[j], int(table[i, j]), f"{table[i, j] / max(int(target[:, i].sum()), 1):.1%}"]
        for i, j in pairs
    ]
