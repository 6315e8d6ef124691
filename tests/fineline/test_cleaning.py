"""Cleaning: each operation, their order, and that a bundle reads a raw text as training read the clean one."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.data_quality.params import Params as QualityParams
from components.data_quality.step import run as data_quality
from components.export_onnx.params import Params as ExportParams
from components.export_onnx.step import run as export_onnx
from components.split.params import Params as SplitParams
from components.split.step import run as split
from fineline.artifacts import folders
from fineline.bundles.bundle import logits, open_bundle, open_tokenizer, self_test
from fineline.rows.dataset import DATA, read_rows
from fineline.texts.cleaning import OPERATIONS, clean
from tests.conftest import make_rows, write_dataset, write_model

DIRTY = "<p>Ｗhere&nbsp;is\x07 my <b>card</b>? see https://bank.example/card?id=7 ﬁne &lt;b&gt;x"


@pytest.mark.parametrize(
    ("operation", "text", "cleaned"),
    [
        ("nfc", "cafe\u0301 ﬁ", "café ﬁ"),
        ("nfkc", "ﬁ ① Ａ ｶﾞ", "fi 1 A ガ"),
        ("full_width", "ＡＢＣ１２３！\u3000ｶ ﬁ", "ABC123! ｶ ﬁ"),
        ("control_characters", "a\x00b\x1b[0m\tc\r\nd\x85e\x9f", "ab[0m\tc\r\nd\x85e"),
        ("html", "<p>a<br/>b</p> &amp; <!-- no --><script>x < y</script>c", " a b  &   c"),
        ("html", "1 < 2, a <b 3, <EMAIL> <URL> x<y>z <3", "1 < 2, a <b 3, <EMAIL> <URL> x<y>z <3"),
        ("html", "&amp;lt;i&amp;gt;", " "),  # a tag that was hidden twice
        ("urls", "see https://a.example/b?c=1&d, www.x.example. (http://y.example)", "see <URL>, <URL>. (<URL>)"),
        ("urls", "见https://a.example/b，谢谢 a.example", "见<URL>，谢谢 a.example"),
    ],
)
def test_operations(operation: str, text: str, cleaned: str) -> None:
    assert clean(text, [operation]) == cleaned


def test_the_order_is_that_of_the_list() -> None:
    assert clean(DIRTY, ["html", "nfkc", "control_characters", "urls"]) == " Where is my  card ? see <URL> fine  x"
    assert OPERATIONS["urls"](OPERATIONS["html"]("www&#46;a.example")) == "<URL>"
    assert OPERATIONS["html"](OPERATIONS["urls"]("www&#46;a.example")) == "www.a.example"
    assert clean("anything ＸＸ", []) == "anything ＸＸ"


PIECES = [
    "<",
    ">",
    "&",
    "amp;",
    "lt;",
    "b",
    "/",
    "https://",
    "www.",
    "a.b",
    "ﬁ",
    "Ａ",
    "\x07",
    " ",
    "#60;",
    "<URL>",
    "script",
    "!--",
    "-->",
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14), st.permutations(list(OPERATIONS)))
def test_what_was_cleaned_once_stays_as_it_is(pieces: list[str], operations: list[str]) -> None:
    once = clean("".join(pieces), operations)
    assert clean(once, operations) == once


def test_markup_without_end_takes_linear_time() -> None:
    """A server cleans what strangers send."""
    for piece in ("<", "<!--", "<script>", "</style", "&lt", "&#60;", "www.", "http://", "<a ", "< a"):
        clean(piece * 30_000, list(OPERATIONS))


def test_training_and_the_bundle_see_the_same_text(tmp_path: Path) -> None:
    """Rows as they come, through data_quality, split and export_onnx; then the raw texts to the bundle."""
    raw = make_rows(120)
    marks = itertools.cycle(["<p>{}</p>", "{} https://bank.example/x", "Ａ {}\x07", "{} &amp; ﬁ", "{}"])
    raw["text"] = [next(marks).format(text) for text in raw["text"]]
    source = write_dataset(tmp_path / "dataset", raw, "ingest")
    operations = ["html", "nfkc", "control_characters", "urls"]
    off = {f"on_{name}": "ignore" for name in ("near_duplicates", "label_errors", "truncation", "unknown_tokens")}
    quality = QualityParams(clean=operations, **off)
    data_quality(params=quality, dataset=source, clean=tmp_path / "clean", quality=tmp_path / "quality")
    split(params=SplitParams(), dataset=tmp_path / "clean", splits=tmp_path / "splits")
    model = write_model(tmp_path / "model", labels=("card", "login", "transfer"))
    known = {"task": "single_label", "labels": ["card", "login", "transfer"], "max_length": 32, "precision": "fp32"}
    folders.write_json(model / "model.json", known)
    folders.write_manifest(
        model, step="train", kind="model", params={}, inputs={"splits": tmp_path / "splits"}, figures={}
    )
    export_onnx(params=ExportParams(), model=model, splits=tmp_path / "splits", onnx=tmp_path / "onnx")

    bundle = open_bundle(tmp_path / "onnx", threads=1)
    self_test(bundle)
    assert bundle.config["cleaning"] == operations
    learned = read_rows(tmp_path / "clean" / DATA).set_index("id")["text"]
    came = pd.Series(raw["text"].to_numpy(), index=raw["id"])[learned.index]
    assert (learned != came).sum() > 80
    plain = open_tokenizer(tmp_path / "onnx" / "tokenizer.json", 32)
    seen = [encoding.ids for encoding in bundle.tokenizer.encode_batch(came.tolist())]
    assert seen == [encoding.ids for encoding in plain.encode_batch(learned.tolist())]
    assert seen != [encoding.ids for encoding in plain.encode_batch(came.tolist())]
    np.testing.assert_array_equal(logits(bundle, came.tolist()), logits(bundle, learned.tolist()))
