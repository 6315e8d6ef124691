"""report.html: what differs between the reference and the recent rows, on one page."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from components.monitor.drift import DRIFT, NO_DRIFT
from fineline.bundles.reference import Features
from fineline.reports import html_page

_LABELS_DRAWN = 15
_BINS = 30
_SHOWN = 300


def render(
    content: Mapping[str, Any],
    reference: Features | None = None,
    recent: Features | None = None,
    unlike: Sequence[str] = (),
) -> str:
    """The page of `content`, that of drift.json; without features (too few rows) only the counts.

    `unlike` are the recent texts that differ most from the reference.
    """
    sections = [html_page.section("Rows", _rows(content))]
    if reference and recent:
        sections = [
            html_page.section("Tests", *_tests(content)),
            html_page.section("How often the model is right", *_quality(content)),
            html_page.section("Predicted labels", *_labels(content["labels"])),
            html_page.section("Confidence", _densities("score", "score of the predicted label", reference, recent)),
            html_page.section("Length", _densities("characters", "characters", reference, recent)),
            html_page.section("Tokens", *_tokens(content["tokens"])),
            html_page.section(
                "Recent texts least like the reference",
                html_page.table(["text"], [[text[:_SHOWN]] for text in unlike]),
                "By a classifier on the embeddings that had not seen them. It finds such texts without drift too.",
            ),
            *sections,
        ]
    verdict = content["verdict"]
    tests = [test for test in content["tests"] if not test["slice"]]
    largest = [(f"effect: {test['test']}", f"{test['effect']:.3f}") for test in tests]
    return html_page.page(
        title="Drift of recent texts",
        subtitle=f"{content['rows']:,} recent rows against {content['reference_rows']:,} of the reference",
        tiles=[("recent rows", f"{content['rows']:,}"), *_accuracies(content), *largest],
        sections=sections,
        verdict=f"{verdict[0].upper()}{verdict[1:]}: {content['reason']}.",
        tone={DRIFT: "bad", NO_DRIFT: "good"}.get(verdict, "warn"),
    )


def _accuracies(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = {"accuracy, estimated": "accuracy_estimated", "accuracy, counted": "accuracy_counted"}
    return [(words, f"{content[name]['accuracy']:.1%}") for words, name in found.items() if content.get(name)]


def _quality(content: Mapping[str, Any]) -> tuple[str, str]:
    names = {"estimated from confidence, no labels": "accuracy_estimated", "counted on feedback": "accuracy_counted"}
    rows = [
        [words, found["rows"], f"{found['accuracy']:.3f}", f"{found['low']:.3f} to {found['high']:.3f}"]
        for words, name in names.items()
        if (found := content.get(name))
    ]
    drifted = "Drift was found: expect less than the estimate. " if content["verdict"] == DRIFT else ""
    return html_page.table(["", "texts", "accuracy", "interval at 95 %"], rows), (
        f"{drifted}The estimate takes the model at its word, which is too high for texts of a kind that it never met. Feedback "
        "tells of the texts that got some, which need not be like the others."
    )


def _tests(content: Mapping[str, Any]) -> tuple[str, str]:
    rows = [
        [
            test["slice"] or "all rows",
            test["test"],
            test["rows"],
            f"{test['effect']:.3f}",
            f"{test['p']:.2g}",
            f"{test['adjusted']:.2g}",
            "drift" if test["drift"] else "",
        ]
        for test in content["tests"]
    ]
    tones = ["bad" if test["drift"] else "good" for test in content["tests"]]
    return html_page.table(["rows", "test", "recent rows", "effect", "p", "p (Holm)", ""], rows, tones), (
        "An effect is the largest difference between two shares of rows that the test looks at, 0 to 1. The second p-value is "
        "adjusted for the number of tests."
    )


def _labels(shares: Mapping[str, Sequence[float]]) -> tuple[str, str]:
    order = sorted(shares, key=lambda label: -abs(shares[label][1] - shares[label][0]))
    names, values, highlight = [], [], []
    for label in order[:_LABELS_DRAWN]:
        for when, share in zip(("reference", "recent"), shares[label], strict=True):
            names.append(f"{label[:20]}, {when}")
            values.append(round(share, 4))
        highlight.append(names[-1])
    rows = [[label, *(f"{share:.4f}" for share in shares[label])] for label in order]
    table = html_page.details(f"all {len(rows)}", html_page.table(["label", "reference", "recent"], rows))
    return html_page.bars(
        names, values, "share of rows", highlight
    ) + table, "The labels whose share changed most first."


def _densities(column: str, unit: str, reference: Features, recent: Features) -> str:
    edges = np.histogram_bin_edges(np.concatenate([part.rows[column] for part in (reference, recent)]), _BINS)
    middles = ((edges[:-1] + edges[1:]) / 2).tolist()

    def share(part: Features) -> list[float]:
        return (np.histogram(part.rows[column], edges)[0] / len(part.rows)).tolist()

    return html_page.lines(
        {"reference": (middles, share(reference)), "recent": (middles, share(recent))}, unit, "share of rows"
    )


def _tokens(tokens: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    rows = [[entry["token"], f"{entry['difference']:+.4f}", f"{entry['p']:.2g}"] for entry in tokens]
    return html_page.table(["token", "change in the share of rows", "p (Bonferroni)"], rows), (
        "The share of rows that hold a token, of the 200 tokens that most rows hold; the surest changes first."
    )


def _rows(content: Mapping[str, Any]) -> str:
    rows = [
        ["read", f"{content['read']:,}"],
        ["without text", f"{content['empty']:,}"],
        ["bad", f"{content['bad']:,}{': ' if content['bad'] else ''}{content['first_bad']}"],
        ["older than monitor.window_days", f"{content['older']:,}"],
        ["with a text that another one has", f"{content['repeated']:,}"],
        ["not read", ", ".join(content["left_out"]) or "nothing"],
        ["compared", f"{content['rows']:,}"],
        ["of the reference", f"{content['reference_rows']:,}"],
        ["answers", content["answers"] + (f", version {content['version']}" if content["version"] else "")],
        *([["answers that the bundle gives too", f"{content['agreement']:.2%}"]] if "agreement" in content else []),
        ["columns of the reference that the source has not", ", ".join(content["columns_not_in_source"]) or "none"],
        ["sha256 of the texts", content["texts_sha256"]],
    ]
    return html_page.table(["", ""], rows)
