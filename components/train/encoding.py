"""Texts as token ids, packed: four bytes for a token, where the tokenizer's own lists take about 70 over all."""

from collections.abc import Mapping, Sequence
from typing import Any, overload

import numpy as np

_ROWS_AT_ONCE = 1000


class Encoded(Sequence[dict[str, Any]]):
    """One mapping a row, as the Trainer takes them: the tokenizer's lists and labels."""

    def __init__(self, columns: Mapping[str, np.ndarray], ends: np.ndarray, targets: np.ndarray):
        self._columns, self._ends, self._targets = columns, ends, targets

    def __len__(self) -> int:
        return len(self._targets)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        row = range(len(self))[index]
        part = slice(self._ends[row - 1] if row else 0, self._ends[row])
        lists = {name: values[part].tolist() for name, values in self._columns.items()}
        return {**lists, "labels": self._targets[row].tolist()}


def encode(tokenizer: Any, texts: Sequence[str], targets: np.ndarray, max_length: int) -> Encoded:
    """`texts` cut to `max_length` tokens, with their targets, (n,) or (n, k). Padding is left to the collator."""
    parts: dict[str, list[np.ndarray]] = {}
    lengths: list[int] = []
    for start in range(0, len(texts), _ROWS_AT_ONCE):
        given = tokenizer(list(texts[start : start + _ROWS_AT_ONCE]), truncation=True, max_length=max_length)
        for name, rows in given.items():
            parts.setdefault(name, []).append(np.concatenate([np.asarray(row, dtype=np.int32) for row in rows]))
        lengths += [len(row) for row in given["input_ids"]]
    columns = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    return Encoded(columns, np.cumsum(lengths, dtype=np.int64), targets)
