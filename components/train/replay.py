"""Which rows are trained on when a trained model goes on: all that are new to it, and a share of those that it has seen."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def seen(rows: "pd.DataFrame", ids: frozenset[str] | set[str]) -> np.ndarray:
    """Which rows the model with the training rows `ids` has seen, bool (n,): they, or the row they were augmented from."""
    known = rows["id"].isin(ids)
    if "parent_id" in rows:
        known |= rows["parent_id"].isin(ids)
    return known.to_numpy()


def replayed(old: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Which rows to train on, bool (n,): all that are not `old`, and round(share * old) of the old ones, drawn by `seed`."""
    where = np.flatnonzero(old)
    chosen = ~old
    chosen[np.random.default_rng(seed).permutation(where)[: round(share * len(where))]] = True
    return chosen
