"""report.html: the evidence for a verdict, on one page."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from components.promote.comparison import MODELS
from components.promote.meeting import Meeting
from components.promote.params import Params
from components.promote.parts import NO_WORSE, UNKNOWN, WORSE
from fineline.reports import html_page

if TYPE_CHECKING:
    import pandas as pd

TONES = {"promote": "good", "hold": "bad", "inconclusive": "warn"}
STATES = {"passed": "good", "failed": "bad", "undecided": "warn"}
PART_STATES = {NO_WORSE: "good", WORSE: "bad", UNKNOWN: "warn"}

_DIFFERENCES = 30
_PARTS_DRAWN = 30


def render(content: Mapping[str, Any], meeting: Meeting, rows: "pd.DataFrame", params: Params) -> str:
    """The page. `content` is that of promotion.json, `rows` the frozen test set with its texts."""
    counts, found = meeting.counts, meeting.found
    sections = [html_page.section("Verdict", *_rules(meeting))]
    if found:
        sections += [
            html_page.section("The whole test set", *_figures(meeting, params)),
            html_page.section("Labels and slices", *_parts(found["parts"])),
            *_forgotten(found["forgetting"]),
            html_page.section("What it costs", *_costs(meeting)),
            html_page.section("Rows that only one of them answers right", *_differences(meeting, rows)),
        ]
    if meeting.changed_labels:
        sections.append(html_page.section("Labels that changed", *_changed_labels(meeting)))
    sections.append(html_page.section("Test set", *_test_set(content, meeting)))
    verdict = content["verdict"]
    return html_page.page(
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
    return html_page.table(["rule", "meaning", "found", ""], rows, [STATES[rule["state"]] for rule in rules]), note


def _figures(meeting: Meeting, params: Params) -> tuple[str, str]:
    figures = meeting.found["figures"]
    level = f"{1 - 2 * params.alpha:.0%}"
    drawn = html_page.intervals(
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
        f"challenger, {found['lost']:,} only by the champion. Better in {found['superior']['metric']}: one-sided "
        f"p = {found['superior']['p']:.3g}. Each end of an interval is a one-sided bound at {params.alpha:g}: Tango's for "
        f"accuracy, else by the error over {params.bootstrap:,} paired bootstrap samples of rows."
    )
    body = drawn + html_page.table(["figure", "champion", "challenger", f"gain ({level} interval)"], rows)
    return body, " ".join([note, *_honest(meeting)])


def _honest(meeting: Meeting) -> list[str]:
    """What the figures above do not say by themselves: that the best of several was chosen by them."""
    said = []
    if gain := meeting.verdict["corrected"]:
        said.append(
            f"Corrected for its having been selected by this very figure, the gain in {gain['metric']} is {gain['gain']:+.4f} "
            f"({gain['low']:+.4f} to {gain['high']:+.4f})."
        )
    if since := meeting.found["since"]:
        figures = ", ".join(f"{name} {value:.4f}" for name, value in since.items() if name != "rows")
        said.append(f"On the {since['rows']:,} rows that joined since the champion was promoted it has {figures}.")
    return said


def _forgotten(parts: list[dict[str, Any]]) -> list[Any]:
    """The section on the rows that were there before the challenger, where others joined with it."""
    if not parts:
        return []
    drawn, note = _parts(parts)
    explained = f"Those that did not join the test set with this version. {note}"
    return [html_page.section("Forgetting: the older test rows alone", drawn, explained)]


def _parts(parts: list[dict[str, Any]]) -> tuple[str, str]:
    parts = sorted(parts, key=lambda part: part["challenger"] - part["champion"])
    drawn = [part for part in parts if part["state"] != UNKNOWN][:_PARTS_DRAWN]
    names = [f"{part['what']}: {part['name']}" for part in drawn]
    worse = [name for name, part in zip(names, drawn, strict=True) if part["state"] == WORSE]
    rows = []
    for part in parts:
        gain = part["challenger"] - part["champion"]
        cells = [f"{part[name]:.3f}" for name in MODELS]
        figures = [f"{gain:+.3f}", f"{part['margin']:g}", f"{part['adjusted']:.3f}", f"{part['loss_seen']:.2f}"]
        rows.append([part["what"], part["name"], part["rows"], *cells, *figures, part["state"]])
    header = ["", "name", "rows", *MODELS, "gain", "margin", "p (Holm)", "loss that shows", ""]
    bars = (
        html_page.bars(
            names, [round(part["challenger"] - part["champion"], 4) for part in drawn], "gain in accuracy", worse
        )
        if drawn
        else ""
    )
    unknown = sum(part["state"] == UNKNOWN for part in parts)
    table = html_page.table(header, rows, [PART_STATES[part["state"]] for part in parts])
    return bars + html_page.details(f"all {len(parts)}, {unknown} of them unknown", table), (
        "Recall of a label, accuracy of a slice. worse: significantly, by more than the margin (Tango's paired score test, "
        "adjusted for their number by Holm). no worse: a loss of the margin is ruled out. unknown: too few rows for either, and "
        "not drawn; a loss of the size in the last column but one would have been called worse as often as `power` says."
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
    return html_page.table(["", *MODELS, "ratio"], rows), note


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
    body = html_page.table(["text", "label", *MODELS, "id"], table)
    return body, f"{len(shown):,} of {len(lost) + len(gained):,}, those that would be lost first."


def _changed_labels(meeting: Meeting) -> tuple[str, str]:
    def cell(value: float | None) -> str:
        return "" if value is None else f"{value:.3f}"

    rows = [
        [entry["label"], entry["what"], entry["now"], entry["rows"], *(cell(entry[name]) for name in MODELS)]
        for entry in meeting.changed_labels
    ]
    return html_page.table(
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
        ["questions that it has answered, this one included", content["question"]["number"]],
        ["level of this question", f"{content['question']['level']:.2g}"],
        ["sha256 of the test set", state["digest"]],
    ]
    return html_page.table(["", ""], [[name, html_page.shown(value)] for name, value in rows]), ""
