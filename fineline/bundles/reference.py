"""The reference of a bundle: what held-out rows look like to its model, for `monitor` to compare recent texts with.

quantize writes it into the bundle as two files, and monitor makes the same of recent texts:
reference.parquet, a row per text: `characters`, `tokens` (counts), `label` and `score` of the model's answer, `embedding`
(what its head reads, float16) and a column `slice:<name>` for each column by which rows are told apart;
reference_tokens.parquet: `token` (id) and `rows`, the number of those texts that hold it. Neither holds a text.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fineline.bundles.bundle import Bundle, embeddings
from fineline.process.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

ROWS = "reference.parquet"
TOKENS = "reference_tokens.parquet"
SLICE = "slice:"


@dataclasses.dataclass(frozen=True)
class Features:
    """What some texts look like to a model: `rows` of characters, tokens, label, score and slices; `embedding` float16
    (n, hidden); `tokens` id -> number of rows that hold it."""

    rows: "pd.DataFrame"
    embedding: np.ndarray
    tokens: dict[int, int]


def features(bundle: Bundle, texts: Sequence[str], slices: "pd.DataFrame", what: str = "") -> Features:
    """The features of `texts`; `slices` has a row for each. No row depends on another."""
    import pandas as pd

    encodings = bundle.tokenizer.encode_batch(list(texts))
    embedding, logits = embeddings(bundle, encodings, what=what)
    answers = bundle.task.answers(logits, bundle.calibration)
    briefly = [bundle.task.brief(bundle.task.answer(row, bundle.labels)) for row in answers]
    kept = [
        np.unique(np.asarray(encoding.ids)[np.asarray(encoding.special_tokens_mask) == 0]) for encoding in encodings
    ]
    tokens, counts = np.unique(np.concatenate(kept), return_counts=True)
    rows = pd.DataFrame(
        {
            "characters": np.array([len(text) for text in texts], dtype=np.int32),
            "tokens": np.array([len(encoding.ids) for encoding in encodings], dtype=np.int32),
            "label": [label for label, _ in briefly],
            "score": np.array([score for _, score in briefly], dtype=np.float32),
            **{f"{SLICE}{name}": slices[name].fillna("").astype(str).tolist() for name in slices},
        }
    )
    return Features(rows, embedding.astype(np.float16), dict(zip(tokens.tolist(), counts.tolist(), strict=True)))


def write(reference: Features, folder: Path) -> None:
    """Writes the two files, the same bytes for the same features."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(reference.rows, preserve_index=False).replace_schema_metadata(None)
    width = reference.embedding.shape[1]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(reference.embedding.ravel()), width)
    pq.write_table(table.append_column("embedding", vectors), folder / ROWS, compression="zstd", use_dictionary=False)
    tokens = pa.table(
        {
            "token": pa.array(list(reference.tokens), pa.int32()),
            "rows": pa.array(list(reference.tokens.values()), pa.int32()),
        }
    )
    pq.write_table(tokens, folder / TOKENS, compression="zstd")


def read(bundle: Path) -> Features:
    """The reference in a bundle folder. Raises UsageError when it has none."""
    import pyarrow.parquet as pq

    for name in (ROWS, TOKENS):
        if not (bundle / name).is_file():
            raise UsageError(
                f"{bundle} keeps no reference to compare with: it has no {name}",
                "make the bundle again with quantize.reference_rows above 0 (dvc repro quantize), and promote it",
            )
    table = pq.read_table(bundle / ROWS)
    vectors = table["embedding"].combine_chunks()
    embedding = vectors.flatten().to_numpy().reshape(len(vectors), vectors.type.list_size)
    tokens = pq.read_table(bundle / TOKENS).to_pydict()
    counts = dict(zip(tokens["token"], tokens["rows"], strict=True))
    return Features(table.drop_columns(["embedding"]).to_pandas(), embedding, counts)
