"""Training, validation and test from one dataset, and the proof that none leaks into another."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.split.assignment import by_time, stratified, timestamps
from components.split.giant import account as account_of_cut
from components.split.giant import cut, leaving, said, were_cut
from components.split.leakage import leaks_into, link_rows, shared_between
from components.split.params import Params
from components.split.rare import asked_and_got, one_group_each, overdrawn, rare_labels
from components.split.shares import label_shares, largest_deviation
from fineline.artifacts import folders
from fineline.process.errors import DataRejected, UsageError
from fineline.rows.dataset import DATA, SPLITS, read_rows, read_splits, row_schema, write_rows
from fineline.tasks import Task, get_task
from fineline.texts.sameness import fold_of

if TYPE_CHECKING:
    import pandas as pd

_TOLD = 10  # points by which a label's share may be off before the line says why
DROPPED, TOO_NEAR = -1, -2
"""In place of a split's number: left by `rare_label`, and left after a group was cut."""


def run(*, params: Params, dataset: Path, splits: Path) -> str:
    """Writes the three splits and split.json to `splits`; gives their sizes in one line.

    The result depends on the rows and not on their order in the file. Raises DataRejected (3) for data that cannot be
    divided, UsageError (2) when a column that the parameters ask for is missing.
    """
    manifest = folders.verify(dataset)
    task = get_task(manifest.task)
    rows = read_rows(dataset / DATA).sort_values("id", ignore_index=True)
    _check(rows, params, task)
    fold = fold_of(manifest)
    parts, account = divide(rows, params, task, fold)
    with folders.output(splits) as folder:
        for name in SPLITS:
            write_rows(parts[name], folder / f"{name}.parquet", row_schema(dataset / DATA))
        account["proof"] = _proof(folder, params, fold, _near_by_design(account))
        folders.write_json(folder / "split.json", account)
        folders.write_manifest(
            folder,
            step="split",
            kind="splits",
            params=params.recorded(),
            inputs={"dataset": dataset},
            figures={
                **{key: account[key] for key in ("rows", "largest_deviation", "groups", "proof")},
                "leaked": account["leaked"]["count"],
                "dropped": account["rare_labels"]["dropped"],
                **({"left_after_cut": len(account["cut"]["left"])} if "cut" in account else {}),
            },
        )
    return _line(account)


def divide(
    rows: "pd.DataFrame", params: Params, task: Task, fold: Collection[str] = ()
) -> "tuple[dict[str, pd.DataFrame], dict[str, Any]]":
    """`rows`, sorted by id, to the rows of each split, and what split.json says of them (all but the proof).

    `fold` says, beside case and spacing, in what texts may differ and be the same (`fineline.texts.sameness.normalise`).
    """
    is_test = rows["split"].eq("test").to_numpy() if "split" in rows else np.zeros(len(rows), dtype=bool)
    test, rest = rows[is_test], rows[~is_test]
    leaked: dict[str, Any] = {}
    if is_test.any():
        leaked = leaks_into(rest, test, params.near_duplicate_threshold, params.use_group, fold)
    names, shares = _asked(params, bool(is_test.any()))
    rest = rest[~rest["id"].isin(list(leaked))].reset_index(drop=True)
    if rest.empty:
        raise DataRejected(
            f"no row is left to train on: all {len(leaked):,} are in the predefined test split too",
            "give a test split of other rows",
        )

    links = link_rows(rest, params.near_duplicate_threshold, params.use_group, fold)
    groups = cut(links, whole := links.groups(), params.max_group_share)
    strata = task.strata(rest).astype(object)  # as dtype=str each would take the longest one's memory
    cut_from = were_cut(whole, groups)
    split, rare, spread, takers = _assigned(rest, groups, cut_from, strata, shares, params)
    leave = leaving(links, split, strata, params.max_cut_loss)
    cut_account = account_of_cut(rest, links, groups, cut_from, split, leave, strata, names)
    split = np.where(leave, TOO_NEAR, split)
    parts = {name: rest[split == number].reset_index(drop=True) for number, name in enumerate(names)}
    if is_test.any():
        parts["test"] = test.reset_index(drop=True)
    _check_parts(parts, task, int(np.bincount(groups).max()), rare, params)
    sizes = np.bincount(groups)
    account = {
        "mode": params.mode,
        "asked": {name: round(share, 6) for name, share in zip(names, shares, strict=True)},
        "predefined_test": bool(is_test.any()),
        "rows": {name: len(parts[name]) for name in SPLITS},
        "labels": label_shares(parts, task),
        "largest_deviation": largest_deviation(strata, split, shares, names, {**rare, **spread}),
        "groups": {"count": len(sizes), "largest": int(sizes.max()), "joined_rows": int(sizes[sizes > 1].sum())},
        "rare_labels": {"policy": params.rare_label, "labels": rare, "dropped": int((split == DROPPED).sum())},
        "leaked": {"count": len(leaked), "rows": leaked},
        **({"spread_labels": spread} if spread else {}),
        **({"takers": takers} if takers else {}),
        **({"cut": cut_account} if cut_account else {}),
    }
    if params.mode == "time":
        times = {name: timestamps(parts[name]) for name in names}
        account["time"] = {name: {"oldest": str(t.min()), "newest": str(t.max())} for name, t in times.items()}
    return parts, account


