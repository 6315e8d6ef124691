"""monitor: recent texts against the reference in the bundle that serves."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.monitor import drift as drifting
from components.monitor import page, quality, recent
from components.monitor.params import Params
from components.monitor.recent import Recent
from fineline.artifacts import folders
from fineline.bundles import reference
from fineline.bundles.bundle import open_bundle, predict
from fineline.bundles.reference import SLICE, Features
from fineline.process.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

DRIFT = "drift.json"
ACCURACIES = ("accuracy_estimated", "accuracy_counted")

_LEAST_AGREEMENT = 0.9


def run(*, params: Params, bundle: Path, drift: Path) -> str:
    """Writes drift.json and report.html; gives the verdict: drift, no drift, or too few rows to say.

    Raises UsageError when the bundle keeps no reference or the source is not there, DataRejected when it cannot be read.
    """
    manifest = folders.verify(bundle)
    if manifest.kind != "bundle":
        raise UsageError(f"{bundle} is a {manifest.kind}, not a bundle", "give the output of quantize to --bundle")
    kept = reference.read(bundle)
    found = recent.read(params, _slice_columns(kept))
    content = _what_was_read(params, kept, found)
    if params.feedback:
        content["accuracy_counted"] = _counted(params, bundle)
    with folders.output(drift) as folder:
        if min(len(found.rows), len(kept.rows)) < params.min_rows:
            html = _too_few(params, content)
        else:
            html = _compared(params, bundle, kept, found, content)
        folders.write_json(folder / DRIFT, content)
        (folder / folders.REPORT).write_text(html, encoding="utf-8")
        folders.write_manifest(
            folder,
            step="monitor",
            kind="drift",
            params=params.recorded(),
            inputs={"bundle": bundle},
            figures=_figures(content),
        )
    return f"{content['verdict']}: {content['reason']}"


def _slice_columns(kept: Features) -> list[str]:
    """The columns by which the reference tells rows apart."""
    return [str(name).removeprefix(SLICE) for name in kept.rows if str(name).startswith(SLICE)]


def _what_was_read(params: Params, kept: Features, found: Recent) -> dict[str, Any]:
    """What drift.json says of the rows, before anything is compared."""
    texts = found.rows["text"].tolist()
    return {
        "rows": len(texts),
        "reference_rows": len(kept.rows),
        "read": found.read,
        "empty": found.empty,
        "bad": found.bad,
        "first_bad": found.first_bad,
        "older": found.older,
        "repeated": found.repeated,
        "left_out": list(found.left_out),
        "answers": params.predictions,
        "version": found.version,
        "columns_not_in_source": [name for name in _slice_columns(kept) if name not in found.rows],
        "texts_sha256": hashlib.sha256("\0".join(texts).encode()).hexdigest(),
    }


def _counted(params: Params, bundle: Path) -> dict[str, Any] | None:
    """How often the bundle is right on the texts that have labels; None when there is none of them."""
    rows = recent.labelled(params)
    if rows.empty:
        return None
    opened = open_bundle(bundle, threads=1)
    given = [opened.task.brief(answer)[0] for answer in predict(opened, rows["text"].tolist())]
    return quality.counted(np.array(given, dtype=object) == rows["label"].to_numpy(dtype=object))


def _too_few(params: Params, content: dict[str, Any]) -> str:
    """Adds to `content` that nothing can be said; gives the page."""
    rows, needed = (
        f"{content['rows']:,} recent and {content['reference_rows']:,} rows of the reference",
        params.min_rows,
    )
    old = f"; {content['older']:,} more are not of the newest {params.window_days:g} days" if content["older"] else ""
    content |= {"verdict": drifting.TOO_FEW, "reason": f"{rows}, {needed:,} of each needed{old}", "tests": []}
    return page.render(content)


def _compared(params: Params, bundle: Path, kept: Features, found: Recent, content: dict[str, Any]) -> str:
    """Adds to `content` how the recent rows differ from the reference, and the verdict; gives the page."""
    opened = open_bundle(bundle, threads=1)
    texts = found.rows["text"].tolist()
    slices = found.rows[[name for name in _slice_columns(kept) if name in found.rows]]
    now = reference.features(opened, texts, slices, what="monitor")
    if params.predictions == "logged":
        now, content["agreement"] = _as_logged(now, found.rows)
    content["accuracy_estimated"] = quality.estimated(now.rows["score"].to_numpy())
    findings = drifting.compare(params, kept, now)
    content["verdict"], content["reason"] = drifting.verdict(params, findings.tests)
    content["tests"] = findings.tests
    content["tokens"] = [
        {
            "token": opened.tokenizer.id_to_token(token),
            "p": float(f"{p:.3g}"),
            "difference": round(difference, 6),
        }
        for token, p, difference in findings.tokens[:30]
    ]
    bags = [[opened.task.named(line) for line in part.rows["label"]] for part in (kept, now)]
    content["labels"] = {
        label: [round(float(np.mean([label in bag for bag in of])), 6) for of in bags] for label in opened.labels
    }
    order = np.argsort(-findings.unlike, kind="stable")[:10]
    return page.render(content, kept, now, [texts[i] for i in order])


def _figures(content: dict[str, Any]) -> dict[str, Any]:
    """The main figures, for the manifest."""
    return {
        "verdict": content["verdict"],
        "drifted": content["verdict"] == drifting.DRIFT,
        "enough": content["verdict"] != drifting.TOO_FEW,
        "p": min((test["adjusted"] for test in content["tests"]), default=1.0),
        "effect": max((test["effect"] for test in content["tests"] if not test["slice"]), default=0.0),
        "rows": content["rows"],
        **{name: content[name]["accuracy"] for name in ACCURACIES if content.get(name)},
        "reason": content["reason"],
        "texts_sha256": content["texts_sha256"],
    }


def _as_logged(computed: Features, rows: "pd.DataFrame") -> tuple[Features, float]:
    """The features with the answers that were served, and the share of rows for which the bundle gives the same label.

    Raises UsageError when that share says that another model answered: its answers would differ without any drift.
    """
    agreement = float((rows["label"].astype(str).to_numpy() == computed.rows["label"].to_numpy()).mean())
    if agreement < _LEAST_AGREEMENT:
        raise UsageError(
            f"the bundle gives {agreement:.0%} of the labels in the log: another model answered there",
            "give the log of the model in --bundle, or set monitor.predictions to computed",
        )
    served = computed.rows.assign(
        label=rows["label"].astype(str).to_numpy(), score=rows["score"].to_numpy(dtype=np.float32)
    )
    return Features(served, computed.embedding, computed.tokens), round(agreement, 6)
