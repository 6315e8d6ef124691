"""Contextual substitution: a masked language model puts other words where some are hidden (Kobayashi 2018, NAACL)."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from components.augment.words import Word, changeable, how_many, joined, some, words_of
from fineline.pretrained.models import model_folder
from fineline.process.errors import UsageError
from fineline.process.progress import progress

_BATCH = 32
_SPACE_MARKS = ("Ġ", "▁")


@dataclasses.dataclass(frozen=True)
class MaskedModel:
    """A masked language model. `words` has the word of each token id, '' for what is no whole word of letters."""

    folder: Path
    model: Any
    tokenizer: Any
    words: list[str]
    max_length: int


def open_masked_model(name: str, revision: str) -> MaskedModel:
    """The model of a folder, a hub id or bundled:NAME, on the CPU, so that the same rows come out on every machine.

    Raises UsageError when the checkpoint holds no weights for the masked-language-model head, as sentence encoders do not.
    """
    import transformers

    folder = model_folder(name, revision)
    transformers.utils.logging.disable_progress_bar()
    mend = "give a checkpoint trained as a masked language model, for instance google-bert/bert-base-uncased"
    try:
        model, loading = transformers.AutoModelForMaskedLM.from_pretrained(
            folder, output_loading_info=True, use_safetensors=True, trust_remote_code=False, dtype="float32"
        )
    except ValueError as error:
        raise UsageError(f"{name} cannot fill in masked words: {str(error).splitlines()[0][:160]}", mend) from None
    if loading["missing_keys"]:
        missing = ", ".join(sorted(loading["missing_keys"])[:3])
        raise UsageError(f"{name} has no masked-language-model head: its checkpoint lacks {missing}", mend)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if tokenizer.mask_token is None:
        raise UsageError(f"the tokenizer of {name} has no mask token", mend)
    longest = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 512), 512)
    return MaskedModel(folder, model.eval(), tokenizer, _whole_words(tokenizer), longest)


def substituted(
    masked: MaskedModel, change_share: float, top_k: int, texts: Sequence[str], rngs: Sequence[Random]
) -> list[str]:
    """Each text with some words in the place of others, '' where none may change; drawn by the text's own generator.

    A word is drawn from the `top_k` most probable ones that are another word, by their probabilities.
    """
    split_texts = [words_of(text) for text in texts]
    chosen = [
        some(changeable(words), how_many(words, change_share), rng) if masked.tokenizer.mask_token not in text else []
        for text, words, rng in zip(texts, split_texts, rngs, strict=True)
    ]
    order = sorted((i for i, positions in enumerate(chosen) if positions), key=lambda i: (len(split_texts[i]), i))
    results = [""] * len(texts)
    batches = [order[start : start + _BATCH] for start in range(0, len(order), _BATCH)]
    for batch in progress(batches, "contextual substitution", len(order)):
        hidden = [_hide(split_texts[i], chosen[i], masked.tokenizer.mask_token) for i in batch]
        for i, probabilities in zip(batch, _at_masks(masked, hidden), strict=True):
            # A text that was cut off has fewer rows of probabilities than hidden words: the others stay.
            for position, row in zip(chosen[i], probabilities, strict=False):
                word = split_texts[i][position]
                if found := _draw(row, word.core, masked.words, top_k, rngs[i]):
                    split_texts[i][position] = word.with_core(found)
            results[i] = joined(split_texts[i])
    return results


def _hide(words: list[Word], positions: list[int], mask: str) -> str:
    hidden = set(positions)
    return joined([Word(w.before, mask, w.after) if i in hidden else w for i, w in enumerate(words)])


def _at_masks(masked: MaskedModel, texts: list[str]) -> list[np.ndarray]:
    """For each text float32 (masks, vocabulary): the probabilities at its masks, in their order."""
    import torch

    inputs = masked.tokenizer(texts, padding=True, truncation=True, max_length=masked.max_length, return_tensors="pt")
    with torch.inference_mode():
        logits = masked.model(**inputs).logits
    at_mask = inputs["input_ids"] == masked.tokenizer.mask_token_id
    return [torch.softmax(row[where], dim=-1).numpy() for row, where in zip(logits, at_mask, strict=True)]


def _draw(probabilities: np.ndarray, old: str, words: list[str], top_k: int, rng: Random) -> str:
    best = np.argsort(-probabilities, kind="stable")[:top_k].tolist()
    usable = [i for i in best if words[i] and words[i].casefold() != old.casefold()]
    weights = [float(probabilities[i]) + 1e-12 for i in usable]  # all of them can be 0 beside a certain old word
    return words[rng.choices(usable, weights)[0]] if usable else ""


def _whole_words(tokenizer: Any) -> list[str]:
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    special = set(tokenizer.all_special_tokens)
    marked = any(token.startswith(_SPACE_MARKS) for token in tokens)
    words = []
    for token in tokens:
        word = token.lstrip("".join(_SPACE_MARKS))
        whole = word.isalpha() and token not in special and (not marked or token.startswith(_SPACE_MARKS))
        words.append(word if whole else "")
    return words
