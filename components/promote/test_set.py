"""The frozen test set of a registered model: on its rows champion and challenger meet. It only grows, and lies in MLflow.

Rows join by id. A row that comes again with another label or text takes the place of the old one, which stays in the file
as retired, with the reason. Each state of the set is a file, in the run of the ledger and in the archive, and a line of
the series `test_set` there, written once: of two processes that add rows the second adds to what the first left.
"""

import datetime
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fineline.artifacts import folders
from fineline.registry import archive, ledger
from fineline.registry.test_set import RETIRED, SERIES, fetch, newest
from fineline.registry.training_rows import text_hashes
from fineline.rows.dataset import schema, write_rows
from fineline.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

JOINED = "joined"

_NOT_KEPT = ("split", "parent_id", "annotators", "method")


def active(rows: "pd.DataFrame") -> "pd.DataFrame":
    """The rows that are judged on: those that are not retired."""
    return rows[rows[RETIRED] == ""].reset_index(drop=True)


def others(rows: "pd.DataFrame", by: str) -> np.ndarray:
    """Which rows did not join from where `by` says, bool (n,)."""
    return (rows[JOINED] != by).to_numpy(dtype=bool)


def joined_since(server: Any, name: str, rows: "pd.DataFrame", digest: str) -> np.ndarray:
    """Which rows joined after the state with sha256 `digest`, bool (n,); none when there is no such state."""
    states = ledger.entries(server, ledger.run_of(server, name), SERIES)
    until = next((number for number, state in enumerate(states) if state["digest"] == digest), len(states))
    known = {state["by"] for state in states[: until + 1]}
    return ~rows[JOINED].isin(known).to_numpy(dtype=bool)


def join(
    server: Any, name: str, task: Task, rows: "pd.DataFrame", by: str
) -> "tuple[pd.DataFrame, dict[str, Any], dict[str, int]]":
    """Adds `rows` to the set and freezes it; gives all of its rows, the state's entry, and what `grown` counted.

    `by` says for people where the rows come from. Nothing new leaves the state as it is.
    """
    run_id = ledger.run_of(server, name)
    while True:
        before = newest(server, name)
        frozen = fetch(server, name, before) if before else None
        merged, counts = grown(frozen, rows, task.columns, by)
        if before and not counts["joined"]:
            return merged, before, counts
        with tempfile.TemporaryDirectory(prefix="fineline-") as folder:
            path = Path(folder) / "test_set.parquet"
            known = {"id", "text", *task.columns}
            write_rows(merged, path, schema(task, keep=[str(column) for column in merged if column not in known]))
            digest = folders.sha256_file(path)
            path = path.rename(path.with_name(f"{digest[:16]}.parquet"))
            archive.keep(server, name, run_id, path, SERIES)
        entry = {
            "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "digest": digest,
            "run": run_id,
            "path": f"{SERIES}/{path.name}",
            "rows": len(active(merged)),
            "retired": int((merged[RETIRED] != "").sum()),
            "joined": counts["joined"],
            "by": by,
        }
        number = before["number"] + 1 if before else 1
        if ledger.append(server, run_id, SERIES, number, entry):
            ledger.mirror(server, name)
            server.set_registered_model_tag(name, f"{SERIES}.digest", digest)
            server.set_registered_model_tag(name, f"{SERIES}.run", run_id)
            return merged, {"number": number, **entry}, counts


def grown(
    frozen: "pd.DataFrame | None", rows: "pd.DataFrame", targets: list[str], by: str
) -> "tuple[pd.DataFrame, dict[str, int]]":
    """`frozen` with the new ones of `rows` at its end, and {joined, known, retired}.

    `targets` are the task's label columns. A row is known when its id is there with the same text and labels, or its text
    (in normal form) is there with the same labels under another id. A row with an id or a text that is there with
    something else joins, and the one that was there retires: the newer label is what the team believes now.
    """
    import pandas as pd

    kept = [column for column in rows if column not in _NOT_KEPT]
    fresh = rows[kept].assign(**{JOINED: by, RETIRED: ""}).astype({"id": str})
    frozen = fresh.head(0) if frozen is None else frozen.copy()
    content = _content(frozen, targets)
    alive = [i for i, reason in enumerate(frozen[RETIRED]) if not reason]
    by_id = {frozen["id"].iloc[i]: i for i in alive}
    by_text = {content[i][0]: i for i in alive}
    reasons: dict[int, str] = {}
    joining = []
    for number, (identity, (text, *labels)) in enumerate(zip(fresh["id"], _content(fresh, targets), strict=True)):
        there = {
            index for index in (by_id.get(identity), by_text.get(text)) if index is not None and index not in reasons
        }
        if any(content[index] == (text, *labels) for index in there):
            continue
        reasons |= dict.fromkeys(there, f"another text or label since {by}")
        joining.append(number)
        by_id[identity] = by_text[text] = len(frozen) + len(joining) - 1
        content.append((text, *labels))
    merged = pd.concat([frozen, fresh.iloc[joining]], ignore_index=True)
    for index, reason in reasons.items():
        merged.loc[index, RETIRED] = reason
    return merged, {"joined": len(joining), "known": len(rows) - len(joining), "retired": len(reasons)}


def _content(rows: "pd.DataFrame", targets: list[str]) -> list[tuple[str, ...]]:
    """(hash of the text, labels) of each row."""
    columns = [text_hashes(rows["text"].tolist()), *(rows[column].astype(str).tolist() for column in targets)]
    return list(zip(*columns, strict=True))
