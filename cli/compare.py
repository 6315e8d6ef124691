"""fineline compare: a page of two versions that labelled the same texts: a model and its shadow, from the server's sample log."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli import tables
from cli.feedback import kept
from fineline.process.errors import DataRejected, UsageError

if TYPE_CHECKING:
    import pandas as pd

_SIDES = ("model", "shadow")
_COLUMNS = [
    *("time", "text", "label", "score", "version", "seconds", "canary"),
    *("other_label", "other_score", "other_version", "other_seconds"),
]
_SHOWN_TEXTS, _SHOWN_CHARACTERS, _SHOWN_PAIRS = 30, 300, 30
_BINS = 20


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument(
        "log", type=Path, metavar="DIR", help="what `fineline serve --shadow ... --log-folder DIR` writes"
    )
    parser.add_argument("--out", type=Path, default=Path("compare.html"), help="the page (%(default)s)")
    parser.add_argument("--force", action="store_true", help="replace the page where it is there already")
    parser.add_argument(
        "--feedback",
        type=Path,
        metavar="DIR",
        help="texts with the labels that are right, as `fineline feedback` keeps them",
    )
    parser.add_argument(
        "--versions",
        nargs=2,
        metavar=("MODEL", "SHADOW"),
        help="their versions (default: those that were compared last)",
    )
    parser.epilog = (
        "example: fineline compare log --out compare.html\n\n"
        "A text counts once. The page shows how often both agree, what each says where not, their confidence and seconds.\n"
        "It holds texts of your users, as the log does. Which of two is right labels alone can tell: give --feedback some."
    )


def run(flags: argparse.Namespace) -> int:
    """Writes the page and says what is on it."""
    tables.check_new(flags.out, flags.force)
    rows = _latest(_read(flags.log), flags.versions)
    from fineline.reports import html_page

    model, shadow = rows["model_version"].iloc[0], rows["shadow_version"].iloc[0]
    agree, share, low, high = _agreement(rows)
    said = f"{share:.1%} ({low:.1%} to {high:.1%})"
    page = html_page.page(
        title=f"Version {shadow} beside version {model}",
        subtitle=f"{len(rows):,} texts that both labelled, {rows['time'].min():%Y-%m-%d %H:%M} to "
        f"{rows['time'].max():%Y-%m-%d %H:%M} UTC",
        tiles=[
            ("texts", f"{len(rows):,}"),
            ("agree", f"{share:.1%}"),
            *((f"mean score, version {v}", f"{rows[f'{s}_score'].mean():.3f}") for s, v in _named(rows)),
            *((f"median ms, version {v}", f"{1000 * rows[f'{s}_seconds'].median():.1f}") for s, v in _named(rows)),
        ],
        sections=[
            *([html_page.section("Which is right", *_right(rows, flags.feedback))] if flags.feedback else []),
            html_page.section("Where they differ", *_differences(rows)),
            html_page.section("Labels", *_labels(rows)),
            html_page.section("Confidence", *_confidence(rows)),
            html_page.section("Seconds of a text", *_seconds(rows)),
            html_page.section("Texts on which they differ", *_texts(rows)),
        ],
        verdict=f"Both give the same label to {agree:,} of {len(rows):,} texts: {said} at 95 %.",
    )
    with tables.whole(flags.out) as partial:
        partial.write_text(page, encoding="utf-8")
    print(f"{flags.out}: versions {model} and {shadow} agree on {agree:,} of {len(rows):,} texts, {said}")
    return 0


def _read(log: Path) -> "pd.DataFrame":
    """The rows of the log that two models labelled. Raises UsageError when the folder holds no log, DataRejected for another
    file in it."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted(path for path in log.glob("*.parquet") if not path.name.startswith("."))
    if not files:
        raise UsageError(f"{log} holds no sample log", "give the folder of `fineline serve --log-folder`")
    tables = []
    for file in files:
        try:
            table = pq.read_table(file)
        except (pa.ArrowInvalid, OSError) as error:
            raise DataRejected(f"{file} is no whole Parquet file: {error}", "move it away") from None
        if set(_COLUMNS) <= set(table.column_names):  # an older server, or another program, wrote the others
            tables.append(table.select(_COLUMNS).to_pandas())
    rows = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=_COLUMNS)
    rows = rows[rows["other_label"].notna()]
    if rows.empty:
        raise UsageError(
            f"{log} holds no text that two models labelled",
            "serve with --shadow and --log-sample, and wait for a while",
        )
    return _by_side(rows)


def _by_side(rows: "pd.DataFrame") -> "pd.DataFrame":
    """The rows with columns model_... and shadow_..., whichever answered."""
    import pandas as pd

    canary = rows["canary"].astype(bool)
    columns = {"time": rows["time"], "text": rows["text"]}
    for name in ("label", "score", "version", "seconds"):
        columns[f"model_{name}"] = rows[f"other_{name}"].where(canary, rows[name])
        columns[f"shadow_{name}"] = rows[name].where(canary, rows[f"other_{name}"])
    return pd.DataFrame(columns).sort_values("time", kind="stable", ignore_index=True)


def _latest(rows: "pd.DataFrame", versions: list[str] | None) -> "pd.DataFrame":
    """Those of one pair of versions, each text once. Raises UsageError when the log has no such pair."""
    model, shadow = versions or rows[["model_version", "shadow_version"]].iloc[-1]
    found = rows[(rows["model_version"] == model) & (rows["shadow_version"] == shadow)]
    if found.empty:
        pairs = rows[["model_version", "shadow_version"]].drop_duplicates().to_numpy().tolist()
        there = ", ".join(" ".join(pair) for pair in pairs)
        raise UsageError(f"the log has no version {shadow} beside {model}", f"it has --versions {there}")
    return found.drop_duplicates("text", ignore_index=True)


