"""Whether a model can become a bundle: what export_onnx would refuse after hours is refused before the first step."""

import sys
from typing import Any

from components.train import ranks
from fineline.pretrained import loading
from fineline.process.errors import UsageError

SHIP = frozenset(
    "albert bart bert big_bird camembert deberta-v2 distilbert electra modernbert mpnet roberta t5 xlm-roberta".split()
)
"""Kinds of models (model_type in config.json) that export_onnx takes; tests/components/test_train_shipping.py exports each."""

DO_NOT_SHIP = frozenset("funnel longformer xlnet".split())
"""Those that torch.export does not follow; the same test sees each fail."""


def check(model: Any) -> None:
    """Raises UsageError for a classifier that cannot train or that export_onnx refuses; says so in a line where nobody has
    tried its kind."""
    kind = model.config.model_type
    if kind in DO_NOT_SHIP:
        raise UsageError(
            f"export_onnx cannot export a {kind}: the trained model could not ship",
            "take a BERT, RoBERTa, DeBERTa-v2 or their like; for long texts ModernBERT or BigBird",
        )
    if getattr(model.config, "pooling", "model") != "model":
        if model.config.is_encoder_decoder:
            raise UsageError(
                f"a {kind} reads a text with its encoder and its decoder: train.pooling = {model.config.pooling} is of neither",
                "set train.pooling: model",
            )
        return
    if loading.is_decoder(model.config):
        raise UsageError(
            f"export_onnx cannot export a {kind} whose own head reads the last token: the trained model could not ship",
            "set train.pooling: last, or mean",
        )
    if kind not in SHIP and ranks.first():
        print(
            f"train: nobody has tried whether export_onnx takes a {kind}: try with train.epochs: 1 and a few rows first",
            file=sys.stderr,
        )
