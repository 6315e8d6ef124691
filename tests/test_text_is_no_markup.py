"""What users write is text wherever it is shown: no mathematics in pictures, no HTML, no Markdown."""

import html
import re
import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt

from components.evaluate import model_card, page
from components.evaluate.evaluation import evaluation
from components.evaluate.params import Params
from fineline.artifacts import folders
from fineline.reports import html_page
from fineline.tasks import get_task
from tests.conftest import write_splits

LABELS = sorted(
    {
        *(
            "$",
            "$$",
            "$5 to $9",
            r"\$5",
            r"$\frac{1}{2}$",
            "a_b^c",
            "{{ 7 * 7 }}",
            "{% raw %}",
            "<b>bold</b>",
            "&amp;",
            "_private",
        ),
        *(
            "`code`",
            "``",
            "`",
            "a|b",
            "*stars*",
            "[link](http://x)",
            "# heading",
            "line\nbreak",
            "| x |",
            "<!--",
            "]]>",
        ),
        *("配送延迟", "การชำระเงิน", "भुगतान", "دفع", "😀", "👨‍👩‍👧"),
    }
)


def drawn(svg: str) -> list[str]:
    """The texts of a picture as a reader sees them."""
    root = ElementTree.fromstring(svg)
    return ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]


def one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("picture", ["bars", "intervals", "heatmap", "lines", "histogram"])
def test_a_label_is_drawn_as_it_is(picture: str) -> None:
    numbers = list(range(1, len(LABELS) + 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = {
            "bars": lambda: html_page.bars(LABELS, numbers, "rows"),
            "intervals": lambda: html_page.intervals(LABELS, numbers, [(0, 9)] * len(numbers), "F1"),
            "heatmap": lambda: html_page.heatmap(np.eye(len(LABELS)), LABELS),
            "lines": lambda: html_page.lines({"$a$ and $b$": ([0, 1], [0, 1]), "$": ([0, 1], [1, 0])}, "x", "y"),
            "histogram": lambda: html_page.histogram({"$a$ and $b$": [1, 2], "$": [2, 3]}, "x"),
        }[picture]()
    expected = {"$a$ and $b$", "$"} if picture in ("lines", "histogram") else set(map(one_line, LABELS))
    assert expected <= set(drawn(svg))


def evaluated(tmp_path: Path) -> tuple[Any, dict[str, Any], folders.Manifest]:
    task = get_task("single_label")
    rows = pd.DataFrame({"label": LABELS * 3})
    rows["id"] = [f"r{number}" for number in range(len(rows))]
    rows["text"] = [f"{label} <i>text</i> `x` $y$ {{{{ 1 + 1 }}}}" for label in rows["label"]]
    rng = np.random.default_rng(0)
    probabilities = {
        name: rng.dirichlet(np.ones(len(LABELS)), len(rows)) for name in ("shipped", "trained", "majority")
    }
    slices = [("channel", label, np.arange(len(rows)) % len(LABELS) == number) for number, label in enumerate(LABELS)]
    params = Params(bootstrap=100, min_slice_rows=2, min_support=2)
    found = evaluation(params, task, LABELS, rows, 100, probabilities, slices)
    manifest = folders.read_manifest(write_splits(tmp_path / "splits", pd.concat([rows] * 2, ignore_index=True)))
    return found, {"precision": "int8", "max_length": 32}, manifest


def test_the_evaluation_report_shows_labels_as_text(tmp_path: Path) -> None:
    found, config, manifest = evaluated(tmp_path)
    shown = page.render(found, config, manifest, {}, {}, 0.5)
    for label in LABELS:
        assert html.escape(label) in shown
    assert "<b>bold" not in shown
    assert "<i>text" not in shown
    assert "49" not in re.findall(r"<td[^>]*>\s*(\d+)\s*</td>", shown)


def test_the_model_card_shows_labels_as_text(tmp_path: Path) -> None:
    found, config, manifest = evaluated(tmp_path)
    base = folders.Manifest(
        **{**manifest.__dict__, "params": {"model": "*my*_model_<b>", "note": "a `tick`\n# and a | heading"}}
    )
    card = model_card.render(found, config, manifest, base)
    rendered = MarkdownIt("commonmark").enable("table").render(card.split("\n---\n", 1)[1])
    codes = {html.unescape(code) for code in re.findall(r"<code>(.*?)</code>", rendered)}
    # GitHub's tables unescape \| before code; markdown-it does so too.
    assert {one_line(label) for label in LABELS} <= codes
    assert "a `tick` # and a | heading" in codes
    assert "*my*_model_&lt;b&gt;" in rendered
    for tag in ("<b>", "<em>", "<strong>", "<a "):
        assert tag not in rendered
    assert re.findall(r"<h1>(.*?)</h1>", rendered) == [
        f"*my*_model_&lt;b&gt;, fine-tuned: {len(LABELS)} labels, int8 ONNX"
    ]
    rows = rendered.split("<h2>Results per label</h2>")[1].split("</table>")[0]
    assert rows.count("<tr>") == len(LABELS) + 1
