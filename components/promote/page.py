"""report.html: the evidence for a verdict, on one page."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from components.promote.comparison import MODELS
from components.promote.meeting import Meeting
from components.promote.params import Params
from fineline import report

if TYPE_CHECKING:
    import pandas as pd

TONES = {"promote": "good", "hold": "bad", "inconclusive": "warn"}
STATES = {"passed": "good", "failed": "bad", "undecided": "warn"}

_DIFFERENCES = 30
_PARTS_DRAWN = 30


def render(content: Mapping[str, Any], meeting: Meeting, rows: "pd.DataFrame", params: Params) -> str:
    """The page. `content` is that of promotion.json, `rows` the frozen test set with its texts."""
    counts, found = meeting.counts, meeting.found
    sections = [report.section("Verdict", *_rules(meeting))]
    if found:
        sections += [
            report.section("The whole test set", *_figures(meeting, params)),
            report.section("Labels and slices", *_parts(found["parts"])),
            *_forgotten(found["forgetting"]),
            report.section("What it costs", *_costs(meeting)),
            report.section("Rows that only one of them answers right", *_differences(meeting, rows)),
        ]
    if meeting.changed_labels:
        sections.append(report.section("Labels that changed", *_changed_labels(meeting)))
    sections.append(report.section("Test set", *_test_set(content, meeting)))
    verdict = content["verdict"]
    return report.page(
        title=f"Version {content['version']} of {content['name']} against champion {content['champion']}",
        subtitle=f"{counts['compared']:,} of {counts['test_set']:,} test rows, sha256 {content['test_set']['digest'][:12]}",
        tiles=_tiles(meeting),
        sections=sections,
        verdict=f"{verdict[0].upper()}{verdict[1:]}: {content['reason']}.",
        tone=TONES[verdict],
    )


def _tiles(meeting: Meeting) -> list[tuple[str, str]]:
    if not meeting.found:
        return [("rows that can be compared", f"{meeting.counts['compared']:,}")]
    tiles = [
        (f"{metric}: {figure['champion']:.4f} to {figure['challenger']:.4f}", f"{figure['gain']:+.4f}")
        for metric, figure in meeting.found["figures"].items()
    ]
    tiles.append((f"rows gained, {meeting.found['lost']:,} lost", f"{meeting.found['gained']:,}"))
    tiles.append(("times the champion's latency", f"{meeting.costs['latency_ratio']:.2f}"))
    return tiles


def _rules(meeting: Meeting) -> tuple[str, str]:
    rules = meeting.verdict["rules"]
    rows = [[rule["rule"], rule["meaning"], rule["figure"], rule["state"]] for rule in rules]
    note = "One failed rule holds the challenger back; else one undecided rule makes the verdict inconclusive."
    return report.table(["rule", "meaning", "found", ""], rows, [STATES[rule["state"]] for rule in rules]), note


def _figures(meeting: Meeting, params: Params) -> tuple[str, str]:
    figures = meeting.found["figures"]
    level = f"{1 - 2 * params.alpha:.0%}"
    drawn = report.intervals(
        list(figures),
        [figure["gain"] for figure in figures.values()],
        [(figure["low"], figure["high"]) for figure in figures.values()],
        f"gain of the challenger, with {level} interval",
        [metric for metric, figure in figures.items() if figure["low"] <= -params.metric_margin],
        0.0,
    )
    rows = [
        [
            metric,
            *(f"{figure[name]:.4f}" for name in MODELS),
            f"{figure['gain']:+.4f} ({figure['low']:+.4f} to {figure['high']:+.4f})",
        ]
        for metric, figure in figures.items()
    ]
    found = meeting.found
    note = (
        f"Both models answered the same {found['rows']:,} rows here and now. {found['gained']:,} rows are right only by the "
        f"challenger, {found['lost']:,} only by the champion: McNemar's exact one-sided p = {found['p_superior']:.3g}. "
        f"Intervals: paired bootstrap over rows, {params.bootstrap:,} samples; each end is a one-sided bound at {params.alpha:g}."
    )
    return drawn + report.table(["figure", "champion", "challenger", f"gain ({level} interval)"], rows), note


def _forgotten(parts: list[dict[str, Any]]) -> list[Any]:
    """The section on the rows that were there before the challenger, where others joined with it."""
    if not parts:
        return []
    drawn, note = _parts(parts)
    explained = f"Those that did not join the test set with this version. {note}"
    return [report.section("Forgetting: the older test rows alone", drawn, explained)]


def _parts(parts: list[dict[str, Any]]) -> tuple[str, str]:
    parts = sorted(parts, key=lambda part: part["challenger"] - part["champion"])
    drawn = [part for part in parts if part["judged"]][:_PARTS_DRAWN]
    names = [f"{part['what']}: {part['name']}" for part in drawn]
    worse = [name for name, part in zip(names, drawn, strict=True) if part["worse"]]
    rows, tones = [], []
    for part in parts:
        state = "worse" if part.get("worse") else "" if part["judged"] else "too few rows"
        gain = part["challenger"] - part["champion"]
        adjusted = f"{part['adjusted']:.3f}" if part["judged"] else ""
        cells = [f"{part[name]:.3f}" for name in MODELS]
        rows.append(
            [part["what"], part["name"], part["rows"], *cells, f"{gain:+.3f}", f"{part['margin']:g}", adjusted, state]
        )
        tones.append("bad" if part.get("worse") else "warn")
    header = ["", "name", "rows", *MODELS, "gain", "margin", "p (Holm)", ""]
    bars = (
        report.bars(
            names, [round(part["challenger"] - part["champion"], 4) for part in drawn], "gain in accuracy", worse
        )
        if drawn
        else ""
    )
    return bars + report.details(f"all {len(parts)}", report.table(header, rows, tones)), (
        "Recall of a label, accuracy of a slice. Marked: those that are significantly worse by more than their margin (Tango's "
        "paired score test, adjusted for their number by Holm)."
    )


def _costs(meeting: Meeting) -> tuple[str, str]:
    costs = meeting.costs
    rows = [
        [
            "latency of one text, median (ms)",
            *(f"{costs['latency_ms'][name]:.2f}" for name in MODELS),
            f"{costs['latency_ratio']:.2f}",
        ],
        ["model files (MB)", *(f"{costs['bytes'][name] / 1e6:.2f}" for name in MODELS), f"{costs['size_ratio']:.2f}"],
    ]
    note = f"{costs['texts']:,} texts, {costs['rounds']} rounds, the two models in turns in one process, tokenizer included."
    return report.table(["", *MODELS, "ratio"], rows), note


def _differences(meeting: Meeting, rows: "pd.DataFrame") -> tuple[str, str]:
    answers = meeting.answers
    texts = dict(zip(rows["id"].astype(str), rows["text"], strict=True))
    judged = answers.loc[answers["compared"], ["id", "label", *MODELS]]
    rows_of = [tuple(map(str, row)) for row in judged.itertuples(index=False, name=None)]
    lost = [row for row in rows_of if row[2] == row[1] != row[3]]
    gained = [row for row in rows_of if row[3] == row[1] != row[2]]
    shown = [*lost[:_DIFFERENCES], *gained[:_DIFFERENCES]]
    if not shown:
        return "None: both are right on the same rows.", ""
    table = [
        [texts[identity], label, champion, challenger, identity] for identity, label, champion, challenger in shown
    ]
    body = report.table(["text", "label", *MODELS, "id"], table)
    return body, f"{len(shown):,} of {len(lost) + len(gained):,}, those that would be lost first."


def _changed_labels(meeting: Meeting) -> tuple[str, str]:
    def cell(value: float | None) -> str:
        return "" if value is None else f"{value:.3f}"

    rows = [
        [entry["label"], entry["what"], entry["now"], entry["rows"], *(cell(entry[name]) for name in MODELS)]
        for entry in meeting.changed_labels
    ]
    return report.table(
        ["label", "what became of it", "now", "test rows", *(f"recall, {name}" for name in MODELS)], rows
    ), ("Not part of the comparison unless both models can give the label under its present name.")


def _test_set(content: Mapping[str, Any], meeting: Meeting) -> tuple[str, str]:
    state, counts = content["test_set"], meeting.counts
    seen = [
        [f"rows that the {name} had seen in training", "no record" if count is None else count]
        for name, count in meeting.seen.items()
    ]
    rows = [
        ["rows in the frozen test set", counts["test_set"]],
        ["joined with this version", state["joined"]],
        ["retired so far (another text or label came)", state["retired"]],
        *seen,
        ["left out because a model had seen them", counts["seen"]],
        ["left out because their label is not shared", counts["label_not_shared"]],
        ["compared", counts["compared"]],
        ["sha256 of the test set", state["digest"]],
    ]
    return report.table(["", ""], [[name, report.shown(value)] for name, value in rows]), ""
