"""report.html: what the evaluation found, for people who decide."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.evaluate.evaluation import SHIPPED, TRAINED, Evaluation, mistakes
from fineline.artifacts.folders import Manifest
from fineline.bundles.bundle import MODEL
from fineline.reports import html_page
from fineline.sources import source_version
from fineline.tasks import Task

NAMES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "weighted_f1": "weighted F1",
    "lrap": "LRAP",
    "mcc": "MCC",
    "log_loss": "log-loss",
    "ece": "calibration error",
}
_LABELS_DRAWN = 30
_WEAKEST = 3


def name_of(figure: str) -> str:
    """A figure's name for people."""
    return NAMES.get(figure, figure.replace("_", " "))


def render(
    found: Evaluation,
    config: Mapping[str, Any],
    manifest: Manifest,
    measurements: Mapping[str, Any],
    curves: Mapping[str, Sequence[float]],
    floor: float,
) -> str:
    """The page. `config` is bundle.json, `manifest` the bundle's, `measurements` its measurements.json ({} where it has
    none), `curves` the columns of the model's curves.csv ({} likewise), `floor` the gate's least F1 of a label."""
    shipped = found.targets, found.answers[SHIPPED]
    models = {name: found.answers[name] for name in (SHIPPED, TRAINED)}
    sections = [
        html_page.section("Gate", _gate(found), "What the model that ships must reach, and what it reached."),
        html_page.section("Models on the same test rows", *_models(found)),
        *([html_page.section("Labels", *_labels(found, floor))] if found.per_label else []),
        *(html_page.section(*part) for part in found.task.outcome(*shipped, found.labels, config)),
        html_page.section("Slices", *_slices(found)),
        *(html_page.section(*part) for part in found.task.certainty(found.targets, models)),
        html_page.section("Most confident mistakes", *_mistakes(found)),
    ]
    if curves:
        sections.append(
            html_page.section("Training", _curves(curves, found.task), "As the trainer logged it, by training step.")
        )
    sections.append(html_page.section("Lineage", *_lineage(manifest)))
    passed = found.gate["passed"]
    return html_page.page(
        title="Evaluation of the model that ships",
        subtitle=f"{len(found.rows):,} test rows, {len(found.labels)} labels, {config['precision']} bundle "
        f"{manifest.digest.removeprefix('sha256:')[:12]}",
        tiles=_tiles(found, manifest, measurements),
        sections=sections,
        verdict=verdict(found, config["precision"]),
        tone="good" if passed else "bad",
    )


def verdict(found: Evaluation, precision: str) -> str:
    """The verdict and its main evidence in plain words."""
    rules = found.gate["rules"]
    failed = [rule for rule in rules if not rule["passed"]]
    if failed:
        first = (
            f"Not ready to ship: {len(failed)} of {len(rules)} rules failed ({', '.join(r['rule'] for r in failed)})."
        )
    else:
        first = f"Ready to ship: all {len(rules)} rules passed."
    shipped, metric = found.figures[SHIPPED], found.task.metric
    low, high = found.intervals[SHIPPED][metric]
    gain = found.difference(SHIPPED, found.baseline)[metric]
    side = "above" if gain >= 0 else "below"
    return (
        f"{first} On {len(found.rows):,} test texts that it was not trained on, the {precision} model answers "
        f"{shipped[found.task.right_figure]:.1%} correctly. Its {name_of(metric)} is {shipped[metric]:.3f} (95 % interval "
        f"{low:.3f} to {high:.3f}), {abs(gain) * 100:.1f} points {side} the strongest simple baseline ({found.baseline})."
    )


