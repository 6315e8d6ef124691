"""evaluate: the trained and the shipped model on the same test rows, and the gate's verdict."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.evaluate import model_card, page, plots
from components.evaluate.evaluation import SHIPPED, TRAINED, Evaluation, evaluation, metrics, predictions
from components.evaluate.params import Params
from components.evaluate.scoring import token_counts, trained_logits
from components.evaluate.slices import named_slices
from fineline.artifacts import folders
from fineline.artifacts.folders import Manifest
from fineline.bundles.bundle import TOKENIZER, open_bundle
from fineline.bundles.bundle import answers as bundle_answers
from fineline.process.errors import UsageError
from fineline.rows.dataset import chosen_columns, read_splits, write_rows
from fineline.tasks import get_task
from fineline.tracking import connection
from fineline.tracking.journal import go_on, log_files
from fineline.tracking.tags import GATE_TAG

if TYPE_CHECKING:
    import pandas as pd


def run(*, params: Params, model: Path, bundle: Path, splits: Path, report: Path) -> str:
    """Writes the report folder; gives the gate's summary. A gate that says no is not an error here: register acts on it.

    Raises UsageError when the three inputs do not belong together, or for a slice column that the rows do not have.
    """
    connection.tracking_uri()  # an address that is refused is better said now than after the models ran
    manifests = {
        name: folders.verify(path) for name, path in (("model", model), ("bundle", bundle), ("splits", splits))
    }
    _check_kinds(manifests)
    config = json.loads((model / "model.json").read_text(encoding="utf-8"))
    opened = open_bundle(bundle)
    _check_lineage(manifests, config["labels"], opened.labels)
    found = _evaluate(params, opened, model, config, splits)
    with folders.output(report) as folder:
        folders.write_json(folder / "metrics.json", metrics(found))
        folders.write_json(folder / "gate.json", found.gate)
        rows = predictions(found)
        write_rows(rows, folder / "predictions.parquet", _schema(rows))
        plots.write_plots(folder / "plots", found)
        card = model_card.render(found, opened.config, manifests["bundle"], manifests["model"])
        (folder / "MODEL_CARD.md").write_text(card, encoding="utf-8")
        measurements = bundle / folders.MEASUREMENTS
        html = page.render(
            found,
            opened.config,
            manifests["bundle"],
            json.loads(measurements.read_text(encoding="utf-8")) if measurements.is_file() else {},
            page.read_curves(model / "curves.csv"),
            params.min_label_f1,
        )
        (folder / folders.REPORT).write_text(html, encoding="utf-8")
        run_id, taken = _track(found, bundle, folder)
        folders.write_manifest(
            folder,
            step="evaluate",
            kind="report",
            params=params.recorded(),
            inputs={"model": model, "bundle": bundle, "splits": splits},
            figures=_figures(found),
            run_id=run_id,
        )
    if taken:
        _log_files(run_id, report)
    return f"gate {found.gate['summary']}; report: {report / folders.REPORT}"


def _check_kinds(manifests: Mapping[str, Manifest]) -> None:
    for name, manifest in manifests.items():
        if manifest.kind != name:
            raise UsageError(
                f"--{name} was given a {manifest.kind} (made by {manifest.step})", f"give it an artifact of kind {name}"
            )


def _check_lineage(manifests: Mapping[str, Manifest], trained: list[str], shipped: list[str]) -> None:
    model, bundle, splits = manifests["model"], manifests["bundle"], manifests["splits"]
    if splits.digest not in model.inputs.values():
        raise UsageError(
            "the model was not trained on these splits: their test rows may be among those it learned from",
            "give --splits the artifact that train was given",
        )
    if model.digest not in {entry["digest"] for entry in bundle.ancestors} or trained != shipped:
        raise UsageError(
            "the bundle was not made from this model",
            "give the --model that export_onnx was given, or export and quantize it again",
        )


def _evaluate(params: Params, bundle: Any, model: Path, config: Mapping[str, Any], splits: Path) -> Evaluation:
    task, labels = get_task(config["task"]), config["labels"]
    rows = read_splits(splits)
    train, test = rows["train"], rows["test"]
    texts = test["text"].tolist()
    task.targets(test, labels)  # an unknown label is better found before the models run than after
    tokens = token_counts(bundle.folder / TOKENIZER, texts)
    columns = chosen_columns(test, params.slice_columns, task, "evaluate.slice_columns")
    slices = named_slices(test, columns, params.max_slice_values, tokens, bundle.config["max_length"])
    logits = trained_logits(model, task, labels, config["max_length"], texts, params.batch_size)
    answers = {
        SHIPPED: bundle_answers(bundle, texts, params.batch_size, what="shipped model"),
        TRAINED: task.answers(logits, {**bundle.calibration, "temperature": 1.0}),
        **task.baselines(train["text"].tolist(), task.targets(train, labels), texts, len(labels), params.seed),
    }
    return evaluation(params, task, labels, test, len(train), answers, slices)


def _schema(rows: "pd.DataFrame") -> Any:
    import pyarrow as pa

    kinds = {"score": pa.float64(), "probabilities": pa.list_(pa.float32())}
    return pa.schema([pa.field(name, kinds.get(name, pa.string())) for name in map(str, rows)])


def _figures(found: Evaluation) -> dict[str, Any]:
    """The main figures, for the manifest."""
    return {
        "gate": found.gate["summary"],
        "passed": found.gate["passed"],
        "rows": len(found.rows),
        **{f"shipped.{figure}": value for figure, value in found.figures[SHIPPED].items()},
        **{f"gain.{figure}": value for figure, value in found.difference(SHIPPED, found.baseline).items()},
    }


def _track(found: Evaluation, bundle: Path, folder: Path) -> tuple[str, bool]:
    """Figures and verdict to the run that train began; gives its id and whether the server has them all."""
    journal = go_on(bundle, folder)
    if not journal.started:
        return "", False
    journal.metrics(
        {f"test.{name}.{figure}": value for name, figures in found.figures.items() for figure, value in figures.items()}
    )
    journal.metrics(
        {f"test.gain.{figure}": value for figure, value in found.difference(SHIPPED, found.baseline).items()}
    )
    journal.metrics({"test.gate": int(found.gate["passed"])})
    verdict = "passed" if found.gate["passed"] else "failed"
    journal.tags({GATE_TAG: verdict, "fineline.gate.summary": found.gate["summary"]})
    taken = journal.send()
    return journal.run_id, taken


def _log_files(run_id: str, report: Path) -> None:
    """The report for readers of the MLflow UI; one folder each, as log_files takes them."""
    names = {
        "report": folders.REPORT,
        "metrics": "metrics.json",
        "gate": "gate.json",
        "model_card": "MODEL_CARD.md",
        "confusion": "plots/confusion.csv",
        "per_label": "plots/per_label.csv",
        "slices": "plots/slices.csv",
        "predictions": "predictions.parquet",
    }
    there = {folder: report / name for folder, name in names.items() if (report / name).is_file()}
    log_files(run_id, [(f"evaluate/{folder}", path) for folder, path in there.items()])
