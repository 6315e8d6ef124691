"""What is wrong in a text itself: mojibake, personal data."""

import unicodedata
from collections import Counter
from typing import TYPE_CHECKING

from components.data_quality.check import Check
from components.data_quality.params import Params
from components.data_quality.personal import PLACES, mask
from fineline.tasks import Task
from fineline.texts.cleaning import OPERATIONS, clean

if TYPE_CHECKING:
    import pandas as pd


def check_mojibake(rows: "pd.DataFrame", task: Task, params: Params) -> "tuple[pd.DataFrame, list[Check]]":
    """Text that went through a wrong encoding (ftfy, Speer 2019); repaired when the parameters say so."""
    if params.on_mojibake == "ignore":
        return rows, []
    from ftfy import fix_encoding

    repaired = rows["text"].map(fix_encoding, na_action="ignore")
    broken = [int(row) for row in rows.index[rows["text"].notna() & (repaired != rows["text"])]]
    fix = params.on_mojibake == "fix"
    check = Check(
        "mojibake",
        "warn" if fix else params.on_mojibake,
        "no text was decoded with a wrong encoding",
        fix or not broken,
        len(broken),
        0,
        broken,
        details={"repaired": len(broken) if fix else 0},
    )
    return (rows.assign(text=repaired) if fix else rows), [check]


def clean_texts(rows: "pd.DataFrame", task: Task, params: Params) -> "tuple[pd.DataFrame, list[Check]]":
    """The operations of `clean` in their order; `details` counts the texts that each changes by itself."""
    if not params.clean:
        return rows, []
    cleaned = rows["text"].map(lambda text: clean(text, params.clean), na_action="ignore")
    changed = [int(row) for row in rows.index[rows["text"].notna() & (cleaned != rows["text"])]]
    there = rows["text"].dropna()
    alone = {name: int((there.map(OPERATIONS[name]) != there).sum()) for name in params.clean}
    check = Check(
        "cleaning",
        "warn",
        f"texts are cleaned: {', '.join(params.clean)}; the model's bundle cleans so what it answers",
        True,
        len(changed),
        0,
        changed,
        details={"repaired": len(changed), "operations": alone},
    )
    return rows.assign(text=cleaned), [check]


def check_personal_data(rows: "pd.DataFrame", task: Task, params: Params) -> "tuple[pd.DataFrame, list[Check]]":
    """What `personal.find` finds, counted in all rows; masked when the parameters say so."""
    if params.on_personal_data == "ignore" and not params.mask:
        return rows, []
    masked = [mask(text) for text in rows["text"]]
    broken = [int(row) for row, (_, counts) in zip(rows.index, masked, strict=True) if counts]
    check = Check(
        "personal_data",
        "warn" if params.mask else params.on_personal_data,
        "no e-mail address, bank account, card or phone number is left in a text",
        params.mask or not broken,
        len(broken),
        0,
        broken,
        details={
            "found": {kind: sum(counts.get(kind, 0) for _, counts in masked) for kind in PLACES},
            "masked": len(broken) if params.mask else 0,
        },
    )
    return (rows.assign(text=[text for text, _ in masked]) if params.mask else rows), [check]


def scripts(texts: "pd.Series") -> dict[str, float]:
    """Share of the letters in each script (LATIN, CYRILLIC, ...: the first word of their Unicode names), largest first."""
    letters: Counter[str] = Counter()
    for character, count in Counter("".join(texts)).items():
        if character.isalpha():
            letters[unicodedata.name(character, "UNKNOWN").split()[0]] += count
    return {name: count / letters.total() for name, count in letters.most_common()}
