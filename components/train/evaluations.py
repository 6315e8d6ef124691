"""What the Trainer's log says of the evaluations so far: which was the best, and whether it is time to stop."""

import math
from typing import Any

from transformers import TrainerState, TrainingArguments


def steps_per_epoch(state: TrainerState) -> int:
    """Optimizer steps of one epoch; every epoch has as many."""
    return state.max_steps // state.num_train_epochs


def is_due(step: int, state: TrainerState, eval_steps: float | None) -> bool:
    """Whether the validation rows are looked at after optimizer step `step`: every `eval_steps`, else at each epoch's end, and
    after the last."""
    return step % (eval_steps or steps_per_epoch(state)) == 0 or step == state.max_steps


def epoch_of(step: int, state: TrainerState) -> int:
    """The epoch that optimizer step `step` (from 1) lies in, from 1."""
    return math.ceil(step / steps_per_epoch(state))


def evaluations(state: TrainerState) -> list[dict[str, Any]]:
    """The log entries of all evaluations so far, oldest first."""
    return [entry for entry in state.log_history if "eval_loss" in entry]


def best(state: TrainerState, args: TrainingArguments) -> dict[str, Any]:
    """The log entry of the best evaluation; the later of equals, which was trained longer."""
    found = evaluations(state)
    ranked = _ranked(found, args)
    return found[max(range(len(found)), key=lambda i: (ranked[i], i))]


def patience_is_over(state: TrainerState, args: TrainingArguments, patience: int) -> bool:
    """Whether the last `patience` evaluations brought nothing better than one before them; never with 0."""
    ranked = _ranked(evaluations(state), args)
    return 0 < patience < len(ranked) and max(ranked[-patience:]) <= max(ranked[:-patience])


def _ranked(found: list[dict[str, Any]], args: TrainingArguments) -> list[float]:
    sign = 1 if args.greater_is_better else -1
    return [sign * entry[f"eval_{args.metric_for_best_model}"] for entry in found]
