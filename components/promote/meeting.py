"""Champion and challenger on the same rows: which rows count, what both answer, and what that says."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from components.promote import comparison, labels
from components.promote.comparison import MODELS
from components.promote.params import Params
from components.promote.test_set import JOINED
from components.promote.verdict import HOLD, judge
from fineline.bundle import Bundle, probabilities
from fineline.dataset import chosen_columns
from fineline.errors import UsageError
from fineline.test_set import RETIRED
from fineline.training_rows import text_hashes

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class Meeting:
    """What was found: `verdict` of verdict.judge, `found` of comparison.compare, `costs`, and per-row `answers`.

    `counts` says what became of the rows of the test set, `seen` how many each model had learned from (None: no record),
    `changed_labels` what became of labels that are not simply shared.
    """

    verdict: dict[str, Any]
    answers: "pd.DataFrame"
    counts: dict[str, int]
    seen: dict[str, int | None]
    shared: list[str]
    changed_labels: list[dict[str, Any]]
    found: dict[str, Any] = dataclasses.field(default_factory=dict)
    costs: dict[str, Any] = dataclasses.field(default_factory=dict)


def meet(
    params: Params,
    bundles: Mapping[str, Bundle],
    rows: "pd.DataFrame",
    seen: Mapping[str, "pd.DataFrame | None"],
    old: np.ndarray,
) -> Meeting:
    """Both bundles on `rows` (id, text, labels, slice columns), without those that either has `seen` in its training.

    `old`, bool (n,), are the rows that did not join the test set with the challenger; where others did, these are also
    judged by themselves: what it may have forgotten.
    Raises UsageError when the bundles are of different tasks.
    """
    champion, challenger = (bundles[name] for name in MODELS)
    if champion.task.name != challenger.task.name:
        raise UsageError(
            f"the champion is a model for {champion.task.name}, the challenger for {challenger.task.name}",
            "register it under another name",
        )
    renamed = labels.read_map(params.label_map)
    known = {name: _seen(rows, seen[name]) for name in MODELS}
    kept = ~np.logical_or.reduce([mask for mask in known.values() if mask is not None] or [np.zeros(len(rows), bool)])
    unseen = rows[kept].reset_index(drop=True)
    written = challenger.task.strata(unseen).tolist()
    texts = unseen["text"].tolist()
    given = {name: probabilities(bundles[name], texts, params.batch_size, what=name) for name in MODELS}
    answered = {name: labels.answers(given[name], bundles[name].labels, renamed) for name in MODELS}
    present = np.array([labels.present(renamed, label) for label in written], dtype=object)
    shared = labels.shared(renamed, champion.labels, challenger.labels)
    on_shared = np.array([label in shared for label in present], dtype=bool)
    meeting: dict[str, Any] = {
        "answers": _answers(unseen, present, on_shared, answered, given),
        "counts": {
            "test_set": len(rows),
            "seen": len(rows) - len(unseen),
            "label_not_shared": int((~on_shared).sum()),
            "compared": int(on_shared.sum()),
        },
        "seen": {name: None if mask is None else int(mask.sum()) for name, mask in known.items()},
        "shared": shared,
        "changed_labels": labels.changed(written, answered, renamed, champion.labels, challenger.labels),
    }
    if len(shared) < 2 or not on_shared.any():
        reason = (
            "the two models share fewer than two labels" if len(shared) < 2 else "no test row is left to compare on"
        )
        return Meeting({"verdict": HOLD, "reason": reason, "rules": [], "more_rows": 0}, **meeting)
    compared = unseen[on_shared].reset_index(drop=True)
    index = {label: i for i, label in enumerate(shared)}
    targets = np.array([index[label] for label in present[on_shared]], dtype=np.int64)
    aligned = {
        name: labels.on_shared(given[name][on_shared], bundles[name].labels, renamed, shared, targets)
        for name in MODELS
    }
    rows_as_split = compared.drop(columns=[JOINED, RETIRED])
    columns = chosen_columns(rows_as_split, params.slice_columns, challenger.task, "promote.slice_columns")
    slices = comparison.slices_of(compared, columns, params.max_slice_values)
    before = old[kept][on_shared]
    apart = before if before.any() and not before.all() else None
    found = comparison.compare(params, challenger.task, shared, targets, aligned, slices, apart)
    steps = np.linspace(0, len(texts) - 1, min(params.speed_texts, len(texts))).round().astype(int)
    costs = comparison.costs(bundles, [texts[i] for i in steps], params.speed_rounds)
    return Meeting(judge(params, found, costs), **meeting, found=found, costs=costs)


def _seen(rows: "pd.DataFrame", record: "pd.DataFrame | None") -> "np.ndarray | None":
    """Which rows are in the record of a model's training, by id or by text in normal form, bool (n,); None: no record."""
    if record is None:
        return None
    hashes = set(record["text_sha256"])
    by_text = np.array([digest in hashes for digest in text_hashes(rows["text"].tolist())], dtype=bool)
    return (rows["id"].astype(str).isin(set(record["id"])) | by_text).to_numpy()


def _answers(
    rows: "pd.DataFrame",
    present: np.ndarray,
    on_shared: np.ndarray,
    answered: Mapping[str, np.ndarray],
    given: Mapping[str, np.ndarray],
) -> "pd.DataFrame":
    """One row per test row that no model has seen: id, label (its present name), compared, and by model answer and score."""
    import pandas as pd

    columns = {"id": rows["id"].astype(str), "label": present, "compared": on_shared}
    for name in MODELS:
        columns |= {name: answered[name], f"{name}_score": given[name].max(axis=1).round(6)}
    return pd.DataFrame(columns)
