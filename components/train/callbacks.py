"""What train adds to the Trainer: order of the rows, early stopping, progress, tracking; `saving` adds the checkpoints.

None of them keeps state that a checkpoint would have to hold: each looks at the Trainer's own state and log.
"""

import math
import sys
import time
from typing import Any

import torch
from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from components.train import curves, ranks
from components.train.evaluations import is_due, patience_is_over, steps_per_epoch
from fineline.process.errors import UsageError
from fineline.tracking.journal import Journal

_SECONDS_BETWEEN_LINES = 10.0


class RowOrder(TrainerCallback):
    """Draws the order of the rows from the seed and the epoch alone.

    The Trainer's length-grouped sampler draws from the global generator, which dropout has moved on when training is
    resumed inside an epoch: the rows left over would be others.
    """

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        batches = kwargs["train_dataloader"].batch_sampler
        sampler = getattr(
            batches, "batch_sampler", batches
        ).sampler  # one process's share of the batches wraps them all
        epoch = state.global_step // steps_per_epoch(state)
        sampler.generator = torch.Generator().manual_seed(args.seed + epoch)
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)


class Checks(TrainerCallback):
    """Stops a training that diverged, and one that has not become better for `patience` evaluations."""

    def __init__(self, patience: int):
        self.patience = patience

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        loss = kwargs["logs"].get("loss", kwargs["logs"].get("eval_loss", 0.0))
        if not math.isfinite(loss):
            raise UsageError(
                f"the training diverged: the loss is {loss} at step {state.global_step}",
                "lower train.learning_rate, raise train.warmup_share, or set train.precision: fp32",
            )

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if patience_is_over(state, args, self.patience):
            control.should_training_stop = True


class Progress(TrainerCallback):
    """A bar on a terminal; elsewhere a line every 10 seconds. Loss, samples per second, time left, and each evaluation."""

    def __init__(self, samples_per_epoch: int):
        self.samples_per_epoch = samples_per_epoch
        self._bar: tqdm | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._begun = self._shown = time.monotonic()
        self._first = self._done = self._samples(state)
        self._total = int(args.num_train_epochs) * self.samples_per_epoch
        if self._first and state.is_world_process_zero:
            self._say(f"goes on at step {state.global_step} of {state.max_steps}")
        if sys.stderr.isatty() and state.is_world_process_zero:
            self._bar = tqdm(total=self._total, initial=self._first, desc="train", unit=" samples", leave=False)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if "loss" not in kwargs["logs"]:
            return
        loss = f"loss {kwargs['logs']['loss']:.4f}"
        before, self._done = self._done, self._samples(state)
        if self._bar is not None:
            self._bar.set_postfix_str(loss, refresh=False)
            self._bar.update(self._done - before)
            return
        now = time.monotonic()
        if now - self._shown >= _SECONDS_BETWEEN_LINES and state.is_world_process_zero:
            self._shown = now
            rate = (self._done - self._first) / (now - self._begun)
            left = tqdm.format_interval((self._total - self._done) / rate)
            self._say(
                f"epoch {state.epoch:.2f} of {args.num_train_epochs:.0f}, {loss}, {rate:,.0f} samples/s, {left} left at most"
            )

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            metric = args.metric_for_best_model
            figures = {"loss": kwargs["metrics"]["eval_loss"], metric: kwargs["metrics"][f"eval_{metric}"]}
            shown = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
            self._say(f"epoch {round(state.epoch or 0, 2):g} of {args.num_train_epochs:.0f}, validation {shown}")

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def _samples(self, state: TrainerState) -> int:
        return round((state.epoch or 0) * self.samples_per_epoch)

    def _say(self, line: str) -> None:
        tqdm.write(f"train: {line}", file=sys.stderr)
        sys.stderr.flush()


class Tracking(TrainerCallback):
    """Writes each row of the curves into the journal as soon as it is whole, with the GPU hours used so far.

    Those of a training that was stopped stand in its journal, and count on.
    """

    def __init__(self, journal: Journal, every: int):
        self.journal = journal
        self.every = every
        self._taken = 0
        self._gpus = ranks.devices() if torch.cuda.is_available() else 0
        rows = [event["values"] for event in journal.events if event["kind"] == "metrics"]
        self._hours = max((row.get("gpu_hours", 0.0) for row in rows), default=0.0)
        self._begun = time.monotonic()

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        new = list(
            curves.rows(state.log_history[self._taken :], self.every, lambda step: is_due(step, state, args.eval_steps))
        )
        for row in new:
            values = {name: value for name, value in row.items() if name != "step" and math.isfinite(value)}
            if self._gpus:
                values["gpu_hours"] = self._hours + self._gpus * (time.monotonic() - self._begun) / 3600
            self.journal.metrics(values, int(row["step"]))
        if new:
            self._taken = len(state.log_history)
