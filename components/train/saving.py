"""Sealed checkpoints, written in the background while the training goes on: at each evaluation, by the clock, on SIGTERM.

Kubeflow's launcher turns SIGTERM into SIGKILL within a second, so that what a kill may cost is bounded by time and not by
grace (docs/decisions/0008). What is saved is first copied in memory, between two steps; a thread then writes and seals it.
Neither draws a random number, so the weights do not depend on when the clock struck.
"""

import copy
import random
import signal
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from components.train import checkpoints, ranks
from components.train.evaluations import best, is_due
from components.train.resources import disk_is_full

_DUE, _ASKED_TO_STOP = 1, 2


class Saving(TrainerCallback):
    """Seals a checkpoint at each evaluation, every `minutes`, and after the step in which SIGTERM arrived. A context manager.

    With `whole` a checkpoint holds all that a training needs to go on; without, the model and the log, and the clock does
    nothing. `check` raises when `folder` is no longer ours. SIGTERM may reach one of several
    processes, or each at another step: they agree at the end of each step; `asked` says so afterwards.
    Where an evaluation is due it makes the checkpoint: one before it would skip the evaluation on resumption.
    Elsewhere nothing is evaluated, so that the log is the same as without the stop.
    """

    def __init__(self, folder: Path, minutes: float, whole: bool, check: Callable[[], None]):
        self.asked = False
        self.seconds, self._whole = 60 * minutes, whole
        self._writer = Writer(folder, check)
        self._stopped_inside_epoch = False

    def __enter__(self) -> "Saving":
        self._before = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGTERM, self._before)
        self._writer.close()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._saved = time.monotonic()

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        # not in on_step_end: there the step's figures are not in the log yet
        if "loss" not in kwargs["logs"] or is_due(state.global_step, state, args.eval_steps):
            return
        reason = self._agreed(args)
        if reason == _ASKED_TO_STOP:
            self._stopped_inside_epoch = control.should_training_stop = True
        if reason:
            self._save(args, state, kwargs)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._stopped_inside_epoch:
            control.should_evaluate = False

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        # the Trainer notes the best evaluation only where it saves by itself
        state.best_global_step = best(state, args)["step"]
        self._save(args, state, kwargs)
        if self._agreed(args) == _ASKED_TO_STOP:
            control.should_training_stop = True

    def _agreed(self, args: TrainingArguments) -> int:
        due = self._whole and ranks.first() and not self._writer.busy and time.monotonic() - self._saved >= self.seconds
        reason = ranks.largest(_ASKED_TO_STOP if self.asked else _DUE if due else 0, args.device)
        self.asked |= reason == _ASKED_TO_STOP
        return reason

    def _save(self, args: TrainingArguments, state: TrainerState, parts: Mapping[str, Any]) -> None:
        self._saved = time.monotonic()
        random_states = ranks.gathered(_random_states(args)) if self._whole else []
        if not state.is_world_process_zero:
            return
        self._writer.wait()  # only now: there are never two copies in memory
        saved = [_model_file(parts["model"])]
        if self._whole:
            saved += _files_to_go_on(parts["optimizer"], parts["lr_scheduler"], random_states)
        log = copy.copy(state)
        log.log_history = list(state.log_history)

        def write(folder: Path) -> None:
            for write_part in saved:
                write_part(folder)
            log.save_to_json(str(folder / checkpoints.STATE))

        self._writer.start(state.global_step, write, keep=state.best_global_step or state.global_step)

    def _ask(self, _signal: int, _frame: FrameType | None) -> None:
        self.asked = True


class Writer:
    """Writes and seals checkpoints below `folder` in a thread, one at a time."""

    def __init__(self, folder: Path, check: Callable[[], None]):
        self.folder = folder
        self.check = check
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._running: Future[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is being written."""
        return self._running is not None and not self._running.done()

    def start(self, step: int, write: Callable[[Path], None], keep: int) -> None:
        """Begins the checkpoint of `step`: `write` gets its empty folder. Once it is sealed, all but it and that of the
        step `keep` are removed; when it cannot be written, that is one line, and those that were there stay."""
        self.wait()
        self._running = self._pool.submit(self._written, step, write, keep)

    def wait(self) -> None:
        """Goes on when no checkpoint is being written."""
        if self._running is not None:
            self._running.result()

    def close(self) -> None:
        """Waits for the last checkpoint and ends the thread."""
        self._pool.shutdown()
        self.wait()

    def _written(self, step: int, write: Callable[[Path], None], keep: int) -> None:
        checkpoint = checkpoints.at(self.folder, step)
        self.check()
        try:
            checkpoints.drop(checkpoint)
            checkpoint.mkdir(parents=True)
            write(checkpoint)
            checkpoints.seal(checkpoint)
        except Exception as error:
            if not isinstance(error, OSError) and not disk_is_full(error):
                raise
            checkpoints.drop(checkpoint)
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "the disk is full"
            print(
                f"train: no checkpoint of step {step}: {reason}; the one before it stays", file=sys.stderr, flush=True
            )
        else:
            self.check()
            checkpoints.prune(self.folder, step, keep)


def snapshot(value: Any, _copies: dict[Any, torch.Tensor] | None = None) -> Any:
    """A copy of nested mappings and lists on the CPU that training does not change; tensors that share memory still do."""
    copies = {} if _copies is None else _copies
    if isinstance(value, torch.Tensor):
        where = (value.data_ptr(), value.dtype, value.shape, value.stride(), value.device)
        if where not in copies:
            copies[where] = value.detach().to("cpu", copy=True)
        return copies[where]
    if isinstance(value, Mapping):
        return {name: snapshot(item, copies) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(snapshot(item, copies) for item in value)
    return copy.deepcopy(value)


def _model_file(model: Any) -> Callable[[Path], None]:
    """Writes `model` as it is now, as save_pretrained does; of one with adapters, these alone."""
    from peft import PeftModel

    weights = model.state_dict()
    if isinstance(model, PeftModel):
        frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
        weights = {name: weight for name, weight in weights.items() if name not in frozen}
    copied = snapshot(weights)
    return lambda folder: model.save_pretrained(folder, state_dict=copied)


def _files_to_go_on(optimizer: Any, scheduler: Any, random_states: list[Any]) -> list[Callable[[Path], None]]:
    """Writes what the Trainer reads when it goes on, under its names (transformers' trainer.py, 5.23)."""
    one = len(random_states) == 1
    content = {
        "optimizer.pt": snapshot(optimizer.state_dict()),
        "scheduler.pt": snapshot(scheduler.state_dict()),
        **{"rng_state.pth" if one else f"rng_state_{rank}.pth": states for rank, states in enumerate(random_states)},
    }
    if (scaler := getattr(optimizer, "scaler", None)) is not None:
        content["scaler.pt"] = snapshot(scaler.state_dict())
    return [
        lambda folder, name=name, value=value: torch.save(value, folder / name)  # type: ignore[misc]
        for name, value in content.items()
    ]


def _random_states(args: TrainingArguments) -> dict[str, Any]:
    """The states of all random generators of this process, as the Trainer restores them."""
    states: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "cpu": torch.random.get_rng_state(),
    }
    if torch.cuda.is_available():
        several = args.world_size > 1
        states["cuda"] = torch.cuda.random.get_rng_state_all() if several else torch.cuda.random.get_rng_state()
    return states
