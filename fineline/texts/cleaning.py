"""Cleaning as ordered operations: the rows before they are learned, and the texts that a bundle answers, by the same code."""

import dataclasses
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from html import unescape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fineline.artifacts.folders import Manifest

URL = "<URL>"
_URL = re.compile(r"(?:https?://|www\.)[^\s<>\"'，。]*[^\s<>\"'，。.,;:!?)\]]", re.IGNORECASE)
_FULL_WIDTH: dict[int, int | str | None] = {**{code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}, 0x3000: " "}
_CONTROL = dict.fromkeys(code for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n\r\x85")
# The elements of HTML (WHATWG, and what older pages hold): <EMAIL>, <URL> and 1 <b 2 in a message are none.
_ELEMENTS = (
    "a abbr address article aside audio b base bdi bdo big blockquote body br button canvas caption center cite "
    "code col colgroup data datalist dd del details dfn dialog div dl dt em embed fieldset figcaption figure font "
    "footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html i iframe img input ins kbd label "
    "legend li link main map mark menu meta meter nav noscript object ol optgroup option output p param picture "
    "pre progress q rp rt ruby s samp section select small source span strike strong sub summary sup svg table "
    "tbody td template textarea tfoot th thead time title tr track tt u ul var video wbr "
).split()
_HIDDEN = [
    (re.compile("<!--"), re.compile("-->")),
    *((re.compile(rf"<{name}\b[^<>]*>", re.I), re.compile(rf"</{name}\s*>", re.I)) for name in ("script", "style")),
]
_TAG = re.compile(rf"</?(?:{'|'.join(_ELEMENTS)}|!doctype)(?:\s[^<>]*)?/?>", re.IGNORECASE)
_ROUNDS = 8


def _html(text: str) -> str:
    for opening, closing in _HIDDEN:
        parts, last = [], 0
        while (start := opening.search(text, last)) and (end := closing.search(text, start.end())):
            parts += [text[last : start.start()], " "]
            last = end.end()
        text = "".join([*parts, text[last:]])
    return unescape(_TAG.sub(" ", text))


OPERATIONS: Mapping[str, Callable[[str], str]] = {
    "nfc": lambda text: unicodedata.normalize("NFC", text),
    "nfkc": lambda text: unicodedata.normalize("NFKC", text),
    "full_width": lambda text: text.translate(_FULL_WIDTH),
    "control_characters": lambda text: text.translate(_CONTROL),
    "html": _html,
    "urls": lambda text: _URL.sub(URL, text),
}
"""Name to what it makes of a text. nfc and nfkc: Unicode's normal forms. full_width: letters, digits and signs as wide as Chinese
ones to ASCII. control_characters: away, but tab and line ends. html: tags, comments, scripts and styles away, entities to
characters. urls: <URL> in place of web addresses."""


def clean(text: str, operations: Sequence[str]) -> str:
    """`text` after the `operations`, in their order, until they change nothing: what was cleaned once stays as it is."""
    for _ in range(_ROUNDS):
        before = text
        for name in operations:
            text = OPERATIONS[name](text)
        if text == before:
            break
    return text


def cleaning_of(manifest: "Manifest") -> list[str]:
    """What `data_quality.clean` was for the rows of an artifact: a bundle cleans the texts that it answers so too."""
    chain = [*manifest.ancestors, manifest.without_ancestors()]
    return list(next((entry["params"].get("clean", ()) for entry in chain if entry["step"] == "data_quality"), ()))


@dataclasses.dataclass(frozen=True)
class CleaningTokenizer:
    """A `tokenizers.Tokenizer` that reads texts as `clean` leaves them; else as it is."""

    plain: Any
    operations: Sequence[str]

    def encode(self, text: str) -> Any:
        """One text's encoding."""
        return self.plain.encode(clean(text, self.operations))

    def encode_batch(self, texts: Sequence[str]) -> list[Any]:
        """The encodings of texts, in their order."""
        return self.plain.encode_batch([clean(text, self.operations) for text in texts])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)
