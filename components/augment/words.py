"""A text as words that may change and words that may not."""

import dataclasses
import re
from collections.abc import Sequence
from random import Random

# Letters, with apostrophes or hyphens between, in punctuation. Numbers, addresses and links have other signs inside.
_WORD = re.compile(r"(\W*)([^\W\d_]+(?:['’-][^\W\d_]+)*)(\W*)")


@dataclasses.dataclass(frozen=True)
class Word:
    """One piece of a text between spaces: a word with the punctuation around it; `core` is '' where nothing may change."""

    before: str
    core: str
    after: str

    def __str__(self) -> str:
        return self.before + self.core + self.after

    def with_core(self, core: str) -> "Word":
        """Another word in the same punctuation, in the case of the old one."""
        if len(self.core) > 1 and self.core.isupper():
            core = core.upper()
        elif self.core[:1].isupper():
            core = core[:1].upper() + core[1:]
        return Word(self.before, core, self.after)


def words_of(text: str) -> list[Word]:
    """The words of `text`. Placeholders such as <EMAIL>, and whatever holds a number or a sign, have no core."""
    return [_word(piece) for piece in text.split()]


def joined(words: Sequence[Word]) -> str:
    """The text of `words`, one space between them."""
    return " ".join(map(str, words))


def changeable(words: Sequence[Word]) -> list[int]:
    """Positions of the words that may change."""
    return [position for position, word in enumerate(words) if word.core]


def how_many(words: Sequence[Word], change_share: float) -> int:
    """Number of words to change: `change_share` of the changeable ones, at least 1."""
    return max(1, round(change_share * len(changeable(words))))


def some(positions: Sequence[int], count: int, rng: Random) -> list[int]:
    """At most `count` of `positions`, drawn without repetition, in their order."""
    return sorted(rng.sample(positions, min(count, len(positions))))


def _word(piece: str) -> Word:
    found = _WORD.fullmatch(piece)
    if found is None or ("<" in found[1] and ">" in found[3]):
        return Word(piece, "", "")
    return Word(found[1], found[2], found[3])
