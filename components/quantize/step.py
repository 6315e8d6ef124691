"""quantize: candidates of lower precision, each judged on the whole validation split, and the one that ships."""

import dataclasses
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.quantize import candidates, speed
from components.quantize.candidates import FP32, Candidate
from components.quantize.params import Params
from fineline.artifacts import folders
from fineline.bundles import reference
from fineline.bundles.bundle import CONFIG, TOKENIZER, golden, model_files, open_bundle
from fineline.process.errors import UsageError
from fineline.rows.dataset import chosen_columns, read_splits
from fineline.tasks import Task, get_task
from fineline.tasks.parts import UNCALIBRATED, Calibration
from fineline.tracking.journal import go_on

if TYPE_CHECKING:
    import pandas as pd

_AS_FAST = 1.1  # latencies within 10 % count as one: runs of the same graph differ by more
_REASONS_SHOWN = 3
_DIGITS = 6
_ROWS_TO_CALIBRATE = 20  # a number fitted on n rows costs 1/(2n) of log-loss on others (Akaike 1974)
_REFERENCE_SEED = 1


@dataclasses.dataclass(frozen=True)
class Choice:
    """The candidate `name` ships for `reason`, of those `found`; `times` has the speed of each, `skipped` why others are none."""

    name: str
    reason: str
    found: Mapping[str, Candidate]
    skipped: Mapping[str, str]
    times: Mapping[str, Mapping[str, float]]

    @property
    def chosen(self) -> Candidate:
        return self.found[self.name]


def run(*, params: Params, onnx: Path, splits: Path, bundle: Path) -> str:
    """Writes the bundle that ships, which may be the fp32 one of `onnx`, quantize.json, which says why, and the reference
    with which monitor compares recent texts.

    Raises UsageError when `onnx` is no fp32 bundle or was not made with `splits`.
    """
    config = _config(onnx, splits)
    task, labels = get_task(config["task"]), config["labels"]
    parts = read_splits(splits)
    rows = parts["validation"]
    held_out = _held_out(params, rows, parts["test"])
    columns = chosen_columns(held_out, params.reference_columns, task, "quantize.reference_columns")
    texts, targets = rows["text"].tolist(), task.targets(rows, labels)
    with folders.output(bundle) as folder:
        work = folder / "candidates"
        work.mkdir()
        choice = _choice(params, onnx, texts, targets, work)
        outputs = choice.chosen.logits
        fitted = {**UNCALIBRATED, **task.decide(outputs, targets)}
        if params.calibrate and _enough(len(targets)):
            fitted |= task.calibrate(outputs, targets)
        calibrated = task.metrics(targets, task.answers(outputs, fitted), labels)
        _ship(choice.chosen, fitted, params, folder)
        _write_reference(held_out, columns, folder)
        shutil.rmtree(work)
        account = _account(choice, params, len(texts), fitted, calibrated)
        folders.write_json(folder / "quantize.json", account)
        folders.write_json(folder / folders.MEASUREMENTS, _measurements(choice, params, len(texts)))
        figures = _figures(choice, task, fitted)
        _track(onnx, folder, figures, choice.times[choice.name])
        folders.write_manifest(
            folder,
            step="quantize",
            kind="bundle",
            params=params.recorded(),
            inputs={"onnx": onnx, "splits": splits},
            figures=figures,
        )
    return _summary(choice, task)


def choose(select: str, figures: Mapping[str, Mapping[str, Any]], latencies: Mapping[str, float]) -> tuple[str, str]:
    """(name of the candidate that ships, why in one sentence).

    `figures` are those of quantize.json by candidate, fp32 among them, which no margin refuses; `latencies` are medians
    for one text, in ms. The fastest is the smallest of those whose latency is within 10 % of the least.
    """
    inside = [name for name in figures if not figures[name]["violations"]]
    refused = [name for name in figures if name not in inside]
    if select == "fastest":
        least = min(latencies[name] for name in inside)
        pool = [name for name in inside if latencies[name] <= _AS_FAST * least]
    else:
        pool = inside
    chosen = min(pool, key=lambda name: (figures[name]["bytes"], name))
    why = "; ".join(f"{name}: {_shortened(figures[name]['violations'])}" for name in refused)
    if len(inside) > 1:
        reason = f"{chosen} ships: the {select} of {' and '.join(inside)}, which stay inside the margins"
        return chosen, f"{reason} (refused: {why})" if refused else reason
    if refused:
        return chosen, f"{chosen} ships: nothing else stays inside the margins ({why})"
    return chosen, f"{chosen} ships: there is no other candidate"


def _choice(params: Params, onnx: Path, texts: Sequence[str], targets: np.ndarray, work: Path) -> Choice:
    """Makes the candidates in the empty folder `work`, judges and times them, and chooses."""
    found, skipped = candidates.find(params, onnx, texts, targets, work)
    times = speed.measure(
        {name: candidate.bundle for name, candidate in found.items()},
        speed.spread(texts, params.speed_texts),
        params.speed_rounds,
        params.batch_size,
    )
    name, reason = choose(
        params.select,
        {name: candidate.figures for name, candidate in found.items()},
        {name: measured["p50_ms"] for name, measured in times.items()},
    )
    return Choice(name, reason, found, skipped, times)


