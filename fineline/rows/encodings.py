"""Which encoding a file has that was read in another one."""

from collections.abc import Iterable

from fineline.rows.settings import Reading

SAMPLE = 64_000
"""Bytes from which an encoding is guessed, at most."""
_FEWEST = 10

# What files of rows are exported in, by Python's names: cp932 is the Shift-JIS and cp949 the EUC-KR of Windows, supersets
# of those. All of charset-normalizer's hundred would name close relatives of these that nobody uses.
_CANDIDATES = [
    *("gb18030", "big5", "cp950", "big5hkscs", "cp932", "euc_jp", "cp949"),
    *("cp1252", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp874"),
]
WESTERN = "cp1252"
"""The commonest of what is no UTF-8."""


def likely(sample: bytes) -> list[str]:
    """One or two encodings that text with these bytes likely has, the likeliest first; [] when none fits or too few are no ASCII.

    For Western letters, which several encodings have nearly alike, cp1252 is the first of two: most files are in it.
    """
    from charset_normalizer import from_bytes

    if len(sample.translate(None, bytes(range(128)))) < _FEWEST:
        return []
    matches = list(from_bytes(sample[:SAMPLE], cp_isolation=_CANDIDATES))[:2]
    # Encodings that give the very same text count as one match.
    found = [WESTERN if WESTERN in match.could_be_from_charset else match.encoding for match in matches]
    return sorted(found, key=lambda name: name != WESTERN) if WESTERN in found[1:] else found[:1]


def hint(raw: Iterable[str], how: Reading) -> str:
    """What to set for a file of which these rows (decoded with surrogateescape) have bytes that its encoding has not."""
    sample = "".join(raw).encode(how.encoding, "surrogateescape")
    names = " or ".join(likely(sample))
    return f"set {how.name('encoding')}, " + (f"most likely to {names}" if names else "for instance to cp1252")