def _named(rows: "pd.DataFrame") -> list[tuple[str, str]]:
    return [(side, rows[f"{side}_version"].iloc[0]) for side in _SIDES]


def _agreement(rows: "pd.DataFrame") -> tuple[int, float, float, float]:
    """(texts with the same label, their share, its interval at 95 % (Wilson 1927))."""
    from scipy.stats import binomtest

    agree = int((rows["model_label"] == rows["shadow_label"]).sum())
    ends = binomtest(agree, len(rows)).proportion_ci(method="wilson")
    return agree, agree / len(rows), ends.low, ends.high


def _right(rows: "pd.DataFrame", feedback: Path) -> tuple[str, str]:
    """How often each is right on the texts that feedback has the label of."""
    from scipy.stats import binomtest

    from fineline.reports import html_page

    labels = {text: label for text, label, _ in kept(feedback)}
    known = rows[rows["text"].str.strip().isin(labels)]
    if known.empty:
        return html_page.table([f"none of {len(labels):,} texts with labels is among them"], []), ""
    truth = known["text"].str.strip().map(labels)
    right = {side: known[f"{side}_label"] == truth for side in _SIDES}
    lines = []
    for side, version in _named(rows):
        count = int(right[side].sum())
        ends = binomtest(count, len(known)).proportion_ci(method="wilson")
        share = f"{count / len(known):.3f}"
        lines.append([f"version {version}", len(known), count, share, f"{ends.low:.3f} to {ends.high:.3f}"])
    gained, lost = (int((right[one] & ~right[two]).sum()) for one, two in (_SIDES[::-1], _SIDES))
    p = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    (_, model), (_, shadow) = _named(rows)
    return html_page.table(["", "texts with labels", "right", "accuracy", "interval at 95 %"], lines), (
        f"Only version {shadow} is right on {gained:,} of them, only version {model} on {lost:,}: p = {p:.2g} (McNemar, exact, "
        "two-sided). The accuracies are of these texts alone; where only texts on which both differ have labels, they are low."
    )


def _differences(rows: "pd.DataFrame") -> tuple[str, str]:
    from fineline.reports import html_page

    differ = rows[rows["model_label"] != rows["shadow_label"]]
    if differ.empty:
        return html_page.table(["both say the same of every text"], []), ""
    counts = differ.groupby(["model_label", "shadow_label"]).size().sort_values(ascending=False, kind="stable")
    most = counts.head(_SHOWN_PAIRS).reset_index(name="texts").itertuples(index=False)
    lines = [[one, two, int(count), f"{count / len(rows):.2%}"] for one, two, count in most]
    (_, model), (_, shadow) = _named(rows)
    more = f" The {_SHOWN_PAIRS} most frequent of {len(counts):,}." if len(counts) > _SHOWN_PAIRS else ""
    headers = [f"version {model} says", f"version {shadow} says", "texts", "of all texts"]
    return html_page.table(headers, lines), f"What each says of the texts on which they differ.{more}"


def _labels(rows: "pd.DataFrame") -> tuple[str, str]:
    from fineline.reports import html_page

    shares = [rows[f"{side}_label"].value_counts(normalize=True) for side in _SIDES]
    labels = sorted(set(shares[0].index) | set(shares[1].index))
    lines = [[label, *(float(share.get(label, 0)) for share in shares)] for label in labels]
    lines.sort(key=lambda line: -abs(line[2] - line[1]))
    shown = [[label, f"{one:.2%}", f"{two:.2%}", f"{100 * (two - one):+.2f}"] for label, one, two in lines]
    headers = ["label", *(f"version {version}" for _, version in _named(rows)), "change, points"]
    return html_page.table(headers, shown), "The share of the texts that get a label, the largest changes first."


def _confidence(rows: "pd.DataFrame") -> tuple[str, str]:
    import numpy as np

    from fineline.reports import html_page

    edges = np.linspace(0, 1, _BINS + 1)
    middles = ((edges[:-1] + edges[1:]) / 2).tolist()
    series = {
        f"version {version}": (middles, (np.histogram(rows[f"{side}_score"], edges)[0] / len(rows)).tolist())
        for side, version in _named(rows)
    }
    return html_page.lines(series, "score of the label", "share of texts"), ""


def _seconds(rows: "pd.DataFrame") -> tuple[str, str]:
    from fineline.reports import html_page

    lines: list[list[Any]] = [
        [f"version {version}", *(f"{1000 * rows[f'{side}_seconds'].quantile(q):.2f}" for q in (0.5, 0.95, 0.99))]
        for side, version in _named(rows)
    ]
    return html_page.table(["", "median ms", "95 % below, ms", "99 % below, ms"], lines), (
        "A text's share of its run of the model. Beside runs with what the cores have left, and is slower for that."
    )


def _texts(rows: "pd.DataFrame") -> tuple[str, str]:
    from fineline.reports import html_page

    differ = rows[rows["model_label"] != rows["shadow_label"]]
    order = differ[["model_score", "shadow_score"]].min(axis=1).sort_values(ascending=False, kind="stable").index
    lines = [
        [
            row["text"][:_SHOWN_CHARACTERS],
            *(f"{row[f'{side}_label']} ({row[f'{side}_score']:.2f})" for side in _SIDES),
        ]
        for _, row in differ.loc[order[:_SHOWN_TEXTS]].iterrows()
    ]
    headers = ["text", *(f"version {version}" for _, version in _named(rows))]
    return html_page.table(headers, lines), "Those of which both are surest first: labels for these tell most."