def _config(onnx: Path, splits: Path) -> dict[str, Any]:
    """bundle.json of the fp32 bundle `onnx`, once both inputs are what they should be."""
    manifest, rows = folders.verify(onnx), folders.verify(splits)
    if manifest.kind != "bundle" or CONFIG not in manifest.files:
        raise UsageError(f"{onnx} is a {manifest.kind}, not a bundle", "give the output of export_onnx to --onnx")
    config = json.loads((onnx / CONFIG).read_text(encoding="utf-8"))
    if config["precision"] != FP32:
        raise UsageError(f"{onnx} is {config['precision']} already", "give the output of export_onnx to --onnx")
    if rows.digest not in {entry["digest"] for entry in manifest.ancestors}:
        raise UsageError(
            f"{onnx} was not made with the splits {splits}: its model may have learned from their validation rows",
            "give --splits the artifact that train and export_onnx were given",
        )
    return config


def _held_out(params: Params, validation: "pd.DataFrame", test: "pd.DataFrame") -> "pd.DataFrame":
    """The rows that the reference is made of."""
    import pandas as pd

    rows = pd.concat([validation, test], ignore_index=True)
    if len(rows) <= params.reference_rows:
        return rows
    return rows.sample(params.reference_rows, random_state=_REFERENCE_SEED).sort_index()


def _enough(rows: int) -> bool:
    """Whether so many validation rows are enough to calibrate with; says so where they are not."""
    if rows < _ROWS_TO_CALIBRATE:
        print(
            f"quantize: {rows} validation rows are too few to calibrate the probabilities with ({_ROWS_TO_CALIBRATE} are "
            "needed): they stay as the model gives them",
            file=sys.stderr,
        )
    return rows >= _ROWS_TO_CALIBRATE


def _ship(chosen: Candidate, fitted: Calibration, params: Params, folder: Path) -> None:
    """Writes the bundle of the candidate into `folder`, with what was fitted and its golden outputs."""
    source, config = chosen.bundle.folder, {**chosen.bundle.config, **fitted}
    for path in [*model_files(source), source / TOKENIZER]:
        shutil.copyfile(path, folder / path.name)
    if config["precision"] != FP32:
        config["golden_tolerance"] = params.golden_tolerance
    folders.write_json(folder / CONFIG, config)
    folders.write_json(folder / CONFIG, {**config, "golden": golden(open_bundle(folder, params.threads))})


def _write_reference(rows: "pd.DataFrame", columns: Sequence[str], folder: Path) -> None:
    """What the bundle in `folder` makes of `rows`, kept in it; nothing where there are none."""
    if len(rows):
        shipped = open_bundle(folder, threads=1)
        reference.write(reference.features(shipped, rows["text"].tolist(), rows[columns], "reference"), folder)


def _account(
    choice: Choice, params: Params, rows: int, fitted: Calibration, calibrated: Mapping[str, float]
) -> dict[str, Any]:
    """quantize.json: what was tried, how good each is on the `rows` validation rows, and what was chosen why."""
    return {
        "chosen": choice.name,
        "reason": choice.reason,
        "select": params.select,
        "rows": rows,
        "candidates": {name: candidate.figures for name, candidate in choice.found.items()},
        "skipped": choice.skipped,
        "temperature": fitted["temperature"],
        "calibrated": {figure: round(value, _DIGITS) for figure, value in calibrated.items()},
    }


def _measurements(choice: Choice, params: Params, texts: int) -> dict[str, Any]:
    """How fast each candidate is, and on what that was measured."""
    return {
        **choice.times[choice.name],
        "candidates": choice.times,
        "texts": min(texts, params.speed_texts),
        "rounds": params.speed_rounds,
        "batch_size": params.batch_size,
        "threads": params.threads,
        **speed.machine(),
    }


def _figures(choice: Choice, task: Task, fitted: Calibration) -> dict[str, Any]:
    """The main figures, for the manifest."""
    figures = choice.chosen.figures
    return {
        "chosen": choice.name,
        "reason": choice.reason,
        "precision": figures["precision"],
        "bytes": figures["bytes"],
        task.metric: figures["metrics"][task.metric],
        "metric_drop": figures["metric_drop"],
        "changed_share": figures["changed_share"],
        "temperature": fitted["temperature"],
    }


def _summary(choice: Choice, task: Task) -> str:
    chosen, fp32 = choice.chosen.figures, choice.found[FP32].figures
    return (
        f"{choice.reason}; {chosen['bytes'] / 1e6:.1f} MB (fp32 {fp32['bytes'] / 1e6:.1f}), "
        f"{choice.times[choice.name]['p50_ms']:.2f} ms for one text (fp32 {choice.times[FP32]['p50_ms']:.2f}), "
        f"validation {task.metric} {chosen['metrics'][task.metric]:.4f} (fp32 {fp32['metrics'][task.metric]:.4f})"
    )


def _shortened(violations: Sequence[str]) -> str:
    more = len(violations) - _REASONS_SHOWN
    return ", ".join(violations[:_REASONS_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _track(onnx: Path, folder: Path, figures: Mapping[str, Any], measured: Mapping[str, float]) -> None:
    """Figures for the run that train began; evaluate sends them."""
    journal = go_on(onnx, folder)
    if journal.started:
        numbers = {**{name: value for name, value in figures.items() if not isinstance(value, str)}, **measured}
        journal.metrics({f"quantize.{name}": float(value) for name, value in numbers.items()})
        journal.tags({"fineline.quantize": figures["reason"]})
