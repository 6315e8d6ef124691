"""The checks in order, what leaves because of them, and what is written."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.data_quality import duplicates, expectations, labels, texts, tokens, twins
from components.data_quality.check import EXAMPLES, Check, leaving
from components.data_quality.params import Params
from components.data_quality.personal import mask, mask_columns
from components.data_quality.suites import suite_file, validation_file
from fineline.artifacts import folders
from fineline.process.errors import DataRejected
from fineline.rows.dataset import DATA, own_columns, read_rows, row_schema, write_rows
from fineline.tasks import Task, get_task

if TYPE_CHECKING:
    import pandas as pd

SUITE, VALIDATION = "suite.json", "validation.json"
"""What was asked by Great Expectations, and what came of it: its own files."""
REASON = "reason"
"""Column of quarantine.parquet that says why a row left."""

# Texts and labels are repaired and masked before they are compared, and sets are measured on the rows that are left.
_CHECKS = (
    texts.check_mojibake,
    texts.clean_texts,
    twins.check_label_twins,
    expectations.check_rows,
    texts.check_personal_data,
    labels.check_agreement,
    duplicates.check_conflicts,
    duplicates.check_duplicates,
    duplicates.check_near_duplicates,
    tokens.check_tokens,
    labels.check_label_errors,
    expectations.check_labels,
    labels.check_small_labels,
    labels.check_balance,
    expectations.check_size,
)


@dataclasses.dataclass(frozen=True)
class Inspection:
    """`rows` are those that stay, `reasons` the checks because of which each other row left, by its index label."""

    rows: "pd.DataFrame"
    checks: list[Check]
    reasons: dict[int, list[str]]

    def left_by(self, check: Check) -> int:
        """Rows that left because of that check (and perhaps of others too)."""
        return sum(check.name in names for names in self.reasons.values())


def run(*, params: Params, dataset: Path, clean: Path, quality: Path) -> str:
    """Checks the rows of `dataset`; writes what stays to `clean` and what was found to `quality`.

    Raises DataRejected, after writing `quality` and without writing `clean`, when a check of severity reject fails, no row
    is left, or fewer than two classes are.
    """
    manifest = folders.verify(dataset)
    task = get_task(manifest.task)
    came, schema = read_rows(dataset / DATA), row_schema(dataset / DATA)
    if params.mask:
        came = mask_columns(came, own_columns(task))
    inspection = inspect(came, task, params)
    rejecting = [check for check in inspection.checks if check.rejects]
    warnings = sum(not check.passed and check.severity == "warn" for check in inspection.checks)
    figures = {"rows_in": len(came), "rows": len(inspection.rows), "quarantined": len(inspection.reasons)}
    common: dict[str, Any] = {
        "step": "data_quality",
        "params": params.recorded(),
        "inputs": {"dataset": dataset},
        "figures": {**figures, "warnings": warnings},
    }
    with folders.output(quality) as folder:
        _write_quality(folder, came, inspection, task, params, schema)
        folders.write_manifest(folder, kind="quality", **common)
    report = quality / folders.REPORT
    if rejecting:
        reasons = "; ".join(f"{check.name} ({_compared(check)})" for check in rejecting)
        raise DataRejected(
            f"the dataset is rejected by {len(rejecting)} check{'s' * (len(rejecting) > 1)}: {reasons}",
            f"read {report}, then correct the source, or the bounds and severities of data_quality in the parameters",
        )
    with folders.output(clean) as folder:
        write_rows(inspection.rows, folder / DATA, schema)
        folders.write_manifest(folder, kind="dataset", **common)
    return (
        f"{len(inspection.rows):,} of {len(came):,} rows stay, {len(inspection.reasons):,} in quarantine, "
        f"{warnings} warning{'s' * (warnings != 1)}; {report}"
    )


def inspect(rows: "pd.DataFrame", task: Task, params: Params) -> Inspection:
    """Every check in order, each on the rows that the ones before it left. `rows` has the index 0 to n - 1."""
    checks: list[Check] = []
    reasons: dict[int, list[str]] = {}
    for examine in _CHECKS:
        rows, found = examine(rows, task, params)
        checks += found
        for check in found:
            for row in leaving(check, rows):
                reasons.setdefault(row, []).append(check.name)
        rows = rows.drop(index=[row for row in rows.index if row in reasons])
        if rows.empty:
            checks.append(Check("rows_left", "reject", "a row is left", False, 0, 1))
            break
    return Inspection(rows, checks, reasons)


def _write_quality(
    folder: Path, came: "pd.DataFrame", inspection: Inspection, task: Task, params: Params, schema: Any
) -> None:
    import pyarrow as pa

    from components.data_quality.report import render

    reasons = inspection.reasons
    left = came.loc[sorted(reasons)]
    if params.mask:
        left = left.assign(text=left["text"].map(lambda text: mask(text)[0], na_action="ignore"))
    name = REASON
    while name in left:  # a kept column may be called so
        name = f"quarantine_{name}"
    left = left.assign(**{name: ["; ".join(reasons[row]) for row in left.index]})
    write_rows(left, folder / "quarantine.parquet", schema.append(pa.field(name, pa.string())))
    summary = summarise(came, inspection, task)
    folders.write_json(folder / "quality.json", summary)
    folders.write_json(folder / SUITE, suite_file(inspection.checks))
    folders.write_json(folder / VALIDATION, validation_file(inspection.checks))
    (folder / folders.REPORT).write_text(
        render(summary, came, inspection.rows, reasons, task, params), encoding="utf-8"
    )


def summarise(came: "pd.DataFrame", inspection: Inspection, task: Task) -> dict[str, Any]:
    """What quality.json holds: counts, each check, and the set of labels that is left."""
    counts = task.strata(inspection.rows).value_counts()
    ids = came["id"]
    return {
        "rows_in": len(came),
        "rows_out": len(inspection.rows),
        "quarantined": len(inspection.reasons),
        "rejected": any(check.rejects for check in inspection.checks),
        "labels": {str(label): int(count) for label, count in counts.items()},
        "imbalance_ratio": float(counts.max() / counts.min()) if len(counts) else None,
        "scripts": texts.scripts(inspection.rows["text"]),
        "checks": [
            {
                "name": check.name,
                "severity": check.severity,
                "says": check.says,
                "passed": check.passed,
                "outcome": _outcome(check),
                "figure": check.figure,
                "bound": check.bound,
                "rows": len(check.rows),
                "left": inspection.left_by(check),
                "examples": [ids[row] for row in check.rows[:EXAMPLES]],
                "details": check.details,
            }
            for check in inspection.checks
        ],
    }


def _outcome(check: Check) -> str:
    if not check.passed:
        return {"reject": "rejected", "quarantine": "quarantined", "warn": "warning"}[check.severity]
    return next((word for word in ("repaired", "masked") if check.details.get(word)), "passed")


def _compared(check: Check) -> str:
    return f"{check.figure:.4g}, bound {check.bound:g}: {check.says}"
