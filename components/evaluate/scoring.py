"""Scores of the test rows that need a model or a tokenizer."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fineline.pretrained import loading
from fineline.process.progress import progress
from fineline.tasks import Task


def trained_logits(
    folder: Path, task: Task, labels: Sequence[str], max_length: int, texts: Sequence[str], batch_size: int
) -> np.ndarray:
    """Logits of the PyTorch model in `folder`, float32 (n, k), in the order of `texts`.

    In fp32, without gradients, in batches by length. On the CPU also where there is a GPU: the figures are then the
    same under every runner, and the shipped model is measured on the CPU too.
    """
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = loading.tokenizer(folder)
    model = task.load_model(folder, labels).eval()
    collate = task.collator(tokenizer)
    encoded = tokenizer(list(texts), truncation=True, max_length=max_length)
    order = sorted(range(len(texts)), key=lambda i: len(encoded["input_ids"][i]))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    result = np.zeros((len(texts), len(labels)), dtype=np.float32)
    with torch.inference_mode():
        for batch in progress(batches, "trained model", total=len(texts), unit="texts"):
            inputs = collate([{name: column[i] for name, column in encoded.items()} for i in batch])
            result[batch] = model(**inputs).logits.float().numpy()
    return result


def token_counts(tokenizer_json: Path, texts: Sequence[str]) -> np.ndarray:
    """Tokens of each text before truncation, special tokens included, int64 (n,)."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_json))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return np.array([len(encoding.ids) for encoding in tokenizer.encode_batch(list(texts))], dtype=np.int64)
