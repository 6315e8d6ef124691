"""Personal data in a text: e-mail addresses, bank account, card and phone numbers. What the rules rest on, and how well they
find what they should: docs/personal-data.md.
"""

import functools
import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

PLACES = {"email": "<EMAIL>", "iban": "<IBAN>", "card": "<CARD>", "phone": "<PHONE>"}
"""Kind to what stands in its place. Of two that overlap, the earlier kind is found."""

Found = tuple[int, int, str]
"""`text[start:end]` is of that kind, a key of `PLACES`."""

# Letters of scripts with spaces around words: an address may begin right after others (联系我me@example.org).
_L = "A-Za-z0-9\u00c0-\u058f"
_EMAILS = (
    re.compile(
        rf"(?<![{_L}._%+-])[{_L}_%+-](?:[{_L}._%+'-]{{0,62}}[{_L}_%+'-])?[@＠](?!\dx\.)"
        rf"(?:[{_L}](?:[{_L}-]{{0,61}}[{_L}])?\.){{1,8}}(?:xn--[a-z0-9-]{{1,59}}|[A-Za-z\u00c0-\u058f]{{2,24}})"
    ),
    re.compile(r"(?<![\w.+-])[\w.+-]{1,64}[@＠](?!\dx\.)(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}"),
)
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d\d(?=(?:[ -]?[A-Za-z0-9]){11})")
_ISSUERS = re.compile(
    r"4(?:\d{15}|\d{18})"  # Visa; no 13 digits, which are no longer given out and which article numbers have
    r"|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"  # Mastercard
    r"|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11}|35(?:2[89]|[3-8]\d)\d{12,15}"  # American Express, Diners, JCB
    r"|(?:50|5[6-8]|60|6[2-57]|81|220[0-4])\d{12,17}"  # Maestro, Discover, UnionPay, RuPay, Elo, Mir
)

_RUN = re.compile(r"(?<![A-Za-z\d#])(?<!\d[.,])[+(]{0,2}\d(?:[ \n().+/-]{0,2}\d)+")
_GROUP = re.compile(r"[+(]{0,2}\d+")
_MOST_GROUPS = 10
_DAY, _MONTH = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:0?[1-9]|1[0-2])"
_TIME = re.compile(
    rf"(?<![\d./-])(?:(?:19|20)\d\d([./-]){_MONTH}\1{_DAY}(?!\1?\d)|{_DAY}([./-]){_DAY}\2(?:(?:19|20)\d\d|\d\d)(?!\2?\d))"
    r"|(?<![\d:])\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?(?![\d:])"
)
_NORTH_AMERICAN = re.compile(r"(?:\+?1[ .-])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[ .-])\d{3}[ .-]\d{4}")
_NO_PHONE = re.compile(
    r"\d{1,3}(?:[ .]\d{3})+"  # thousands
    r"|0?\.\d+"  # shares
    r"|(?:(?:19|20)\d\d\D{0,2})+"  # years
    r"|(?:\d{1,3}\.){3}\d{1,5}"  # network addresses and versions
    r"|(?:97[89][ -])?\d{1,5}[ -]\d{1,7}[ -]\d{1,7}[ -]\d"  # ISBN
    r"|\d{3}-\d\d-\d{4}"  # social security
    r"|\d{1,2}(?:[ -]\d{1,2}){5,}"  # scores, lottery
)
_SAYS = re.compile(
    r"(?P<call>phone|call|tel[eéè]?[fp]|\bt[eé]l[eé]?\b|\btlf\b|mobil|\bcell|\bsms\b|\btext\b|\btxt\b|whatsapp|\bring\b|\bdial|\bfax\b|"
    r"handy|m[oó]vil|celular|portable|appel|ligue|llam|chiam|zadzwo|rufen|anruf|soita|puhelin|gọi|hubungi|telpon|телефон|звон|дзвон|"
    r"номер|τηλ|κινητ|電話|电话|手机|手機|携帯|请打|拨打|致电|联系|微信|전화|휴대|โทร|मोबाइल|फ़ोन|फ़ोन|اتصل|هاتف|جوال|تماس|טלפון|נייד|התקשר)"
    r"|(?P<other>\border|invoice|ticket|tracking|parcel|\bcase|referen|\bref\b|account|konto|serial|chassis|model|nozzle|\bpart\b|\bisbn|"
    r"\bimei|iccid|\bean\b|barcode|code\b|version|bestell|auftrag|rechnung|artikel|commande|facture|pedido|factura|ordine|zamówieni|"
    r"заказ|замовлен|счет|счёт|订单|訂單|注文|주문|串号)",
    re.IGNORECASE,
)
_BEFORE = 30  # characters before a number in which a word says what it is
# Countries whose numbers are looked for as they are written at home. With + or 00 before it, a number of any country is found.
_HOMES = (
    "US GB DE FR ES IT PT NL BE AT CH IE DK SE NO FI PL CZ RO UA RU GR TR IL EG SA AE ZA NG KE IN PK BD CN TW HK JP KR ID TH VN "
    "PH MY SG AU NZ MX BR AR"
).split()

