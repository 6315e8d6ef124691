"""Whether a bundle answers as the PyTorch model does: same tokens, logits within a bound, every prediction equal."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fineline.bundles.bundle import Bundle
from fineline.bundles.bundle import run as run_batch
from fineline.process.errors import DataRejected
from fineline.tasks import Task
from fineline.tasks.parts import UNCALIBRATED

_BATCH = 16
_CUTS = 32


def choose_texts(pools: Mapping[str, Sequence[str]], count: int) -> dict[str, list[str]]:
    """`count` distinct texts, spread evenly over the lengths of each pool, as {name of the pool: texts}.

    A pool is used when those before it do not hold enough; after the last come beginnings of their texts ('prefixes').
    Raises DataRejected when even those are too few.
    """
    chosen: dict[str, list[str]] = {}
    taken: set[str] = set()
    for name, pool in pools.items():
        chosen[name] = _spread(set(pool) - taken, count - len(taken))
        taken.update(chosen[name])
    prefixes = {text[: len(text) * cut // _CUTS] for text in sorted(taken) for cut in range(1, _CUTS)} - taken - {""}
    chosen["prefixes"] = _spread(prefixes, count - len(taken))
    taken.update(chosen["prefixes"])
    if len(taken) < count:
        raise DataRejected(
            f"the splits hold {len(taken)} different texts and beginnings of texts, and parity needs {count}",
            "give splits with more text",
        )
    return chosen


def padded_batches(texts: Sequence[str]) -> list[list[int]]:
    """Indices of `texts` in batches that each mix short and long ones, so that nearly every row is padded."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    count = math.ceil(len(texts) / _BATCH)
    return [order[start::count] for start in range(count)]


def torch_answers(model: Any, tokenizer: Any, names: Sequence[str], texts: Sequence[str], max_length: int) -> Any:
    """(token ids of each text, logits alone, logits in padded batches) of the PyTorch model; logits float32 (n, k)."""
    import torch

    encoded = [tokenizer(text, truncation=True, max_length=max_length) for text in texts]

    def logits(rows: list[int]) -> np.ndarray:
        inputs = tokenizer.pad([{name: encoded[i][name] for name in names} for i in rows], return_tensors="pt")
        with torch.inference_mode():
            return model(**inputs).logits.float().numpy()

    return [encoding["input_ids"] for encoding in encoded], *_both_ways(logits, texts)


def bundle_answers(bundle: Bundle, texts: Sequence[str]) -> Any:
    """(token ids of each text, logits alone, logits in padded batches) of the bundle; logits float32 (n, k)."""
    encodings = bundle.tokenizer.encode_batch(list(texts))

    def logits(rows: list[int]) -> np.ndarray:
        return run_batch(bundle, [encodings[i] for i in rows])

    return [encoding.ids for encoding in encodings], *_both_ways(logits, texts)


def compare(task: Task, expected: Any, found: Any) -> dict[str, Any]:
    """How two answers differ: texts_with_other_tokens, max_difference of any logit (infinite for NaN), alone or padded,
    and predictions_changed {alone, padded}."""
    result: dict[str, Any] = {
        "texts_with_other_tokens": sum(list(a) != list(b) for a, b in zip(expected[0], found[0], strict=True)),
        "max_difference": 0.0,
        "predictions_changed": {},
    }
    for way, a, b in (("alone", expected[1], found[1]), ("padded", expected[2], found[2])):
        difference = float(np.abs(a.astype(np.float64) - b).max())
        result["max_difference"] = max(result["max_difference"], difference if math.isfinite(difference) else math.inf)
        choices = [task.choices(task.answers(logits, UNCALIBRATED)) for logits in (a, b)]
        result["predictions_changed"][way] = int((choices[0] != choices[1]).reshape(len(a), -1).any(axis=1).sum())
    return result


def _both_ways(logits: Any, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    alone = np.concatenate([logits([i]) for i in range(len(texts))])
    padded = np.zeros_like(alone)
    for batch in padded_batches(texts):
        padded[batch] = logits(batch)
    return alone, padded


def _spread(texts: set[str], count: int) -> list[str]:
    """At most `count` of `texts`, from the shortest to the longest in even steps."""
    order = sorted(texts, key=lambda text: (len(text), text))
    steps = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return [order[i] for i in steps]
