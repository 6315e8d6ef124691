"""Classifiers on the mean of the last hidden states, for encoders that were pretrained that way (sentence transformers), or on
the last token's, for decoders, of which it alone has read the whole text.

The classes of transformers for BERT and its kin read the [CLS] token instead, and those for decoders look for padding tokens
among the text's, which no ONNX graph follows. Saved as a Hugging Face folder whose
config.json says `"pooling": "mean"` or `"last"`; the names of its weights differ from theirs, so that loading it with a class of
another pooling reports missing weights and does not answer wrongly.
"""

from typing import Any

import torch
from transformers import AutoModel, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class MeanPooledClassifier(PreTrainedModel):
    """Encoder, mean over the tokens that `attention_mask` keeps, dropout, linear layer."""

    base_model_prefix = "encoder"
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.encoder = AutoModel.from_config(config)
        if getattr(self.encoder, "pooler", None) is not None:
            self.encoder.pooler = None  # unused weights, which distributed training does not take
        dropout = getattr(config, "classifier_dropout", None)
        self.dropout = torch.nn.Dropout(getattr(config, "hidden_dropout_prob", 0.0) if dropout is None else dropout)
        self.classifier = torch.nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
        **_others: Any,
    ) -> SequenceClassifierOutput:
        """Logits (batch, labels) of token ids (batch, length), int64."""
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **types).last_hidden_state
        mask = self.read(attention_mask).unsqueeze(-1).to(states.dtype)
        mean = (states * mask).sum(dim=1) / mask.sum(dim=1)
        return SequenceClassifierOutput(logits=self.classifier(self.dropout(mean)))

    def read(self, attention_mask: torch.Tensor) -> torch.Tensor:
        """1 for each token that the head reads, 0 for others, (batch, length)."""
        return attention_mask


class LastTokenClassifier(MeanPooledClassifier):
    """Decoder, its state at the last token that `attention_mask` keeps, dropout, linear layer."""

    def read(self, attention_mask: torch.Tensor) -> torch.Tensor:
        positions = torch.arange(attention_mask.shape[1], device=attention_mask.device)
        last = (attention_mask * positions).amax(dim=1, keepdim=True)
        return positions == last


CLASSES = {"mean": MeanPooledClassifier, "last": LastTokenClassifier}
"""By what config.json says of the pooling."""