def _tiles(found: Evaluation, manifest: Manifest, measurements: Mapping[str, Any]) -> list[tuple[str, str]]:
    tiles = []
    for figure in dict.fromkeys([found.task.metric, found.task.right_figure]):
        low, high = found.intervals[SHIPPED][figure]
        tiles.append((f"{name_of(figure)} (95 %: {low:.3f} to {high:.3f})", f"{found.figures[SHIPPED][figure]:.3f}"))
    low, high = (100 * end for end in found.intervals["gain"][found.task.metric])
    gain = 100 * found.difference(SHIPPED, found.baseline)[found.task.metric]
    tiles.append((f"points over {found.baseline} (95 %: {low:+.1f} to {high:+.1f})", f"{gain:+.1f}"))
    size = sum(entry["bytes"] for name, entry in manifest.files.items() if name.startswith(MODEL))
    tiles.append(("size of the model", f"{size / 1e6:.1f} MB"))
    if "p50_ms" in measurements:
        tiles.append(("for one text, median", f"{measurements['p50_ms']:.1f} ms"))
    return tiles


def _gate(found: Evaluation) -> str:
    rows, tones = [], []
    for rule in found.gate["rules"]:
        ends = rule.get("interval")
        rows.append(
            [
                rule["rule"],
                f"{rule['meaning']} {rule['bound']:g}",
                f"{rule['figure']:.4f}",
                f"{ends['low']:.4f} to {ends['high']:.4f}" if ends else "",
                "passed" if rule["passed"] else "failed",
            ]
        )
        tones.append("good" if rule["passed"] else "bad")
    for rule in found.gate["not_judged"]:
        rows.append([rule["rule"], rule["reason"], "", "", "not judged"])
        tones.append("warn")
    return html_page.table(["rule", "meaning", "figure", "95 % interval", "verdict"], rows, tones)


def _models(found: Evaluation) -> tuple[str, str]:
    metric = found.task.metric
    compared = [SHIPPED, TRAINED, found.baseline]
    drawn = html_page.intervals(
        compared,
        [found.figures[name][metric] for name in compared],
        [found.intervals[name][metric] for name in compared],
        f"{name_of(metric)}, with 95 % interval",
    )
    columns = list(found.figures[SHIPPED])
    rows = [[name, *(f"{found.figures[name][column]:.4f}" for column in columns)] for name in found.figures]
    differences = [
        [text, *(_difference(found, first, second, key, figure) for figure in found.intervals[SHIPPED])]
        for text, first, second, key in (
            (f"shipped minus {found.baseline}", SHIPPED, found.baseline, "gain"),
            ("trained minus shipped", TRAINED, SHIPPED, "drop"),
        )
    ]
    paired = html_page.table(["difference on the same rows", *map(name_of, found.intervals[SHIPPED])], differences)
    note = (
        f"shipped: the bundle that is registered. trained: the PyTorch model it came from. The baselines learned from the "
        f"same {found.train_rows:,} training rows. Log-loss and calibration error: lower is better."
    )
    return drawn + html_page.table(["model", *map(name_of, columns)], rows) + "<br>" + paired, note


def _difference(found: Evaluation, first: str, second: str, key: str, figure: str) -> str:
    low, high = found.intervals[key][figure]
    return f"{found.difference(first, second)[figure]:+.4f} ({low:+.4f} to {high:+.4f})"


def _labels(found: Evaluation, floor: float) -> tuple[str, str]:
    ranked = sorted(found.per_label, key=lambda label: found.per_label[label]["f1"])
    drawn = ranked[:_LABELS_DRAWN]
    weakest = ranked[:_WEAKEST]
    rows = [
        [
            label,
            *(f"{found.per_label[label][column]:.3f}" for column in ("precision", "recall", "f1")),
            int(found.per_label[label]["support"]),
            "under the floor" if found.per_label[label]["f1"] < floor else "weakest" if label in weakest else "",
        ]
        for label in ranked
    ]
    tones = ["bad" if row[-1] == "under the floor" else "warn" for row in rows]
    table = html_page.table(["label", "precision", "recall", "F1", "test rows", ""], rows, tones)
    of_all = f"The {len(drawn)} weakest of {len(ranked)} labels" if len(drawn) < len(ranked) else "All labels"
    return (
        html_page.bars(drawn, [found.per_label[label]["f1"] for label in drawn], "F1", weakest)
        + html_page.details(f"precision, recall and F1 of all {len(ranked)} labels", table),
        f"{of_all}, weakest first; the {len(weakest)} weakest are marked.",
    )


