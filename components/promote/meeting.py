"""Champion and challenger on the same rows: which rows count, what both answer, and what that says."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from components.promote import comparison, labels
from components.promote.budget import Level
from components.promote.comparison import MODELS
from components.promote.params import Params
from components.promote.parts import slices_of
from components.promote.test_set import JOINED
from components.promote.verdict import HOLD, judge
from fineline.bundles.bundle import Bundle, answers
from fineline.process.errors import UsageError
from fineline.registry.test_set import RETIRED
from fineline.registry.training_rows import text_hashes
from fineline.rows.dataset import chosen_columns
from fineline.tasks import Task
from fineline.tasks.parts import bags

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class Anchor:
    """The last version that was promoted as superior, where it is not the champion. Without a `bundle`, `missing` says why;
    `seen` is the record of its training rows."""

    version: int
    bundle: Bundle | None
    seen: "pd.DataFrame | None" = None
    missing: str = ""


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
    level: Level,
    bundles: Mapping[str, Bundle],
    rows: "pd.DataFrame",
    seen: Mapping[str, "pd.DataFrame | None"],
    old: np.ndarray,
    since: np.ndarray,
    anchor: Anchor | None = None,
) -> Meeting:
    """Both bundles on `rows` (id, text, labels, slice columns), without those that either has `seen` in its training.

    `old`, bool (n,), are the rows that did not join the test set with the challenger; where others did, these are also
    judged by themselves: what it may have forgotten. `since`, bool (n,), are those that joined after the champion was
    promoted: no choice was made on them, so its figures there are as they are. `anchor` is compared too where it is another.
    Raises UsageError when the bundles are of different tasks.
    """
    champion, challenger = (bundles[name] for name in MODELS)
    if champion.task.name != challenger.task.name:
        raise UsageError(
            f"the champion is a model for {champion.task.name}, the challenger for {challenger.task.name}",
            "register it under another name",
        )
    known = {name: _seen(rows, seen[name]) for name in MODELS}
    kept = ~np.logical_or.reduce([mask for mask in known.values() if mask is not None] or [np.zeros(len(rows), bool)])
    told = _told(params, bundles, rows[kept].reset_index(drop=True))
    meeting: dict[str, Any] = {
        "answers": _answers(told, challenger.task),
        "counts": {
            "test_set": len(rows),
            "seen": int((~kept).sum()),
            "label_not_shared": int((~told.on_shared).sum()),
            "compared": int(told.on_shared.sum()),
        },
        "seen": {name: None if mask is None else int(mask.sum()) for name, mask in known.items()},
        "shared": told.shared,
        "changed_labels": labels.changed(
            told.bags,
            {name: [challenger.task.named(line) for line in told.answered[name]] for name in MODELS},
            told.renamed,
            champion.labels,
            challenger.labels,
        ),
    }
    fewest = challenger.task.fewest
    if len(told.shared) < fewest or not told.on_shared.any():
        few = len(told.shared) < fewest
        reason = f"the two models share fewer than {fewest} labels" if few else "no test row is left to compare on"
        return Meeting({"verdict": HOLD, "reason": reason, "rules": [], "more_rows": 0, "corrected": {}}, **meeting)
    found = _found(params, level, bundles, told, old[kept], since[kept], anchor)
    texts = told.rows["text"].tolist()
    steps = np.linspace(0, len(texts) - 1, min(params.speed_texts, len(texts))).round().astype(int)
    costs = comparison.costs(bundles, [texts[i] for i in steps], params.speed_rounds)
    return Meeting(judge(params, level, found, costs), **meeting, found=found, costs=costs)


@dataclasses.dataclass(frozen=True)
class _Told:
    """What both models, by name, answer on the n `rows` that neither has seen.

    `given` are answers; `answered` each in one line, with the labels' present names. `bags` are the labels that the rows have,
    `renamed_rows` the rows with those called as now, of which both models know the `shared` ones: all those of the rows
    `on_shared`, bool (n,).
    """

    rows: "pd.DataFrame"
    renamed: labels.Renamed
    given: dict[str, np.ndarray]
    answered: dict[str, np.ndarray]
    bags: list[list[str]]
    renamed_rows: "pd.DataFrame"
    shared: list[str]
    on_shared: np.ndarray


def _told(params: Params, bundles: Mapping[str, Bundle], rows: "pd.DataFrame") -> _Told:
    champion, challenger = (bundles[name] for name in MODELS)
    renamed = labels.read_map(params.label_map)
    texts = rows["text"].tolist()
    task = challenger.task
    given = {name: answers(bundles[name], texts, params.batch_size, what=name) for name in MODELS}
    answered = {name: task.given(given[name], _present(renamed, bundles[name].labels)) for name in MODELS}
    written = task.labels_of(rows)
    now = task.renamed(rows, {label: labels.present(renamed, label) for label in set(written)})
    shared = labels.shared(renamed, champion.labels, challenger.labels)
    return _Told(rows, renamed, given, answered, bags(written, rows.index), now, shared, _all_in(task, now, shared))


def _present(renamed: labels.Renamed, names: Sequence[str]) -> list[str]:
    return [labels.present(renamed, label) for label in names]


def _all_in(task: Task, rows: "pd.DataFrame", known: Sequence[str]) -> np.ndarray:
    """Which rows have no label but those `known`, bool (n,)."""
    labels_of = task.labels_of(rows)
    return ~rows.index.isin(labels_of.index[~labels_of.isin(list(known))])


def _found(
    params: Params,
    level: Level,
    bundles: Mapping[str, Bundle],
    told: _Told,
    old: np.ndarray,
    since: np.ndarray,
    anchor: Anchor | None,
) -> dict[str, Any]:
    """What comparison.compare finds on the rows of shared labels, with the champion's figures `since` and the `anchor`'s."""
    task, shared, on_shared = bundles["challenger"].task, told.shared, told.on_shared
    compared = told.rows[on_shared].reset_index(drop=True)
    now = told.renamed_rows[on_shared].reset_index(drop=True)
    targets = task.targets(now, shared)
    aligned = {
        name: task.aligned(told.given[name][on_shared], _present(told.renamed, bundles[name].labels), shared, targets)
        for name in MODELS
    }
    rows_as_split = compared.drop(columns=[JOINED, RETIRED])
    columns = chosen_columns(rows_as_split, params.slice_columns, task, "promote.slice_columns")
    slices = slices_of(compared, columns, params.max_slice_values)
    before = old[on_shared]
    apart = before if before.any() and not before.all() else None
    found = comparison.compare(params, level.now, task, shared, targets, aligned, slices, apart)
    fresh = since[on_shared]
    found["since"] = _since(params, task, shared, targets[fresh], aligned["champion"][fresh])
    if anchor:
        challenger = aligned["challenger"]
        found["anchor"] = _anchored(params, level.now, anchor, now, told.renamed, shared, challenger)
    return found


def _since(
    params: Params, task: Task, labels: Sequence[str], targets: np.ndarray, answered: np.ndarray
) -> dict[str, float]:
    """{rows, metric: value} of the champion on the rows that joined since; {} when there are fewer than `min_rows`."""
    if len(targets) < params.min_rows:
        return {}
    figures = task.metrics(targets, answered, labels)
    compared = comparison.metrics_of(params, task)
    return {"rows": len(targets), **{metric: round(figures[metric], 6) for metric in compared}}


def _anchored(
    params: Params,
    level: float,
    anchor: Anchor,
    rows: "pd.DataFrame",
    renamed: labels.Renamed,
    shared: Sequence[str],
    challenger: np.ndarray,
) -> dict[str, Any]:
    """{version, rows, figures, why} of the challenger against the anchor, on the compared rows (labels as now) that it has
    not seen and whose labels it can give; without figures, `why` says what is missing."""
    if anchor.bundle is None:
        return {"version": anchor.version, "rows": 0, "figures": {}, "why": anchor.missing}
    known = labels.shared(renamed, shared, anchor.bundle.labels)
    masked = _seen(rows, anchor.seen)
    task = anchor.bundle.task
    kept = _all_in(task, rows, known) & ~(np.zeros(len(rows), bool) if masked is None else masked)
    if len(known) < task.fewest or kept.sum() < params.min_rows:
        why = f"only {int(kept.sum())} rows can be compared with it"
        return {"version": anchor.version, "rows": int(kept.sum()), "figures": {}, "why": why}
    own = task.targets(rows[kept], known)
    texts = rows["text"][kept].tolist()
    given = answers(anchor.bundle, texts, params.batch_size, what="anchor")
    pair = {
        "champion": task.aligned(given, _present(renamed, anchor.bundle.labels), known, own),
        "challenger": task.aligned(challenger[kept], shared, known, own),
    }
    at = comparison.of_margins(params, level)
    figures = comparison.figures(params, at, task, known, own, pair)
    return {"version": anchor.version, "rows": int(kept.sum()), "figures": figures, "why": ""}


def _seen(rows: "pd.DataFrame", record: "pd.DataFrame | None") -> "np.ndarray | None":
    """Which rows are in the record of a model's training, by id or by text in normal form, bool (n,); None: no record."""
    if record is None:
        return None
    hashes = set(record["text_sha256"])
    by_text = np.array([digest in hashes for digest in text_hashes(rows["text"].tolist())], dtype=bool)
    return (rows["id"].astype(str).isin(set(record["id"])) | by_text).to_numpy()


def _answers(told: _Told, task: Task) -> "pd.DataFrame":
    """One row per test row that no model has seen: id, label (its present name), compared, and by model answer and score."""
    import pandas as pd

    present = task.written(told.renamed_rows)
    columns = {"id": told.rows["id"].astype(str), "label": present, "compared": told.on_shared}
    for name in MODELS:
        columns |= {name: told.answered[name], f"{name}_score": task.confidence(told.given[name]).round(6)}
    return pd.DataFrame(columns)
