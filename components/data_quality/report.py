"""The page that shows what was found. Excerpts are shortened, and personal data in them masked."""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from components.data_quality.params import Params
from components.data_quality.personal import mask
from fineline.reports.html_page import bars, histogram, page, section, shown, table
from fineline.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

_TONES = {
    "rejected": "bad",
    "quarantined": "warn",
    "warning": "warn",
    "repaired": "good",
    "masked": "good",
    "passed": "good",
}
_GROUPS = {
    "conflicts": ("One text, several labels", "A model cannot learn both. Decide which label is meant."),
    "duplicates": (
        "Repeated texts",
        "Same text but for case, spacing and what data_quality.fold names. The first row or the test row stays.",
    ),
    "near_duplicates": (
        "Near-duplicates",
        "Almost the same text. The split step keeps such rows on one side, unless they are a tenth of all rows.",
    ),
}
_UNREADABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_MOST_LABELS = 60


def render(
    summary: dict[str, Any],
    came: "pd.DataFrame",
    stay: "pd.DataFrame",
    reasons: dict[int, list[str]],
    task: Task,
    params: Params,
) -> str:
    """The page of quality.json's content (`summary`), with the rows that came and those that stay."""
    checks = {check["name"]: check for check in summary["checks"]}
    came = came.assign(text=came["text"].fillna(""))
    texts = dict(zip(came["id"], came["text"], strict=True))
    labels = dict(zip(came["id"], task.written(came), strict=True))
    tallies = [check["outcome"] for check in checks.values()]
    ratio = summary["imbalance_ratio"]
    return page(
        "Data quality",
        f"{summary['rows_in']:,} rows came in; the checks stand in the block data_quality of the parameters",
        [
            ("rows that stay", f"{summary['rows_out']:,}"),
            ("in quarantine", f"{summary['quarantined']:,}"),
            ("labels", f"{len(summary['labels']):,}"),
            ("commonest to rarest label", "–" if ratio is None else f"{ratio:.1f} : 1"),
            ("warnings", shown(tallies.count("warning"))),
        ],
        [
            _checks(checks),
            *_left(came, reasons, labels),
            *_labels(summary["labels"], params),
            *_twins(checks),
            *_lengths(came, stay, reasons, checks, summary["scripts"]),
            *_truncation(checks, params),
            *_agreement(checks),
            *(part for name, words in _GROUPS.items() for part in _groups(checks, name, words, texts, labels)),
            *_personal_data(checks),
            *_mojibake(checks, texts),
            *_label_errors(checks, texts),
        ],
        *_verdict(summary, tallies),
    )


def _verdict(summary: dict[str, Any], tallies: list[str]) -> tuple[str, str]:
    if summary["rejected"]:
        names = [check["name"] for check in summary["checks"] if check["outcome"] == "rejected"]
        return f"Rejected: {', '.join(names)}. No clean dataset was written.", "bad"
    warned = [check["name"] for check in summary["checks"] if check["outcome"] == "warning"]
    stays = f"{summary['rows_out']:,} of {summary['rows_in']:,} rows go on to the split."
    if warned:
        return f"{stays} Look at: {', '.join(warned)}.", "warn"
    return f"{stays} {tallies.count('passed')} of {len(tallies)} checks found nothing.", "good"


def _checks(checks: dict[str, Any]) -> dict[str, str]:
    order = sorted(checks.values(), key=lambda check: list(_TONES).index(check["outcome"]))
    rows = [
        [check["name"], check["says"], check["figure"], check["bound"], check["rows"], check["left"], check["outcome"]]
        for check in order
    ]
    note = "What happens when a check fails is set by data_quality.on_<check>."
    headers = ["check", "what is asked", "figure", "bound", "rows", "left", "outcome"]
    return section("Checks", table(headers, rows, [_TONES[check["outcome"]] for check in order]), note)