def _slices(found: Evaluation) -> tuple[str, str]:
    right = found.task.right_figure
    figures = list(dict.fromkeys([right, found.task.metric]))
    rows = []
    for part in found.slices:
        cells = []
        for figure in figures:
            low, high = part["intervals"][figure]
            cells.append(f"{part['figures'][figure]:.3f} ({low:.3f} to {high:.3f})")
        rows.append([part["slice"], part["value"], part["rows"], *cells, part["mark"]])
    names = [f"{part['slice']}: {part['value']}" for part in found.slices]
    marked = [name for name, part in zip(names, found.slices, strict=True) if part["mark"]]
    shares = [part["figures"][right] for part in found.slices]
    ends = [part["intervals"][right] for part in found.slices]
    drawn = html_page.intervals(
        names, shares, ends, f"{name_of(right)}, with 95 % interval", marked, found.figures[SHIPPED][right]
    )
    header = ["slice", "value", "rows", *(f"{name_of(figure)} (95 %)" for figure in figures), ""]
    note = (
        f"The shipped model on parts of the test rows; the dashed line is all rows. Marked: the worst slice, and those whose "
        f"interval ends under the {name_of(right)} of all rows. Compare macro-F1 between slices of like size only: it falls with "
        "the number of rows per label."
    )
    return drawn + html_page.table(header, rows, ["warn"] * len(rows)), note


def _mistakes(found: Evaluation) -> tuple[str, str]:
    rows = [
        [entry["text"], entry["target"], entry["predicted"], f"{entry['score']:.3f}", entry["id"]]
        for entry in mistakes(found)
    ]
    if not rows:
        return "No mistakes.", ""
    table = html_page.table(["text", "label in the data", "predicted", "confidence", "id"], rows)
    return (
        table,
        "Where the model was surest and wrong. Often the label in the data is the wrong one: read these first.",
    )


def _curves(curves: Mapping[str, Sequence[float]], task: Task) -> str:
    """Loss, and quality on the validation rows, over the training steps."""
    plots_of = {
        "loss": ("train_loss", "validation_loss"),
        "on the validation rows": (f"validation_{task.metric}", f"validation_{task.right_figure}"),
    }
    drawn = []
    for title, wanted in plots_of.items():
        series = {}
        for name in dict.fromkeys(wanted):
            points = [(x, y) for x, y in zip(curves["step"], curves.get(name, ()), strict=False) if y == y]
            if points:
                series[name.replace("_", " ")] = [x for x, _ in points], [y for _, y in points]
        if series:
            drawn.append(html_page.lines(series, "training step", title))
    return "".join(drawn)


def _lineage(manifest: Manifest) -> tuple[str, str]:
    chain = [*manifest.ancestors, manifest.without_ancestors()]
    rows = [[entry["step"], entry["kind"], entry["digest"], entry["version"]] for entry in chain]
    params = "".join(
        html_page.details(
            f"parameters of {entry['step']}", html_page.preformatted(json.dumps(entry["params"], indent=2))
        )
        for entry in chain
        if entry["params"]
    )
    sources = [[role.replace("_", " "), version] for role, version in source_version.in_lineage(chain).items()]
    return (
        html_page.table(["source", "version"], sources)
        + "<br>"
        + html_page.table(["step", "gave", "digest", "fineline"], rows)
        + params,
        "The version of the sources that was read, and every artifact that led to this model, by the sha256 over its files.",
    )


def read_curves(path: Path) -> dict[str, list[float]]:
    """Columns of a curves.csv, NaN for an empty cell; {} when there is no such file."""
    import csv

    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return {name: [float(row[name] or "nan") for row in rows] for name in (rows[0] if rows else {})}
