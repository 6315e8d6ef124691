"""Easy data augmentation: swap, delete, insert, synonym (Wei & Zou 2019, EDA, EMNLP)."""

from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

from components.augment.words import Word, changeable, how_many, joined, some, words_of
from fineline.process.errors import UsageError

Lexicon = Mapping[str, list[str]]


def swap(text: str, change_share: float, lexicon: Lexicon, rng: Random) -> str:
    """Two words change places, as often as words are to change; '' when there are not two."""
    words = words_of(text)
    positions = changeable(words)
    if len(positions) < 2:
        return ""
    for _ in range(how_many(words, change_share)):
        i, j = rng.sample(positions, 2)
        words[i], words[j] = (Word(words[a].before, words[b].core, words[a].after) for a, b in ((i, j), (j, i)))
    return joined(words)


def delete(text: str, change_share: float, lexicon: Lexicon, rng: Random) -> str:
    """Words leave; '' when no word would remain that can change."""
    words = words_of(text)
    positions = changeable(words)
    count = how_many(words, change_share)
    if len(positions) <= count:
        return ""
    leaving = set(some(positions, count, rng))
    return joined([word for position, word in enumerate(words) if position not in leaving])


def insert(text: str, change_share: float, lexicon: Lexicon, rng: Random) -> str:
    """Synonyms of words of the text come in anywhere; '' when the lexicon has none of its words."""
    words = words_of(text)
    known = [words[position].core.casefold() for position in _known(words, lexicon)]
    if not known:
        return ""
    for _ in range(how_many(words, change_share)):
        synonym = rng.choice(lexicon[rng.choice(known)])
        words.insert(rng.randint(0, len(words)), Word("", synonym, ""))
    return joined(words)


def synonym(text: str, change_share: float, lexicon: Lexicon, rng: Random) -> str:
    """Words become synonyms; '' when the lexicon has none of them."""
    words = words_of(text)
    chosen = some(_known(words, lexicon), how_many(words, change_share), rng)
    for position in chosen:
        words[position] = words[position].with_core(rng.choice(lexicon[words[position].core.casefold()]))
    return joined(words) if chosen else ""


EDA: dict[str, Callable[[str, float, Lexicon, Random], str]] = {
    "swap": swap,
    "delete": delete,
    "insert": insert,
    "synonym": synonym,
}


def read_lexicon(path: Path) -> dict[str, list[str]]:
    """word -> synonyms, from lines `word<TAB>synonym,synonym`; a word's own name is no synonym of it.

    Raises UsageError for a missing file and for the first line that is not of this form.
    """
    if not path.is_file():
        raise UsageError(f"lexicon {path} does not exist", "give augment.lexicon a file of `word<TAB>synonym,synonym`")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"lexicon {path} is not UTF-8: {error.reason} at byte {error.start}", "save it so") from None
    lexicon: dict[str, list[str]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        word, _, listed = line.partition("\t")
        synonyms = [name for name in (part.strip() for part in listed.split(",")) if name]
        if not word.strip() or not synonyms or "\t" in listed:
            raise UsageError(f"{path}, line {number}: '{line[:60]}' is no entry", "write word<TAB>synonym,synonym")
        key = word.strip().casefold()
        lexicon.setdefault(key, []).extend(name for name in synonyms if name.casefold() != key)
    lexicon = {word: synonyms for word, synonyms in lexicon.items() if synonyms}
    if not lexicon:
        raise UsageError(f"lexicon {path} has no entry", "write lines of word<TAB>synonym,synonym")
    return lexicon


def _known(words: list[Word], lexicon: Lexicon) -> list[int]:
    return [position for position in changeable(words) if words[position].core.casefold() in lexicon]
