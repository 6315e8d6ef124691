"""HTML reports in one file: no network, no scripts, plots as SVG inside."""

import functools
import html
import io
import os
import re
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# Strings that hold a figure: 19.0% · 0.9213 · 0.8520 to 0.8758 · +0.025 (+0.012 to +0.039)
_FIGURE = re.compile(r"[+-]?[\d.,]+(e[+-]?\d+)?%?( to [+-]?[\d.,]+| \([+-]?[\d.,]+ to [+-]?[\d.,]+\))?|")
_NAMES_WITH_COUNTS = 30
_LONG_NAME = 22
_WIDTH = 10  # inches; fills a card at a legible size of letters


def page(
    title: str,
    subtitle: str,
    tiles: Sequence[tuple[str, str]],
    sections: Sequence[dict[str, str]],
    verdict: str = "",
    tone: str = "",
) -> str:
    """The page. `sections` are {title, note, body}, body being HTML from this module's functions; all else is escaped.

    `tone` colours the verdict: good, bad or warn.
    """
    from jinja2 import Environment

    source = (Path(__file__).parent / "page.html.jinja").read_text(encoding="utf-8")
    template = Environment(autoescape=True).from_string(source)
    return template.render(title=title, subtitle=subtitle, tiles=tiles, sections=sections, verdict=verdict, tone=tone)


def section(title: str, body: str, note: str = "") -> dict[str, str]:
    """One card of a page."""
    return {"title": title, "note": note, "body": body}


def table(headers: Sequence[str], rows: Sequence[Sequence[Any]], tones: Sequence[str] = ()) -> str:
    """An HTML table; numbers are right-aligned, floats shown with 4 significant digits, `tones` colour the last column."""
    numeric = [
        bool(rows) and any(row[i] != "" for row in rows) and all(_is_figure(row[i]) for row in rows)
        for i in range(len(headers))
    ]

    def cell(value: Any, tag: str, right: bool, tone: str = "") -> str:
        classes = " ".join(filter(None, ["n" if right else "", tone]))
        return f'<{tag} class="{classes}">{_breakable(html.escape(shown(value)))}</{tag}>'

    head = "".join(cell(header, "th", numeric[i]) for i, header in enumerate(headers))
    lines = []
    for number, row in enumerate(rows):
        tone = tones[number] if tones else ""
        cells = [cell(value, "td", numeric[i], tone if i == len(row) - 1 else "") for i, value in enumerate(row)]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _breakable(text: str) -> str:
    """A long name may break after its underscores, or it would squeeze the other columns."""
    return text if len(text) <= _LONG_NAME or " " in text else text.replace("_", "_<wbr>")


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and _FIGURE.fullmatch(value) is not None)


def shown(value: Any) -> str:
    """A figure as people read it: 1,640 · 0.9213 · yes."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if isinstance(value, float | np.floating):
        number = float(value)
        return f"{number:,.1f}" if abs(number) >= 1000 else f"{number:.4g}"
    return str(value)


def details(summary: str, body: str) -> str:
    """HTML of this module's functions that opens on a click."""
    return f"<details><summary>{html.escape(summary)}</summary>{body}</details>"


def preformatted(text: str) -> str:
    """Text as it is, such as JSON."""
    return f"<pre>{html.escape(text)}</pre>"


