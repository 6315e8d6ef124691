"""Which rows grow, and which of the new texts are kept."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from random import Random

import numpy as np

from fineline.texts.sameness import exact_near_pairs, normalise

# (texts, a generator for each) -> the changed texts, '' where the method has nothing to change.
Maker = Callable[[Sequence[str], Sequence[Random]], list[str]]

_AT_LEAST = 8


@dataclasses.dataclass(frozen=True)
class NewRow:
    """A text made from the row number `parent` of the training split."""

    id: str
    parent: int
    method: str
    text: str


@dataclasses.dataclass
class Count:
    """What became of a method's texts."""

    made: int = 0
    not_possible: int = 0
    same_text: int = 0
    near_held_out: int = 0


def targets_of(rows: Mapping[str, int], target_share: float) -> dict[str, int]:
    """label -> rows it should have: `target_share` of the largest label's, never fewer than it has; rarest label first."""
    wanted = round(target_share * max(rows.values()))
    return {label: max(rows[label], wanted) for label in sorted(rows, key=lambda label: (rows[label], label))}


def grow(
    ids: Sequence[str],
    texts: Sequence[str],
    labels: Sequence[Sequence[str]],
    held_out: Sequence[str],
    *,
    targets: Mapping[str, int],
    makers: Mapping[str, Maker],
    max_new_per_row: int,
    threshold: float,
    seed: int,
    fold: Collection[str] = (),
) -> tuple[list[NewRow], dict[str, Count]]:
    """New rows until each label has its target or its rows have all been tried `max_new_per_row` times; counts by method.

    `labels` is the bag of each row, which its new rows have too. The rows of a label take turns, and so do the methods.
    Dropped is a text with the same normal form as a row of training or an earlier new one, and one that is the same as a
    `held_out` text or near it (Jaccard similarity of `threshold`). `fold` says in what texts may differ and be the same
    (`fineline.texts.sameness.normalise`).
    """
    counts = {method: Count() for method in makers}
    taken_ids = set(ids)
    taken_forms = {normalise(text, fold) for text in texts}
    held_forms = {normalise(text, fold): None for text in held_out}
    present = Counter(label for bag in labels for label in bag)
    missing = {label: target - present[label] for label, target in targets.items()}
    turns = {label: _turns(ids, labels, label, list(makers), max_new_per_row, seed) for label in targets}
    new: dict[str, list[NewRow]] = {label: [] for label in targets}
    while True:
        tried: list[tuple[str, int, str, int]] = []
        for label in targets:
            if missing[label] > 0:
                tried += [(label, *turn) for turn in _take(turns[label], max(missing[label], _AT_LEAST))]
        if not tried:
            return [row for label in targets for row in new[label]], counts
        made = _make(tried, ids, texts, makers, seed)
        forms = [normalise(text, fold) for text in made]
        near = _near(forms, list(held_forms), threshold)
        for (label, parent, method, number), text, form, is_near in zip(tried, made, forms, near, strict=True):
            if missing[label] <= 0:
                continue
            row_id = f"{ids[parent]}~{method}{number}"
            if not text:
                counts[method].not_possible += 1
            elif form in taken_forms or row_id in taken_ids:
                counts[method].same_text += 1
            elif is_near or form in held_forms:
                counts[method].near_held_out += 1
            else:
                counts[method].made += 1
                taken_forms.add(form)
                for other in labels[parent]:
                    missing[other] -= 1
                new[label].append(NewRow(row_id, parent, method, text))


def _turns(
    ids: Sequence[str], labels: Sequence[Sequence[str]], label: str, methods: list[str], rounds: int, seed: int
) -> list[tuple[int, str, int]]:
    """(row, method, number of the attempt on that row from 1), last turn first: rows in a drawn order, once a round."""
    rows = sorted((row for row, bag in enumerate(labels) if label in bag), key=lambda row: ids[row])
    Random(f"{seed}/{label}").shuffle(rows)
    turns = [
        (row, methods[(place + number) % len(methods)], number + 1)
        for number in range(rounds)
        for place, row in enumerate(rows)
    ]
    return turns[::-1]


def _take(turns: list[tuple[int, str, int]], count: int) -> list[tuple[int, str, int]]:
    return [turns.pop() for _ in range(min(count, len(turns)))]


def _make(
    tried: list[tuple[str, int, str, int]],
    ids: Sequence[str],
    texts: Sequence[str],
    makers: Mapping[str, Maker],
    seed: int,
) -> list[str]:
    """The text of each attempt; each has a generator of its own, so that no attempt depends on another."""
    made = [""] * len(tried)
    for method, maker in makers.items():
        mine = [place for place, (_, _, name, _) in enumerate(tried) if name == method]
        rngs = [Random(f"{seed}/{ids[tried[place][1]]}/{tried[place][3]}") for place in mine]
        for place, text in zip(mine, maker([texts[tried[place][1]] for place in mine], rngs), strict=True):
            made[place] = text
    return made


def _near(made: Sequence[str], held_out: Sequence[str], threshold: float) -> np.ndarray:
    """bool (n,): which of the normal forms `made` are near a held-out one."""
    near = np.zeros(len(made), dtype=bool)
    if threshold > 0:
        sides = np.repeat([0, 1], [len(made), len(held_out)])
        near[exact_near_pairs([*made, *held_out], threshold, sides)[:, 0]] = True
    return near