# One character for one, so that what is found in the plain text stands at the same place in the other.
_PLAIN = {
    **dict.fromkeys(map(ord, "\u00a0\u2007\u2009\u202f\u3000\t\u200b\u200c\u200d\u2060\ufeff"), " "),
    **dict.fromkeys(map(ord, "‐‑‒–—−－"), "-"),
    **{ord(wide): plain for wide, plain in zip("＋（）．／", "+()./", strict=True)},
}


def find(text: str) -> list[Found]:
    """The personal data in `text`, in its order, none overlapping another.

    An IBAN has its country's form and check digits (ISO 13616), a card number an issuer's first digits and length (ISO/IEC 7812)
    and passes Luhn's check; a phone number is one that its country gives out (libphonenumber), and is written as one.
    """
    if "@" not in text and "＠" not in text and sum(map(str.isdecimal, text)) < 8:
        return []
    found: list[Found] = []
    plain = re.sub(r"(?![0-9])\d", lambda digit: str(int(digit[0])), text).translate(_PLAIN)
    emails = [("email", _spans_of(form)) for form in _EMAILS]
    for kind, search in (*emails, ("iban", _ibans), ("card", _cards), ("phone", _phones)):
        here = [(start, end, kind) for start, end in search(plain)]
        plain = _without(plain, here)
        found += here
    return sorted(found)


def mask(text: str) -> tuple[str, dict[str, int]]:
    """`text` with <EMAIL>, <IBAN>, <CARD>, <PHONE> in place of what was found, and how many of each kind."""
    counts: dict[str, int] = {}
    parts, last = [], 0
    for start, end, kind in find(text):
        parts += [text[last:start], PLACES[kind]]
        counts[kind] = counts.get(kind, 0) + 1
        last = end
    return "".join([*parts, text[last:]]), counts


def mask_columns(rows: "pd.DataFrame", own: Collection[str]) -> "pd.DataFrame":
    """`rows` with what is personal masked in every column but the text and the other `own` ones of a row.

    Ids and groups get 12 digits of their SHA-256 behind the mask, so that different ones stay so: pseudonyms, which who guesses
    the value can check.
    """
    kept = [name for name in rows if name not in own]
    columns = {name: lambda value: mask(value)[0] for name in kept} | dict.fromkeys(
        {"id", "group"} & {*rows}, _pseudonym
    )
    masked = rows.copy()
    for name, change in columns.items():
        masked[name] = rows[name].map(change, na_action="ignore")
    return masked


def _pseudonym(value: str) -> str:
    masked, counts = mask(value)
    return f"{masked}#{hashlib.sha256(value.encode()).hexdigest()[:12]}" if counts else value


def _without(text: str, found: Sequence[Found]) -> str:
    """`text`, as long as it was, with what was found blanked."""
    parts, last = [], 0
    for start, end, _ in sorted(found):
        parts += [text[last:start], "_" * (end - start)]
        last = end
    return "".join([*parts, text[last:]])


def _spans_of(form: re.Pattern[str]) -> Callable[[str], Iterator[tuple[int, int]]]:
    return lambda text: (match.span() for match in form.finditer(text))


def _ibans(text: str) -> Iterator[tuple[int, int]]:
    from stdnum import iban

    for match in _IBAN.finditer(text):
        length = _iban_length(match[0][:2].upper())
        number = re.match(rf"(?:[ -]?[A-Za-z0-9]){{{length}}}(?![A-Za-z0-9])", text[match.start() : match.start() + 70])
        if length and number and iban.is_valid(number[0], check_country=False):
            yield match.start(), match.start() + number.end()


@functools.cache
def _iban_length(country: str) -> int:
    """How many characters an IBAN of the country has; 0 for none."""
    from stdnum import numdb

    form = numdb.get("iban").info(country)[0][1].get("bban", "")
    return 4 + sum(map(int, re.findall(r"\d+", form))) if form else 0


def _cards(text: str) -> Iterator[tuple[int, int]]:
    """Card numbers in runs of digits: a run may begin or end with a date, an amount or another card number."""
    for run in _RUN.finditer(text):
        groups = _groups(run)
        first = 0
        while first < len(groups):
            begins = (
                _size(groups[first]) in (2, 4, *range(14, 20)) and groups[first][0][-_size(groups[first])] in "234568"
            )
            ends = _ends(groups, first, 19) if begins else []
            last = next((last for last in ends if _is_card(text, groups[first:last])), first)
            if last > first:
                yield groups[first].end() - _size(groups[first]), groups[last - 1].end()
            first = max(last, first + 1)


def _groups(run: re.Match[str]) -> list[re.Match[str]]:
    return list(_GROUP.finditer(run.string, *run.span()))


