"""Elastic weight consolidation: a trained model learns new rows without leaving what the old ones needed.

Kirkpatrick et al. 2017, Overcoming catastrophic forgetting in neural networks (https://arxiv.org/abs/1612.00796), eq. 3:
the loss gets lambda / 2 * sum_i F_i (theta_i - theta*_i)^2, where theta* are the weights before and F is the diagonal of
the Fisher information at theta* on old rows. The penalty's gradient, lambda * F * (theta - theta*), is added to that of
the (mean) loss before each optimizer step, after clipping: a batch split into more parts or over more GPUs changes nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from components.train import ranks, warm_start
from components.train.encoding import encode
from components.train.plan import Plan
from components.train.warm_start import Origin
from fineline.process.errors import UsageError
from fineline.process.progress import progress

FISHER = "fisher.safetensors"

_ROWS = 1000  # a mean of squares over n rows varies by about 1 / sqrt(n) of itself: 3 % here

Tensors = dict[str, torch.Tensor]


def fisher(
    model: Any,
    rows: Sequence[Any],
    collate: Callable[[list[Any]], Mapping[str, Any]],
    drawn: Callable[[Any, Any], Any],
    seed: int,
) -> Tensors:
    """The diagonal Fisher information of each weight of `model`, float32 of the weight's shape, as a mean over `rows`.

    F_i = mean over rows x of (d log p(y | x) / d theta_i)^2, where y is `drawn` from what the model itself answers to x
    (true labels would give the empirical Fisher, which is another thing: Kunstner et al. 2019). Of more than 1,000 rows
    as many are drawn. Dropout is off. The gradient of one row at a time: a batch's would be the square of the sum.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(rows), generator=generator)[:_ROWS].tolist()
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    device = next(iter(weights.values())).device
    sums = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    model.eval()
    for number in progress(chosen, "ewc", total=len(chosen), unit="rows"):
        inputs = {name: value.to(device) for name, value in collate([rows[number]]).items() if name != "labels"}
        score = drawn(model(**inputs).logits[0], generator)
        gradients = torch.autograd.grad(score, list(weights.values()), allow_unused=True)
        for name, gradient in zip(weights, gradients, strict=True):
            if gradient is not None:
                sums[name] += gradient.float() ** 2
    return {name: (total / len(chosen)).cpu() for name, total in sums.items()}


def kept(path: Path, compute: Callable[[], Tensors]) -> Tensors:
    """The Fisher information in the file `path`, computed and written by the first process where there is none yet."""
    from safetensors.torch import load_file, save_file

    if ranks.first() and not path.is_file():
        partial = path.with_name(f".{path.name}.partial")
        save_file(compute(), partial)
        partial.rename(path)
    ranks.wait()
    return load_file(path)


def relabelled(found: Tensors, layer: str, before: Sequence[str], labels: Sequence[str]) -> Tensors:
    """`found` for a head over `labels` in place of `before`; `layer` gives the logits. New rows are not held: 0."""
    parts = {name: found[name] for name in (f"{layer}.weight", f"{layer}.bias") if name in found}
    new = {name: torch.zeros(len(labels), *value.shape[1:]) for name, value in parts.items()}
    return {
        **found,
        **{name: warm_start.carried(value, before, labels, new[name]) for name, value in parts.items()},
    }


def consolidation(plan: Plan, origin: Origin, model: Any, tokenizer: Any, work: Path) -> TrainerCallback | None:
    """What holds the weights of `model` that `origin` needs for the rows it has seen; None where nothing is to be held.

    The Fisher information is kept in `work`. Raises UsageError for an origin without a head.
    """
    params = plan.params
    if not params.ewc_lambda or not origin.warm:
        return None
    if not origin.labels:
        raise UsageError(
            f"train.ewc_lambda: {origin.name} has no head, so nothing says which weights it needs",
            "give init_from a trained classifier, or set ewc_lambda: 0",
        )
    before = plan.task.load_model(origin.folder, origin.labels)
    texts = plan.examples.held

    def compute() -> Tensors:
        encoded = encode(tokenizer, texts, np.zeros(len(texts), dtype=np.int64), params.max_length)
        on_device = before.to("cuda" if torch.cuda.is_available() else "cpu")
        return fisher(on_device, encoded, plan.task.collator(tokenizer), plan.task.drawn, params.seed)

    found = kept(work / FISHER, compute)
    found = relabelled(found, warm_start.output_layer(before), origin.labels, plan.labels)
    return Consolidation(model, found, params.ewc_lambda)


class Consolidation(TrainerCallback):
    """Pulls the weights of `model` back to where they are now, each by `strength` times its Fisher information."""

    def __init__(self, model: Any, information: Tensors, strength: float):
        self.strength = strength
        self.held = [
            (weight, information[name], weight.detach().cpu().clone())
            for name, weight in model.named_parameters()
            if weight.requires_grad
        ]

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.held = [(weight, found.to(weight.device), before.to(weight.device)) for weight, found, before in self.held]

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        with torch.no_grad():
            for weight, found, before in self.held:
                if weight.grad is not None:
                    weight.grad.add_(found * (weight - before), alpha=self.strength)
