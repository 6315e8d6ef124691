"""What is wrong in a text itself: mojibake, personal data."""

import re
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING

from components.data_quality.check import Check
from components.data_quality.params import Params
from fineline.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
_DIGITS = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)")
_GROUPS = re.compile(r"(?<![\w.])(?!\d{1,2}[./-]\d{1,2}[./-]\d{2,4}\b)[+(]?\d[\d ().-]{6,22}\d(?!\d)")
_NORTH_AMERICAN = re.compile(r"\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}")
_PLACES = {"email": "<EMAIL>", "phone": "<PHONE>", "card": "<CARD>"}


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


def check_personal_data(rows: "pd.DataFrame", task: Task, params: Params) -> "tuple[pd.DataFrame, list[Check]]":
    """E-mail addresses, phone and card numbers, counted in all rows; masked when the parameters say so."""
    if params.on_personal_data == "ignore" and not params.mask:
        return rows, []
    masked = [mask(text) for text in rows["text"]]
    broken = [int(row) for row, (_, counts) in zip(rows.index, masked, strict=True) if counts]
    check = Check(
        "personal_data",
        "warn" if params.mask else params.on_personal_data,
        "no e-mail address, phone or card number is left in a text",
        params.mask or not broken,
        len(broken),
        0,
        broken,
        details={
            "found": {kind: sum(counts.get(kind, 0) for _, counts in masked) for kind in _PLACES},
            "masked": len(broken) if params.mask else 0,
        },
    )
    return (rows.assign(text=[text for text, _ in masked]) if params.mask else rows), [check]


def mask(text: str) -> tuple[str, dict[str, int]]:
    """`text` with <EMAIL>, <PHONE>, <CARD> in place of what was found, and how many of each kind.

    A card number has 13 to 19 digits, begins with 2 to 6 (ISO/IEC 7812) and passes the Luhn check. A phone number has 9 to
    15 digits (ITU-T E.164) and begins with +, 0 or ( or is grouped as in North America.
    """
    counts: dict[str, int] = {}

    def replace(kind: str, found: re.Match[str], real: bool) -> str:
        if not real:
            return found[0]
        counts[kind] = counts.get(kind, 0) + 1
        return _PLACES[kind]

    text = _EMAIL.sub(lambda found: replace("email", found, True), text)
    text = _DIGITS.sub(lambda found: replace("card", found, _is_card(found[0])), text)
    return _GROUPS.sub(lambda found: replace("phone", found, _is_phone(found[0])), text), counts


def scripts(texts: "pd.Series") -> dict[str, float]:
    """Share of the letters in each script (LATIN, CYRILLIC, ...: the first word of their Unicode names), largest first."""
    letters: Counter[str] = Counter()
    for character, count in Counter("".join(texts)).items():
        if character.isalpha():
            letters[unicodedata.name(character, "UNKNOWN").split()[0]] += count
    return {name: count / letters.total() for name, count in letters.most_common()}


def _is_card(found: str) -> bool:
    digits = [int(character) for character in found if character.isdigit()]
    doubled = [digit if place % 2 == 0 else digit * 2 - 9 * (digit > 4) for place, digit in enumerate(reversed(digits))]
    return digits[0] in (2, 3, 4, 5, 6) and sum(doubled) % 10 == 0


def _is_phone(found: str) -> bool:
    digits = sum(character.isdigit() for character in found)
    return 9 <= digits <= 15 and (found[0] in "+0(" or _NORTH_AMERICAN.fullmatch(found) is not None)
