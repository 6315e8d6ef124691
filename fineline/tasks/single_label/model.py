"""The model: a sequence classifier with a logit for each label, and cross-entropy."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def load_model(folder: Any, labels: Sequence[str], **configuration: Any) -> Any:
    """A sequence classifier with a head of len(labels) logits, weights from safetensors, fp32: a model that train wrote, pooled
    as its config.json says. Raises UsageError when the folder lacks a weight, the head's included.
    """
    from fineline.pretrained import loading

    return loading.classifier(folder, new_head=False, **_label_names(labels), **configuration)[0]


def load_pretrained(folder: Any, labels: Sequence[str], pooling: str, **configuration: Any) -> tuple[Any, list[str]]:
    """As `load_model`, for any pretrained model: with the names of the weights that are new, which those of the head may be.

    `pooling` is 'model' (the model class's own, [CLS] for BERT), 'mean' (over the tokens), 'last' (token) or 'auto' (mean where
    the folder's 1_Pooling/config.json, written by sentence-transformers, says so; last for a decoder). A head of another size
    is replaced by a new one.
    """
    from fineline.pretrained import loading

    if pooling == "auto":
        decoder = loading.is_decoder(loading.configuration(folder))
        pooling = "mean" if loading.was_mean_pooled(folder) else "last" if decoder else "model"
    return loading.classifier(folder, new_head=True, pooling=pooling, **_label_names(labels), **configuration)


def collator(tokenizer: Any) -> Any:
    """Pads each batch to its longest row, in multiples of 8 (the width of the matrix units)."""
    from transformers import DataCollatorWithPadding

    return DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8)


def loss(label_smoothing: float, weights: "np.ndarray | None") -> Callable[..., Any]:
    """Cross-entropy with label smoothing (Szegedy et al. 2016) and optional class weights, averaged over the batch."""
    import torch

    weight = None if weights is None else torch.tensor(weights)

    def compute(outputs: Any, target: Any, num_items_in_batch: Any = None) -> Any:
        logits = outputs["logits"].float()
        total = torch.nn.functional.cross_entropy(
            logits,
            target,
            weight=None if weight is None else weight.to(logits.device),
            label_smoothing=label_smoothing,
            reduction="mean" if num_items_in_batch is None else "sum",
        )
        return total if num_items_in_batch is None else total / num_items_in_batch

    return compute


def class_weights(target: np.ndarray, classes: int) -> np.ndarray:
    """n / (k * count), the 'balanced' weights of scikit-learn, float32 (k,); a class without rows gets 1."""
    counts = np.bincount(target, minlength=classes)
    return np.where(counts > 0, len(target) / (classes * np.maximum(counts, 1)), 1.0).astype(np.float32)


def drawn(logits: Any, generator: Any) -> Any:
    """The log-probability of a label drawn from the softmax of one row's `logits` (k,)."""
    import torch

    scores = torch.log_softmax(logits.float(), dim=-1)
    return scores[int(torch.multinomial(scores.detach().exp().cpu(), 1, generator=generator))]


def _label_names(labels: Sequence[str]) -> dict[str, Any]:
    """The labels as config.json keeps them."""
    return {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
