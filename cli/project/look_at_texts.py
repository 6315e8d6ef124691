"""What the texts are like, as far as it decides a parameter: their writing, their length in characters and in tokens."""

import dataclasses
import random
from collections import Counter
from collections.abc import Sequence

from components.data_quality.params import Params as QualityParams
from components.train.params import Params as TrainParams
from fineline.texts.scripts import script_of

MODEL = TrainParams.model_fields["model"].default
"""The model that a new project trains; it was pretrained on English."""
LENGTHS = (TrainParams.model_fields["max_length"].default, 256, 512)
"""Values of train.max_length that are tried: the default, and up to what the model has positions for."""
CUT_OFF = QualityParams.model_fields["max_truncated_share"].default
"""Share of texts that may be longer."""
CHARACTERS = (QualityParams.model_fields["max_characters"].default, 10_000, 20_000, 50_000, 100_000)
"""Values of data_quality.max_characters that are tried, the default first."""

_SAMPLE = 2_000
_ENGLISH = frozenset("the to and i a of is it in you my for that on was this not with have be are me at".split())
_ENGLISH_SHARE = 0.15  # of the words of English text, a quarter to a third are among these
_TOO_LONG = 0.01
_NAMES = {"CJK": "Chinese characters", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean"}


@dataclasses.dataclass(frozen=True)
class Texts:
    """`median` and `longest` in characters; `cut_off` is the share of texts with more tokens than each of LENGTHS."""

    writing: str
    english: bool
    different: int
    median: int
    longest: int
    cut_off: dict[int, float]
    max_length: int
    max_characters: int


def look_at_texts(texts: Sequence[str]) -> Texts:
    """Reads 2,000 of the texts, drawn at random."""
    sample = random.Random(13).sample(list(texts), min(_SAMPLE, len(texts)))
    lengths = sorted(map(len, texts))
    tokens = _tokens(sample)
    cut_off = {limit: sum(count > limit for count in tokens) / len(tokens) for limit in LENGTHS}
    english, writing = _writing(sample)
    return Texts(
        writing,
        english,
        len(set(texts)),
        lengths[len(lengths) // 2],
        lengths[-1],
        cut_off,
        next((limit for limit in LENGTHS if cut_off[limit] <= CUT_OFF), LENGTHS[-1]),
        next(
            (limit for limit in CHARACTERS if sum(length > limit for length in lengths) <= _TOO_LONG * len(lengths)),
            CHARACTERS[-1],
        ),
    )


def _tokens(texts: Sequence[str]) -> list[int]:
    """Tokens of each text for the bundled model, special ones counted."""
    from tokenizers import Tokenizer

    from fineline.pretrained.models import tokenizer_file

    tokenizer = Tokenizer.from_file(str(tokenizer_file(MODEL)))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return [len(encoded.ids) for encoded in tokenizer.encode_batch(list(texts))]


def _writing(texts: Sequence[str]) -> tuple[bool, str]:
    """Whether it is English, and what it is written in, roughly: by the letters' scripts and by the commonest English words."""
    scripts: Counter[str] = Counter()
    for character, count in Counter("".join(texts)).items():
        if name := script_of(character):
            scripts[name] += count
    if not scripts:
        return False, "no letters"
    script, count = scripts.most_common(1)[0]
    mixed = ", among others" if count < 0.9 * scripts.total() else ""
    if script != "LATIN":
        return False, _NAMES.get(script, f"{script.capitalize()} letters") + mixed
    words = Counter(word.strip(".,;:!?'\"").lower() for text in texts for word in text.split())
    english = sum(words[word] for word in _ENGLISH) >= _ENGLISH_SHARE * words.total()
    return english, ("English" if english else "Latin letters, little or no English") + mixed
