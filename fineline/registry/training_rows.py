"""Which rows a version has seen, kept with it in its run: no later comparison may judge on them. Ids and hashes, no texts."""

import hashlib
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fineline.registry import archive, model_versions
from fineline.registry.ledger import has_version
from fineline.rows.dataset import read_rows, read_splits, write_rows
from fineline.texts.sameness import normalise

if TYPE_CHECKING:
    import pandas as pd

FILE = "training_rows.parquet"
"""Artifact of a version's run, with columns id, text_sha256 and split (train or validation)."""
TAG = "training_rows"
"""Tag of a version: the sha256 of that file."""

ORIGIN = "fineline.init_from"
"""Tag of a run: the version that its training went on from, models:/NAME/VERSION."""

_VERSION = re.compile(r"models:/(?P<name>[^/@]+)/(?P<version>[0-9]+)")


def write(server: Any, name: str, run_id: str, splits: Path) -> str:
    """Keeps the training and validation rows of `splits` in the run, for a version of `name`; gives the file's sha256.

    An augmented row also stands for the row that it was made from. A model that went on from a registered version has seen
    what that one had seen.
    """
    import pandas as pd

    rows = read_splits(splits)
    seen = pd.concat([rows[name].assign(split=name) for name in ("train", "validation")], ignore_index=True)
    seen["text_sha256"] = text_hashes(seen["text"].tolist())
    kept = seen[["id", "text_sha256", "split"]]
    if "parent_id" in seen:
        parents = seen.loc[seen["parent_id"].notna(), ["parent_id", "text_sha256", "split"]]
        kept = pd.concat([kept, parents.rename(columns={"parent_id": "id"})], ignore_index=True)
    with tempfile.TemporaryDirectory(prefix="fineline-") as folder:
        if before := _before(server, run_id, Path(folder) / "before"):
            kept = pd.concat([kept, *before], ignore_index=True)
        path = Path(folder) / FILE
        write_rows(kept.drop_duplicates(ignore_index=True), path)
        model_versions.create_model(server, name)
        return archive.keep(server, name, run_id, path)


def read(server: Any, version: Any, folder: Path) -> "pd.DataFrame | None":
    """The rows that a model version (as MLflow gives it) has seen, or None when it keeps no record."""
    if TAG not in version.tags:
        return None
    return read_rows(archive.fetch(server, version.name, version.run_id, FILE, version.tags[TAG], folder))


def _before(server: Any, run_id: str, folder: Path) -> "list[pd.DataFrame]":
    """The record of the version that the run's training went on from, if there is one."""
    match = _VERSION.fullmatch(server.get_run(run_id).data.tags.get(ORIGIN, ""))
    if not match:
        return []
    name, version = match["name"], int(match["version"])
    folder.mkdir()
    record = (
        read(server, server.get_model_version(name, str(version)), folder)
        if has_version(server, name, version)
        else None
    )
    if record is None:
        print(
            f"register: what models:/{name}/{version} had seen is not recorded; test rows may be among it",
            file=sys.stderr,
        )
        return []
    return [record]


def text_hashes(texts: Sequence[str]) -> list[str]:
    """sha256 (hex) of the normal form of each text, so that the same text in other case or spacing is found again."""
    return [hashlib.sha256(normalise(text).encode()).hexdigest() for text in texts]
