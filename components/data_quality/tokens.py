"""What the model's tokenizer makes of the texts: more tokens than it reads, or tokens that it does not know."""

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from components.data_quality.check import Check
from components.data_quality.params import Params
from fineline.pretrained.models import tokenizer_file
from fineline.process.progress import progress
from fineline.tasks import Task
from fineline.texts.scripts import script_of

if TYPE_CHECKING:
    import pandas as pd

_BATCH = 1000
_FEWEST = 20
"""Texts of a script or a label without which its share of unknown tokens says too little."""


def check_tokens(rows: "pd.DataFrame", task: Task, params: Params) -> "tuple[pd.DataFrame, list[Check]]":
    """Texts that the tokenizer cuts off at max_length, special tokens counted, and the share of tokens it does not know."""
    if params.on_truncation == "ignore" and params.on_unknown_tokens == "ignore":
        return rows, []
    counts = counted(rows["text"], params.model, params.revision)
    checks = []
    if params.on_truncation != "ignore":
        checks.append(_truncation(rows, counts["tokens"], task, params))
    if params.on_unknown_tokens != "ignore":
        checks.append(_unknown(rows, counts, task, params))
    return rows, checks


def _truncation(rows: "pd.DataFrame", tokens: "pd.Series", task: Task, params: Params) -> Check:
    import numpy as np

    cut = tokens > params.max_length
    strata = task.strata(rows)
    per_label = cut[strata.index].groupby(strata.to_numpy()).agg(["size", "sum"])
    quantiles = {name: float(np.quantile(tokens, q)) for name, q in (("median", 0.5), ("p95", 0.95), ("p99", 0.99))}
    share = float(cut.mean())
    return Check(
        "truncation",
        params.on_truncation,
        f"{params.max_truncated_share:.0%} of the texts or fewer have more than {params.max_length} tokens",
        share <= params.max_truncated_share,
        share,
        params.max_truncated_share,
        [int(row) for row in rows.index[cut]],
        spares_test=True,
        details={
            "tokens": {**quantiles, "max": int(tokens.max())},
            "labels": {
                str(label): {"rows": int(size), "truncated": int(count)}
                for label, size, count in per_label.itertuples()
            },
        },
    )


def _unknown(rows: "pd.DataFrame", counts: "pd.DataFrame", task: Task, params: Params) -> Check:
    """The largest share of unknown tokens: of all texts, or of those of one script or label."""
    strata = task.strata(rows)
    shares = {
        "all": {"all": _shares(counts, counts["tokens"] > 0, 1).get(True, 0.0)},
        "scripts": _shares(counts, rows["text"].map(main_script), _FEWEST),
        "labels": _shares(counts.loc[strata.index], strata, _FEWEST),
    }
    largest = max(share for kind in shares.values() for share in kind.values())
    bound = params.max_unknown_share
    known = counts["plain"] - counts["unknown"]
    broken = rows.index[counts["unknown"] * (1 - bound) > known * bound]
    return Check(
        "unknown_tokens",
        params.on_unknown_tokens,
        f"the tokenizer knows all but {bound:.0%} of the tokens of every script and label",
        largest <= bound,
        largest,
        bound,
        [int(row) for row in broken],
        spares_test=True,
        details={
            "share": shares["all"]["all"],
            **{kind: dict(list(shares[kind].items())[:_FEWEST]) for kind in ("scripts", "labels")},
        },
    )


def _shares(counts: "pd.DataFrame", by: "pd.Series", fewest: int) -> dict[Any, float]:
    """Share of unknown tokens in the texts of each value that `fewest` texts or more have; the largest first."""
    grouped = counts.groupby(by.to_numpy())
    summed = grouped[["unknown", "plain"]].sum()[grouped.size() >= fewest]
    shares = (summed["unknown"] / summed["plain"].clip(lower=1)).sort_values(ascending=False, kind="stable")
    return {value: float(share) for value, share in shares.items()}


def main_script(text: str) -> str:
    """The script of most letters of a text (LATIN, CJK, ...: the first word of their Unicode names), '' without letters."""
    letters: Counter[str] = Counter()
    for character, count in Counter(text).items():
        if name := script_of(character):
            letters[name] += count
    return max(sorted(letters), key=letters.__getitem__, default="")


def counted(column: "pd.Series", model: str, revision: str) -> "pd.DataFrame":
    """Of each text its `tokens`, those that are no special ones (`plain`), and those of them that are `unknown`; all int."""
    import pandas as pd
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_file(model, revision)))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    unknown, special = _unknown_id(tokenizer), len(tokenizer.encode("").ids)
    texts = column.tolist()
    batches = [texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH)]
    found = [
        (len(encoded.ids), len(encoded.ids) - special, encoded.ids.count(unknown))
        for batch in progress(batches, "tokens", total=len(texts))
        for encoded in tokenizer.encode_batch(batch)
    ]
    return pd.DataFrame(found, columns=["tokens", "plain", "unknown"], index=column.index)


def _unknown_id(tokenizer: Any) -> int:
    """The token that stands for what is not in the vocabulary; -1 for a tokenizer that has none, as one of bytes."""
    model = json.loads(tokenizer.to_str())["model"]
    known = tokenizer.token_to_id(model["unk_token"]) if model.get("unk_token") else model.get("unk_id")
    return -1 if known is None else known
