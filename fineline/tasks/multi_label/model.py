"""The model: a sequence classifier with a logit for each label, and binary cross-entropy of each."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fineline.tasks.single_label.model import collator, load_model, load_pretrained

__all__ = ["class_weights", "collator", "drawn", "load_model", "load_pretrained", "loss"]


def loss(label_smoothing: float, weights: "np.ndarray | None") -> Callable[..., Any]:
    """Binary cross-entropy, averaged over labels and the batch; `weights` are those of the rows that have a label. Label
    smoothing takes its share from a label that a row has, and gives a k-th of it to every label, as over k classes: half of it
    would be more than most labels of many have.
    """
    import torch

    weight = None if weights is None else torch.tensor(weights)

    def compute(outputs: Any, target: Any, num_items_in_batch: Any = None) -> Any:
        logits = outputs["logits"].float()
        total = torch.nn.functional.binary_cross_entropy_with_logits(
            logits,
            target.float() * (1 - label_smoothing) + label_smoothing / max(2, target.shape[1]),
            pos_weight=None if weight is None else weight.to(logits.device),
            reduction="mean" if num_items_in_batch is None else "sum",
        )
        return (
            total if num_items_in_batch is None else total / num_items_in_batch
        )  # the Trainer counts labels, not rows

    return compute


def class_weights(target: np.ndarray, classes: int) -> np.ndarray:
    """The root of rows without a label to rows with it, float32 (k,); a label without rows gets 1. The ratio itself goes into
    hundreds for rare labels, which then are all that is learned."""
    having = target.sum(axis=0)
    return np.where(having > 0, np.sqrt((len(target) - having) / np.maximum(having, 1)), 1.0).astype(np.float32)


def drawn(logits: Any, generator: Any) -> Any:
    """The log-probability of a set of labels drawn from one row's `logits` (k,), each by itself."""
    import torch

    given = torch.bernoulli(torch.sigmoid(logits.detach().float()).cpu(), generator=generator).to(logits.device)
    return -torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), given, reduction="sum")
