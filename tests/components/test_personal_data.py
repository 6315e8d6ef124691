"""Personal data: the lists of tests/personal_data by kind, as docs/personal-data.md says it; and that masks are in every file."""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator

import pandas as pd
import pytest

from components.data_quality.personal import PLACES, Found, find, mask
from tests.components.conftest import CALM, Outcome, with_rows
from tests.conftest import PROJECT, make_rows

LISTS = PROJECT / "tests" / "personal_data"
PAGE = PROJECT / "docs" / "personal-data.md"
MARKED = re.compile(r"\{(email|iban|card|phone):(.*?)\}")


def cases(name: str) -> Iterator[tuple[str, list[Found]]]:
    """The texts of a list without their marks, and what is marked in each."""
    for line in (LISTS / name).read_text(encoding="utf-8").split("\n")[1:-1]:
        _, marked = line.split("\t")
        text, wanted, last = "", [], 0
        for mark in MARKED.finditer(marked):
            text += marked[last : mark.start()]
            wanted.append((len(text), len(text) + len(mark[2]), mark[1]))
            text, last = text + mark[2], mark.end()
        yield text + marked[last:], wanted


@pytest.mark.parametrize("name", ["cases.tsv", "held_out.tsv"])
def test_precision_and_recall_are_what_the_page_says(name: str) -> None:
    wanted, found, right = Counter[str](), Counter[str](), Counter[str]()
    texts = 0
    for text, marked in cases(name):
        got = find(text)
        texts += 1
        wanted.update(kind for *_, kind in marked)
        found.update(kind for *_, kind in got)
        right.update(kind for *_, kind in set(got) & set(marked))
    page = PAGE.read_text(encoding="utf-8")
    assert f"`{name}`, {texts} texts" in page
    for kind in PLACES:
        precision, recall = right[kind] / found[kind], right[kind] / wanted[kind]
        print(f"{name} {kind}: {wanted[kind]} wanted, precision {precision:.3f}, recall {recall:.3f}")
        assert f"| {name} | {kind} | {wanted[kind]} | {precision:.3f} | {recall:.3f} |" in page
        assert min(precision, recall) > 0.9


def test_what_is_found_does_not_overlap() -> None:
    for text, _ in cases("cases.tsv"):
        found = find(text)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(found)), text
        assert mask(mask(text)[0]) == (mask(text)[0], {}), text


def test_no_byte_of_it_is_in_any_file(check: Callable[..., Outcome]) -> None:
    """In texts that stay, leave, are alike or repaired, in ids, groups and kept columns; groups stay apart."""
    secrets = (
        "jane.doe@example.org",
        "joe@example.org",
        "4111 1111 1111 1111",
        "+44 20 7946 0958",
        "GB33BUKB20201555555555",
    )
    jane, joe, card, phone, iban = secrets
    rows = with_rows(
        make_rows(60),
        *(
            {"text": f"row {number} says {secret}", "group": secret, "note": secret}
            for number, secret in enumerate(secrets)
        ),
        {"id": jane, "text": f"write to {jane}, or to {joe}, cafÃ© {card}"},
        {"id": phone, "text": f"call {phone} " * 300},
        {"id": iban, "text": "x", "note": f"her account is {iban}"},
        *({"text": f"pay {card}", "label": label} for label in ("card", "login")),
        {"text": "", "group": joe},
    )
    outcome = check(rows, mask=True, patterns=[{"name": "rows", "pattern": "row 1", "must_match": False}], **CALM)
    assert outcome.code == 0, outcome.err
    folders = (outcome.clean_folder, outcome.quality_folder)
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert {"data.parquet", "quarantine.parquet", "quality.json", "report.html", "manifest.json"} <= {
        f.name for f in files
    }
    frames = [
        pd.read_parquet(path).map(str).to_csv() for path in files if path.suffix == ".parquet"
    ]  # they are compressed
    for content in (*(path.read_bytes() for path in files), *(frame.encode() for frame in frames)):
        for secret in (*secrets, "jane.doe", "joe@", "BUKB", "1111 1111", "7946"):
            assert secret.encode() not in content
    everything = pd.concat([outcome.clean, pd.read_parquet(outcome.quality_folder / "quarantine.parquet")])
    assert len(everything) == len(rows)
    assert everything["id"].is_unique
    assert everything["group"].nunique() == rows["group"].nunique()
    assert everything["group"].dropna().str.fullmatch(r"<(EMAIL|CARD|PHONE|IBAN)>#[0-9a-f]{12}").sum() == 6


def test_texts_of_digits_take_linear_time() -> None:
    for text in ("4 " * 50_000, "0044" * 25_000, "00 00 " * 12_000, "DE89 " * 25_000, "a.b@" * 25_000, "+1(2" * 5_000):
        find(text)