def _left(came: "pd.DataFrame", reasons: dict[int, list[str]], labels: dict[str, str]) -> Iterable[dict[str, str]]:
    if not reasons:
        return
    by_reason: dict[str, list[int]] = {}
    for row, names in sorted(reasons.items()):
        by_reason.setdefault("; ".join(names), []).append(row)
    ordered = sorted(by_reason.items(), key=lambda item: -len(item[1]))
    rows = [
        [came["id"][row], labels[came["id"][row]], excerpt(came["text"][row]), reason]
        for reason, members in ordered
        for row in members[:4]
    ]
    drawing = bars([reason for reason, _ in ordered], [len(members) for _, members in ordered], "rows")
    yield section(
        "What left, and why",
        drawing + table(["id", "label", "text", "reason"], rows),
        "Some rows of each reason; all of them are in quarantine.parquet.",
    )


def _labels(counts: dict[str, int], params: Params) -> Iterable[dict[str, str]]:
    if not counts:
        return
    names = list(counts)
    if len(names) > _MOST_LABELS:
        names = names[: _MOST_LABELS // 2] + names[-_MOST_LABELS // 2 :]
    most, total = max(counts.values()), sum(counts.values())
    few = [
        name
        for name in names
        if counts[name] * params.max_imbalance < most or counts[name] < params.min_label_share * total
    ]
    note = "Rows that stay."
    if few:
        note += f" In orange: {params.max_imbalance:g} times rarer than the commonest, or under min_label_share."
    if len(names) < len(counts):
        note += f" The {len(names) // 2} commonest and the {len(names) // 2} rarest of {len(counts)} labels."
    yield section("Rows per label", bars(names, [counts[name] for name in names], "rows", few), note)


def _twins(checks: dict[str, Any]) -> Iterable[dict[str, str]]:
    if "label_twins" not in checks or not checks["label_twins"]["details"]["twins"]:
        return
    groups = checks["label_twins"]["details"]["twins"]
    rows = [[number, repr(label), count] for number, group in enumerate(groups, 1) for label, count in group.items()]
    done = (
        "They were made one."
        if checks["label_twins"]["details"]["repaired"]
        else "on_label_twins: unify makes them one."
    )
    note = f"They differ only in case, spacing or the writing of a number. {done}"
    yield section("One label, several spellings", table(["group", "label", "rows"], rows), note)


def _lengths(
    came: "pd.DataFrame",
    stay: "pd.DataFrame",
    reasons: dict[int, list[str]],
    checks: dict[str, Any],
    scripts: dict[str, float],
) -> Iterable[dict[str, str]]:
    if stay.empty:
        return
    lengths = stay["text"].str.len().to_numpy(dtype=float)
    end = max(float(np.quantile(lengths, 0.995)), 1.0)
    groups = {"stay": np.minimum(lengths, end).tolist()}
    if reasons:
        left = came["text"].loc[sorted(reasons)].str.len().to_numpy(dtype=float)
        groups["left"] = np.minimum(left, end).tolist()
    note = f"Median {np.median(lengths):,.0f} characters, longest {lengths.max():,.0f}; the last bar holds all longer texts."
    if scripts:
        note += (
            " Scripts: " + ", ".join(f"{name.title()} {share:.1%}" for name, share in list(scripts.items())[:4]) + "."
        )
    if "truncation" in checks:
        tokens = checks["truncation"]["details"]["tokens"]
        note += f" Tokens: median {tokens['median']:,.0f}, 99 of 100 texts have at most {tokens['p99']:,.0f}."
    yield section("Text length", histogram(groups, "characters"), note)


def _truncation(checks: dict[str, Any], params: Params) -> Iterable[dict[str, str]]:
    if "truncation" not in checks:
        return
    check = checks["truncation"]
    cut = {
        name: (entry["truncated"], entry["rows"])
        for name, entry in check["details"]["labels"].items()
        if entry["truncated"]
    }
    ordered = sorted(cut.items(), key=lambda item: -item[1][0] / item[1][1])[:40]
    note = (
        f"{check['rows']:,} texts ({check['figure']:.1%}) have more than {params.max_length} tokens; the model never reads "
        f"what comes after."
    )
    if not ordered:
        yield section("Texts cut off", "", note)
        return
    drawing = bars(
        [name for name, _ in ordered],
        [round(100 * part / whole, 2) for _, (part, whole) in ordered],
        "% of the label's rows",
    )
    yield section("Texts cut off, per label", drawing, note)


def _agreement(checks: dict[str, Any]) -> Iterable[dict[str, str]]:
    if "disagreement" not in checks:
        return
    details = checks["disagreement"]["details"]
    pairs = [
        [
            " and ".join(map(str, pair["annotators"])),
            pair["rows"],
            f"{pair['percent']:.1%}",
            "undefined" if pair["kappa"] is None else pair["kappa"],
        ]
        for pair in details["pairs"]
    ]
    lowest = [[name, f"{share:.1%}"] for name, share in details["lowest_labels"].items()]
    body = table(["annotators", "rows", "agree", "Cohen's kappa"], pairs)
    body += '<p class="note"></p>' + table(
        ["labels with the least agreement", "rows on which all annotators agree"], lowest
    )
    yield section(
        "Annotator agreement",
        body,
        "Where people disagree, a model cannot be right: sharpen the guideline of these labels.",
    )


def _label_errors(checks: dict[str, Any], texts: dict[str, str]) -> Iterable[dict[str, str]]:
    if "label_errors" not in checks or not checks["label_errors"]["rows"]:
        return
    details = checks["label_errors"]["details"]
    suspects = details["suspects"][: 40 if details["trusted"] else 15]
    rows = [
        [
            entry["id"],
            excerpt(texts[entry["id"]]),
            f"{entry['label']} ({entry['label_probability']:.0%})",
            f"{entry['suggested']} ({entry['suggested_probability']:.0%})",
        ]
        for entry in suspects
    ]
    note = (
        f"The {len(suspects)} surest of {checks['label_errors']['rows']:,}, with the probability that a word-counting "
        f"classifier gives to the label and to the one it suggests, without having seen the row. It agrees with "
        f"{details['classifier_accuracy']:.0%} of all labels. "
    )
    note += (
        "Check them by hand." if details["trusted"] else "That is too few to trust it: read this list as hints only."
    )
    yield section("Likely label errors", table(["id", "text", "label", "suggested"], rows), note)


def _groups(
    checks: dict[str, Any], name: str, words: tuple[str, str], texts: dict[str, str], labels: dict[str, str]
) -> Iterable[dict[str, str]]:
    groups: Sequence[list[str]] = checks[name]["details"]["examples"] if name in checks else []
    if not groups:
        return
    rows = [
        [number + 1, identity, labels[identity], excerpt(texts[identity])]
        for number, group in enumerate(groups[:10])
        for identity in group[:3]
    ]
    crossing = checks[name]["details"].get("between_training_and_test", 0)
    crossing = crossing or checks[name]["details"].get("pairs_between_training_and_test", 0)
    note = words[1] + (f" {crossing:,} between training and test rows." if crossing else "")
    yield section(words[0], table(["group", "id", "label", "text"], rows), f"{note} Up to ten groups are shown.")


def _personal_data(checks: dict[str, Any]) -> Iterable[dict[str, str]]:
    if "personal_data" not in checks or not checks["personal_data"]["rows"]:
        return
    check = checks["personal_data"]
    found = [[kind, count] for kind, count in check["details"]["found"].items()]
    masked = (
        "They are masked in the clean dataset." if check["details"]["masked"] else "data_quality.mask replaces them."
    )
    note = f"In {check['rows']:,} rows. {masked} Nothing of it is shown in this report."
    yield section("Personal data", table(["what", "found"], found), note)


def _mojibake(checks: dict[str, Any], texts: dict[str, str]) -> Iterable[dict[str, str]]:
    if "mojibake" not in checks or not checks["mojibake"]["rows"]:
        return
    from ftfy import fix_encoding

    examples = checks["mojibake"]["examples"][:10]
    rows = [[identity, excerpt(texts[identity]), excerpt(fix_encoding(texts[identity]))] for identity in examples]
    yield section("Wrong encoding", table(["id", "as it came", "as it was meant"], rows))


def excerpt(text: str, length: int = 180) -> str:
    """The beginning of a text as a report may show it."""
    start = _UNREADABLE.sub(" ", mask(text[: 4 * length])[0])
    return start if len(start) <= length else start[: length - 1] + "…"