def _assigned(
    rows: "pd.DataFrame",
    groups: np.ndarray,
    cut_from: np.ndarray,
    strata: "pd.Series",
    shares: Sequence[float],
    params: Params,
) -> tuple[np.ndarray, dict[str, dict[str, int]], dict[str, dict[str, int]], int]:
    """Split number of each row, int64 (n,); the rare labels; those that are spread; and how many others take from training."""
    if params.mode == "time":
        return by_time(groups, timestamps(rows), shares), {}, {}, 0
    labels, of_labels = strata.to_numpy(), groups[strata.index]
    rare = rare_labels(of_labels, labels, len(shares))
    spread, takers = overdrawn(of_labels, labels, shares, params.rare_take)
    keys = _keys(rows, params.use_group)
    return _stratify(groups, cut_from, strata, shares, keys, rare, spread, params), rare, spread, takers


def _asked(params: Params, predefined_test: bool) -> tuple[tuple[str, ...], list[float]]:
    """The splits to fill, and the share of the rows for each; the shares sum to 1."""
    train_share = 1 - params.validation_share - params.test_share
    if predefined_test:
        rest = 1 - params.test_share
        return SPLITS[:2], [train_share / rest, params.validation_share / rest]
    return SPLITS, [train_share, params.validation_share, params.test_share]


def _stratify(
    groups: np.ndarray,
    cut_from: np.ndarray,
    strata: "pd.Series",
    shares: Sequence[float],
    keys: np.ndarray,
    rare: dict[str, dict[str, int]],
    spread: dict[str, dict[str, int]],
    params: Params,
) -> np.ndarray:
    """Split number of each row, or DROPPED, after the policy for the `rare` labels. Those of `spread`, and the rare ones when
    the policy is so, have a group in training each; their other rows are divided as those of one label. Each group that was cut,
    by number in `cut_from` (-1: none), is divided as asked too: a template is tested on as much as it is learned."""
    if rare and params.rare_label == "reject":
        raise DataRejected(
            f"labels in fewer than {len(shares)} groups of rows, too few for every split: {_some(rare)}",
            "label more rows of them, merge them, or set rare_label to train or drop",
        )
    pooled = {**spread, **rare} if params.rare_label == "spread" else spread
    labels, of = strata.to_numpy(), strata.index.to_numpy()
    is_rare, is_pooled = (
        np.fromiter((label in names for label in labels), dtype=bool, count=len(labels)) for names in (rare, pooled)
    )
    kept, fixed = np.ones(len(groups), dtype=bool), np.zeros(len(groups), dtype=bool)
    if params.rare_label == "drop":
        kept[of[is_rare]] = False
    split = np.full(len(groups), DROPPED)
    if not kept.any():
        return split
    numbers = np.unique(labels, return_inverse=True)[1]
    numbers[is_pooled] = -1
    numbers = np.unique(np.stack([cut_from[of], numbers]), axis=1, return_inverse=True)[1]
    fixed[of[is_rare & ~is_pooled]] = True
    fixed |= one_group_each(groups, labels, pooled, of)
    stay = kept[of]
    group_numbers, label_numbers = (np.unique(found, return_inverse=True)[1] for found in (groups[kept], numbers[stay]))
    places = (np.cumsum(kept) - 1)[of[stay]]
    split[kept] = stratified(
        group_numbers, label_numbers, shares, keys[kept].tolist(), params.seed, fixed[kept], places
    )
    return split