def _size(group: re.Match[str]) -> int:
    return len(group[0].lstrip("+("))


def _ends(groups: Sequence[re.Match[str]], first: int, most: int) -> list[int]:
    """Ends of the windows of groups from `first` on with at most so many digits, the longest first."""
    digits, ends = 0, []
    for last in range(first, min(len(groups), first + _MOST_GROUPS)):
        digits += _size(groups[last])
        if digits > most:
            break
        ends.append(last + 1)
    return ends[::-1]


def _is_card(text: str, groups: Sequence[re.Match[str]]) -> bool:
    """One group of digits, four and then three to six each time, or pairs."""
    from stdnum import luhn

    sizes = [_size(group) for group in groups]
    if (
        len(sizes) > 1
        and set(sizes) != {2}
        and not (sizes[0] == 4 and all(size in (3, 4, 5, 6) for size in sizes[1:-1]))
    ):
        return False
    number = "".join(group[0].strip("+(") for group in groups)
    after = text[groups[-1].end() : groups[-1].end() + 1]
    return (
        _ISSUERS.fullmatch(number) is not None and not (after.isascii() and after.isalpha()) and luhn.is_valid(number)
    )


def _phones(text: str) -> Iterator[tuple[int, int]]:
    """Phone numbers in runs of digits; a part of a run, between spaces, only where it begins as a phone number does."""
    text = _TIME.sub(lambda time: "_" * len(time[0]), text)
    for run in _RUN.finditer(text):
        if _NO_PHONE.fullmatch(run[0]) and _said_before(text, run.start()) != "call":
            continue
        groups = _groups(run)
        first = 0
        while first < len(groups):
            ends = _ends(groups, first, 15) if first == 0 or groups[first][0][0] in "+(" else []
            last = next((last for last in ends if _is_phone(text, groups, first, last)), first)
            if last > first:
                number = text[groups[first].start() : groups[last - 1].end()]
                yield groups[first].start() + ("(" in number[:1] and ")" not in number), groups[last - 1].end()
            first = max(last, first + 1)


def _is_phone(text: str, groups: Sequence[re.Match[str]], first: int, last: int) -> bool:
    """Whether the groups `first` to `last` of a run are one."""
    if (first > 0 or last < len(groups)) and not _stands_alone(text, groups, first, last):
        return False
    number = text[groups[first].start() : groups[last - 1].end()]
    digits = re.sub(r"\D", "", number)
    if "+" in number:
        return "+" in number[:2] and "+" not in number[2:] and _is_given_out(digits, reserved_too=True)
    said = _said_before(text, groups[first].start())
    if said == "other" or len(digits) < 8:
        return False
    if _is_article(number) and said != "call":
        return False
    if any(digits.startswith(abroad) and _is_given_out(digits[len(abroad) :]) for abroad in ("00", "011")):
        return True
    at_home = _at_home(digits)
    if _NORTH_AMERICAN.fullmatch(number) or (said == "call" and at_home):
        return True
    written = tuple(map(_size, groups[first:last])) in at_home
    return len(digits) >= 9 and (written or ((number[0] in "0(" or "(" in number) and bool(at_home)))


def _stands_alone(text: str, groups: Sequence[re.Match[str]], first: int, last: int) -> bool:
    """Whether a part of a run has space around it and begins as a phone number does: inside a run a 0 says nothing."""
    start, end = groups[first].start(), groups[last - 1].end()
    edges = (first == 0 or text[start - 1] in " \n/") and (last == len(groups) or text[end] in " \n/+(")
    return edges and (text[start] in "+(" or (first == 0 and text[start] == "0"))


def _said_before(text: str, start: int) -> str:
    """'call' or 'other' after the last word before a number that says what it is, else ''."""
    said = ""
    for match in _SAYS.finditer(re.split(r"\d", text[max(0, start - _BEFORE) : start])[-1]):
        said = match.lastgroup or ""
    return said


def _is_article(number: str) -> bool:
    from stdnum import ean

    return len(number) == 13 and ean.is_valid(number)


@functools.lru_cache(maxsize=100_000)
def _is_given_out(digits: str, reserved_too: bool = False) -> bool:
    """Whether a number with its country's code is one that the country gives out; or at least one of such a length."""
    import phonenumbers

    try:
        number = phonenumbers.parse(f"+{digits}")
        return phonenumbers.is_possible_number(number) if reserved_too else phonenumbers.is_valid_number(number)
    except phonenumbers.NumberParseException:
        return False


@functools.lru_cache(maxsize=100_000)
def _at_home(digits: str) -> frozenset[tuple[int, ...]]:
    """How countries that give such a number out write it at home: the sizes of the groups of its digits."""
    import phonenumbers

    shapes = set()
    for country in _HOMES:
        try:
            number = phonenumbers.parse(digits, country)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number_for_region(number, country):
            written = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL)
            shapes.add(tuple(len(group) for group in re.findall(r"\d+", written)))
    return frozenset(shapes)
