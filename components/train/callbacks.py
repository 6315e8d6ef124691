"""What train adds to the Trainer: order of the rows, early stopping, sealing, preemption, progress, tracking.

None of them keeps state that a checkpoint would have to hold: each looks at the Trainer's own state and log.
"""

import math
import signal
import sys
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import torch
from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from components.train import checkpoints, curves, ranks
from fineline.errors import UsageError
from fineline.tracking import Journal

_SECONDS_BETWEEN_LINES = 10.0


def steps_per_epoch(state: TrainerState) -> int:
    """Optimizer steps of one epoch; every epoch has as many."""
    return state.max_steps // state.num_train_epochs


def evaluations(state: TrainerState) -> list[dict[str, Any]]:
    """The log entries of all evaluations so far, oldest first."""
    return [entry for entry in state.log_history if "eval_loss" in entry]


def patience_is_over(state: TrainerState, patience: int) -> bool:
    """Whether the last `patience` evaluations brought nothing better than the best before them; never with 0."""
    since_best = sum(entry["step"] > (state.best_global_step or 0) for entry in evaluations(state))
    return 0 < patience <= since_best


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

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        # not in on_evaluate: there the Trainer has not noted yet whether this evaluation is the best
        if patience_is_over(state, self.patience):
            control.should_training_stop = True


class Sealing(TrainerCallback):
    """Seals each checkpoint, and only then removes those that are neither the last nor the best."""

    def __init__(self, folder: Path):
        self.folder = folder

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        ranks.wait()  # each process writes the state of its own random generators
        if state.is_world_process_zero:
            checkpoints.seal(checkpoints.at(self.folder, state.global_step))
            checkpoints.prune(self.folder, state.global_step, state.best_global_step or state.global_step)


class Preemption(TrainerCallback):
    """SIGTERM lets the running step end, saves a checkpoint and stops; `asked` says so afterwards. A context manager.

    It may reach one of several processes, or each at another step: they agree at the end of each step.
    At the end of an epoch the save after its evaluation is the checkpoint: one before it would skip the evaluation on
    resumption. Inside an epoch nothing is evaluated, so that the log is the same as without the stop.
    """

    def __init__(self) -> None:
        self.asked = False
        self._inside_epoch = False

    def __enter__(self) -> "Preemption":
        self._before = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._agreed(args) and state.global_step % steps_per_epoch(state) != 0:
            self._inside_epoch = True
            control.should_save = control.should_training_stop = True

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._inside_epoch:
            control.should_evaluate = control.should_save = False

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._agreed(args):
            control.should_training_stop = True

    def _agreed(self, args: TrainingArguments) -> bool:
        self.asked |= ranks.any_of(self.asked, args.device)
        return self.asked

    def _ask(self, _signal: int, _frame: FrameType | None) -> None:
        self.asked = True


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
            self._say(f"epoch {state.epoch:.0f} of {args.num_train_epochs:.0f}, validation {shown}")

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
        new = list(curves.rows(state.log_history[self._taken :], self.every, steps_per_epoch(state)))
        for row in new:
            values = {name: value for name, value in row.items() if name != "step" and math.isfinite(value)}
            if self._gpus:
                values["gpu_hours"] = self._hours + self._gpus * (time.monotonic() - self._begun) / 3600
            self.journal.metrics(values, int(row["step"]))
        if new:
            self._taken = len(state.log_history)
