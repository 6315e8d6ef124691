"""In which script letters are written."""

import unicodedata
from functools import lru_cache


@lru_cache(maxsize=200_000)
def script_of(character: str) -> str:
    """The script of a letter (LATIN, CJK, ...: the first word of its Unicode name), '' for what is no letter."""
    return unicodedata.name(character, "UNKNOWN").split()[0] if character.isalpha() else ""