def intervals(
    names: Sequence[str],
    values: Sequence[float],
    ends: Sequence[tuple[float, float]],
    unit: str,
    highlight: Sequence[str] = (),
    line: float | None = None,
) -> str:
    """A dot with its interval per name, as SVG, those in `highlight` in the warning colour; `line` is drawn across."""
    figure, axes = _figure(_WIDTH, 0.8 + 0.34 * len(names))
    for row, (name, value, (low, high)) in enumerate(zip(names, values, ends, strict=True)):
        colour = "#c77700" if name in highlight else "#2456a6"
        axes.plot([low, high], [row, row], color=colour, linewidth=2.5, alpha=0.45, solid_capstyle="butt")
        axes.plot(value, row, "o", color=colour, markersize=7)
        axes.annotate(f"{value:.3f}", (value, row), (0, 7), textcoords="offset points", ha="center", fontsize=8.5)
    if line is not None:
        axes.axvline(line, color="#999", linewidth=1, linestyle="--", zorder=0)
    axes.set_yticks(range(len(names)), [_short(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.7)
    axes.set_xlabel(unit)
    axes.grid(axis="x", color="#e3e7ed")
    axes.set_axisbelow(True)
    return svg(figure)


def bars(names: Sequence[str], values: Sequence[float], unit: str, highlight: Sequence[str] = ()) -> str:
    """Horizontal bars, one per name, as SVG; those in `highlight` in the warning colour."""
    figure, axes = _figure(_WIDTH, 0.6 + 0.3 * len(names))
    colours = ["#c77700" if name in highlight else "#2456a6" for name in names]
    drawn = axes.barh(range(len(names)), values, color=colours, height=0.7)
    axes.bar_label(drawn, labels=[shown(value) for value in values], padding=4, fontsize=9)
    axes.set_yticks(range(len(names)), [_short(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel(unit)
    axes.margins(x=0.12)
    return svg(figure)


def histogram(groups: dict[str, Sequence[float]], unit: str, bins: int = 40) -> str:
    """Outlined histograms of one or more groups over the same bins, as SVG."""
    figure, axes = _figure(_WIDTH, 3)
    edges = np.histogram_bin_edges(
        np.concatenate([np.asarray(values, dtype=float) for values in groups.values()]), bins
    )
    for name, values in groups.items():
        axes.hist(values, bins=edges, histtype="stepfilled", alpha=0.55, label=_literal(name))
    axes.set_xlabel(unit)
    axes.set_ylabel("rows")
    if len(groups) > 1:
        axes.legend(frameon=False)
    return svg(figure)


def lines(series: Mapping[str, tuple[Sequence[float], Sequence[float]]], x: str, y: str, diagonal: bool = False) -> str:
    """Lines {name: (x values, y values)} as SVG, with the diagonal of a calibration plot if asked."""
    figure, axes = _figure(_WIDTH, 3.2)
    for name, (xs, ys) in series.items():
        axes.plot(xs, ys, marker="o", markersize=3, label=_literal(name))
    if diagonal:
        axes.plot([0, 1], [0, 1], color="#999", linewidth=1, linestyle="--")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if len(series) > 1:
        axes.legend(frameon=False)
    return svg(figure)


def heatmap(matrix: np.ndarray, names: Sequence[str], rows: str = "true", columns: str = "predicted") -> str:
    """A square matrix of counts with row-wise colours, as SVG; counts are written up to 30 names."""
    many = len(names) > _NAMES_WITH_COUNTS
    size = min(12.0, 2.6 + 0.48 * len(names))
    figure, axes = _figure(size, size if many else size - 0.8)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1, aspect="auto")  # the root shows a rare confusion too
    ticks = [_short(name) for name in names]
    font = 6.5 if many else 9
    axes.set_xticks(
        range(len(names)), ticks, rotation=90 if many else 50, ha="center" if many else "right", fontsize=font
    )
    axes.set_yticks(range(len(names)), ticks, fontsize=font)
    axes.set_xlabel(_literal(columns))
    axes.set_ylabel(_literal(rows))
    if not many:
        for i, j in zip(*np.nonzero(matrix), strict=True):
            colour = "white" if share[i, j] > 0.35 else "#1c2430"
            axes.text(j, i, shown(matrix[i, j]), ha="center", va="center", fontsize=8, color=colour)
    return svg(figure)


def svg(figure: Any) -> str:
    """A matplotlib figure as an SVG element, the same bytes for the same figure."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": "fineline", "svg.fonttype": "none"}), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Glyph .* missing from font"
        )  # it measures with its font; the browser has others
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _figure(width: float, height: float) -> tuple[Any, Any]:
    _keep_out_of_home()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


@functools.cache
def _keep_out_of_home() -> "tempfile.TemporaryDirectory[str] | None":
    """Gives matplotlib a folder of its own for as long as this process lives: it would keep its list of fonts in HOME, and warn
    where that cannot be written."""
    if "MPLCONFIGDIR" in os.environ:
        return None
    folder = tempfile.TemporaryDirectory(prefix="fineline-")
    os.environ["MPLCONFIGDIR"] = folder.name
    return folder


def _short(name: str, length: int = 34) -> str:
    name = " ".join(name.split())
    return _literal(name if len(name) <= length else name[: length - 1] + "…")


def _literal(name: str) -> str:
    """`name` as matplotlib draws it character by character: text between two dollar signs would be mathematics."""
    return name.replace("$", r"\$")
