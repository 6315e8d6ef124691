"""The training split with new rows for its rare labels; validation and test as they came."""

import dataclasses
import functools
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from components.augment.contextual import open_masked_model, substituted
from components.augment.eda import EDA, Lexicon, read_lexicon
from components.augment.growth import Maker, NewRow, grow, targets_of
from components.augment.params import Params
from fineline.artifacts import folders
from fineline.rows.dataset import SPLITS, read_splits, row_schema, write_rows
from fineline.tasks import get_task
from fineline.tasks.parts import bags
from fineline.texts.sameness import fold_of

if TYPE_CHECKING:
    import pandas as pd

_NEEDS_LEXICON = {"insert", "synonym"}
_COPIED = (*(f"{name}.parquet" for name in SPLITS), "split.json")


def run(*, params: Params, splits: Path, augmented: Path) -> str:
    """Writes the splits, with more training rows where `params` ask for them, and augment.json to `augmented`.

    Raises UsageError (2) for a lexicon or a model that cannot be used.
    """
    manifest = folders.verify(splits)
    task = get_task(manifest.task)
    parts = read_splits(splits)
    train = parts["train"]
    strata = task.strata(train)
    labels = bags(strata, train.index)
    before = dict(sorted(Counter(strata).items()))
    account: dict[str, Any] = {"enabled": params.enabled, "methods": {}, "sources": {}}
    new: list[NewRow] = []
    if params.enabled:
        makers, account["sources"] = _makers(params)
        new, counts = grow(
            train["id"].tolist(),
            train["text"].tolist(),
            labels,
            [text for name in SPLITS[1:] for text in parts[name]["text"]],
            targets=targets_of(before, params.target_share),
            makers=makers,
            max_new_per_row=params.max_new_per_row,
            threshold=params.near_duplicate_threshold,
            seed=params.seed,
            fold=fold_of(manifest),
        )
        account["methods"] = {method: dataclasses.asdict(count) for method, count in counts.items()}
    targets = targets_of(before, params.target_share) if params.enabled else before
    made = Counter(label for row in new for label in labels[row.parent])
    account["labels"] = {
        label: {"before": rows, "target": targets[label], "after": rows + made[label]} for label, rows in before.items()
    }
    account["rows"] = {"before": len(train), "after": len(train) + len(new)}
    with folders.output(augmented) as folder:
        for name in _COPIED:
            shutil.copyfile(splits / name, folder / name)
        if new:
            _write_grown(train, new, splits / "train.parquet", folder / "train.parquet")
        folders.write_json(folder / "augment.json", account)
        folders.write_manifest(
            folder,
            step="augment",
            kind="splits",
            params=params.recorded(),
            inputs={"splits": splits},
            figures={key: account[key] for key in ("enabled", "rows", "methods", "sources")},
        )
    return _line(account)


def _makers(params: Params) -> tuple[dict[str, Maker], dict[str, str]]:
    """The function of each method, and the digests of what they draw words from."""
    makers: dict[str, Maker] = {}
    sources = {}
    lexicon: Lexicon = {}
    if _NEEDS_LEXICON & set(params.methods):
        lexicon = read_lexicon(Path(params.lexicon))
        sources["lexicon"] = "sha256:" + folders.sha256_file(Path(params.lexicon))
    for method in params.methods:
        if method == "contextual":
            masked = open_masked_model(params.contextual_model, params.contextual_revision)
            weights = sorted(masked.folder.glob("*.safetensors"))
            sources["contextual"] = folders.digest_of({p.name: {"sha256": folders.sha256_file(p)} for p in weights})
            makers[method] = functools.partial(substituted, masked, params.change_share, params.top_k)
        else:
            makers[method] = functools.partial(_one_by_one, EDA[method], params.change_share, lexicon)
    return makers, sources


def _one_by_one(
    change: Callable[[str, float, Lexicon, Random], str],
    change_share: float,
    lexicon: Lexicon,
    texts: Sequence[str],
    rngs: Sequence[Random],
) -> list[str]:
    return [change(text, change_share, lexicon, rng) for text, rng in zip(texts, rngs, strict=True)]


def _write_grown(train: "pd.DataFrame", new: list[NewRow], source: Path, target: Path) -> None:
    """The rows of `train` as they were, then the new ones: their parent's columns, but id, text, parent_id and method."""
    import pandas as pd
    import pyarrow as pa

    schema = row_schema(source)
    for name in ("parent_id", "method"):
        if name not in schema.names:
            schema = schema.append(pa.field(name, pa.string()))
    copies = train.iloc[[row.parent for row in new]].assign(
        parent_id=lambda rows: rows["id"], id=[row.id for row in new], text=[row.text for row in new]
    )
    copies["method"] = [row.method for row in new]
    write_rows(pd.concat([train, copies], ignore_index=True).reindex(columns=schema.names), target, schema)


def _line(account: dict[str, Any]) -> str:
    rows = account["rows"]
    if not account["enabled"]:
        return f"off, {rows['before']:,} training rows passed through"
    grown = sum(label["after"] > label["before"] for label in account["labels"].values())
    dropped = sum(method["near_held_out"] for method in account["methods"].values())
    return (
        f"training rows {rows['before']:,} -> {rows['after']:,}, {grown} of {len(account['labels'])} labels grown, "
        f"{dropped:,} new rows dropped that were near validation or test"
    )