def _keys(rows: "pd.DataFrame", use_group: bool) -> np.ndarray:
    """What names each row in every dataset: its group where it has one, else its id; objects (n,)."""
    if use_group and "group" in rows:
        return rows["group"].where(rows["group"].fillna("") != "", rows["id"]).to_numpy(dtype=object)
    return rows["id"].to_numpy(dtype=object)


def _check(rows: "pd.DataFrame", params: Params, task: Task) -> None:
    if twice := rows["id"][rows["id"].duplicated()].unique().tolist():
        raise DataRejected(f"row ids that occur twice: {_some(twice)}", "run ingest again: it makes ids distinct")
    if "split" in rows and (other := sorted(set(rows["split"].dropna()) - {"test", ""})):
        raise DataRejected(f"the column split holds {_some(other)}", "only 'test' or nothing may stand there")
    if params.mode == "time" and "time" not in rows:
        raise UsageError("mode is time, and the dataset has no column time", "name it for ingest, or use stratified")
    if len(labels := task.label_set(rows)) < task.fewest:
        said = f"the label '{labels[0]}'" if labels else "no label"
        raise DataRejected(f"all {len(rows):,} rows have {said}", f"give rows of {task.fewest} labels or more")


def _check_parts(
    parts: "dict[str, pd.DataFrame]", task: Task, largest: int, rare: Collection[str], params: Params
) -> None:
    empty = [name for name in SPLITS if parts[name].empty]
    if empty and rare and largest == 1 and params.rare_label != "spread":
        raise DataRejected(
            f"{' and '.join(empty)} would have no rows: {len(rare):,} labels have fewer rows than there are splits to fill "
            f"(split.rare_label: {params.rare_label}), such as {_some(rare)}",
            "label more rows of them, merge them, or set rare_label: spread; where nearly every row has a label of its own, text "
            "and label may be swapped",
        )
    if empty:
        raise DataRejected(
            f"{' and '.join(empty)} would have no rows; the largest group of rows that stay together has {largest:,}",
            "give more rows, larger shares, a higher near_duplicate_threshold, or use_group: false",
        )
    known = set(task.label_set(parts["train"]))
    for name in ("test", "validation"):
        if unknown := sorted(set(task.label_set(parts[name])) - known):
            raise DataRejected(
                f"labels that occur in {name} and not in training: {_some(unknown)}",
                "a model cannot learn them: give rows of them to train on, or take them out",
            )


def _near_by_design(account: dict[str, Any]) -> int:
    """Pairs of near-duplicates on two sides: of labels that would lose too many rows without them."""
    return account["cut"]["near_another_side"]["pairs"] if "cut" in account else 0


def _proof(folder: Path, params: Params, fold: Collection[str] = (), near_by_design: int = 0) -> dict[str, Any]:
    """Counts anew, from the written files, what lies on two sides. Anything but 0, or the pairs known, is a bug of this step."""
    proof = shared_between(read_splits(folder), params.near_duplicate_threshold, params.use_group, fold)
    if proof["shared_texts"] or proof["shared_groups"] or proof["near_duplicate_pairs"] != near_by_design:
        raise RuntimeError(f"the splits leak, which must not happen: {proof}")
    return proof


def _line(account: dict[str, Any]) -> str:
    rows, worst = account["rows"], account["largest_deviation"]
    line = ", ".join(f"{name} {rows[name]:,}" for name in SPLITS) + " rows"
    if worst["label"]:
        line += f", label shares within {worst['points']:.1f} points"
    if worst["points"] > _TOLD and worst["rows"] > 1:
        line += (
            f" ({worst['label']}: asked {worst['asked']:.1%} in {worst['split']}, got {worst['share']:.1%}, because "
        )
        line += f"rows stay together, {account['groups']['largest']:,} at most{', or left' * ('cut' in account)})"
    line += f", {account['groups']['joined_rows']:,} rows kept together"
    if account["leaked"]["count"]:
        line += f", {account['leaked']['count']:,} removed that leaked into the test"
    if "cut" in account:
        line += f"; {said(account['cut'])}"
    if reason := asked_and_got(account, len(account["labels"])):
        line += f"; {reason}"
    if "spread_labels" in account:
        line += f", {len(account['spread_labels']):,} labels of few rows spread over the splits"
    if account["rare_labels"]["labels"]:
        line += f", {len(account['rare_labels']['labels']):,} rare labels ({account['rare_labels']['policy']})"
    return line


def _some(values: Collection[str]) -> str:
    names = sorted(values)
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
