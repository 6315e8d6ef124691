"""python benchmarks/checkpoints.py --splits artifacts/augmented

What a checkpoint in the background costs a training on this machine, and so its share at train.save_minutes.

One real training in turns of some steps. At the start of every second turn a checkpoint is begun, in the others none, so that
what else the machine does disturbs both alike; texts are cut so short that all steps are the same work. Each turn is compared
with the mean of its neighbours. More or slower cores than those that train beside it change the figure: run it where you train.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from components.train import checkpoints, fitting, network, precision
from components.train.params import Params
from components.train.saving import Saving
from components.train.warm_start import Origin
from fineline import dataset, models
from fineline.step import quiet_libraries
from fineline.tasks import get_task

NEVER = float("inf")


class Turns(TrainerCallback):
    """Has a checkpoint begin with every second turn of `steps`, and notes how long each turn took, in seconds."""

    def __init__(self, saving: Saving, steps: int):
        self.saving, self.steps = saving, steps
        self.seconds: list[float] = []

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.saving.seconds = NEVER
        self.began = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.saving.seconds = NEVER
        if state.global_step % self.steps == 0:
            now = time.perf_counter()
            self.seconds.append(now - self.began)
            self.began = now
            if len(self.seconds) % 2 == 1:  # due at the end of this step, after its turn was timed
                self.saving.seconds = 0.0


def main() -> int:
    flags = _flags()
    quiet_libraries()
    fitting.quiet()
    params = Params(model=flags.model, dropout=0.1)
    seconds = _train(flags, params)
    cost = [
        seconds[turn] - (seconds[turn - 1] + seconds[turn + 1]) / 2
        for turn in range(1, len(seconds) - 1, 2)  # turns with a checkpoint: the second, the fourth, ...
    ]
    alone = statistics.median(seconds[0::2])
    each = statistics.median(cost)
    spread = statistics.quantiles(cost, n=4)
    print(
        f"{len(cost)} checkpoints of {flags.model}, in turns of {flags.steps} steps that take {alone:.2f} s without one"
    )
    print(f"with / without, same work: {(alone + each) / alone:.3f}")
    print(f"a checkpoint costs the training {each:.2f} s (middle half {spread[0]:.2f} to {spread[2]:.2f})")
    for minutes in (1.0, params.save_minutes, 15.0):
        print(f"  train.save_minutes {minutes:4.1f}: {each / (60 * minutes):7.2%}")
    return 0


def _train(flags: argparse.Namespace, params: Params) -> list[float]:
    rows = dataset.read_rows(flags.splits / "train.parquet")
    task = get_task("single_label")
    labels = task.label_set(rows)
    folder = models.model_folder(params.model)
    tokenizer = network.load_tokenizer(folder, flags.max_length)
    encoded = fitting.encode(tokenizer, rows["text"].tolist(), task.targets(rows, labels), flags.max_length)
    arithmetic = precision.resolve("auto")
    with tempfile.TemporaryDirectory(dir=flags.checkpoints) as work:
        saving = Saving(Path(work), params.save_minutes, whole=True, check=lambda: None)
        turns = Turns(saving, flags.steps)
        arguments = TrainingArguments(
            output_dir=work,
            max_steps=(2 * flags.rounds + 1) * flags.steps,
            per_device_train_batch_size=params.batch_size,
            optim="adamw_torch_fused",
            learning_rate=params.learning_rate,
            bf16=arithmetic == "bf16",
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            logging_steps=1,
            label_names=["labels"],
            remove_unused_columns=False,
            report_to="none",
            disable_tqdm=True,
            log_level="error",
        )
        trainer = Trainer(
            model=network.build(task, Origin(folder), labels, params),
            args=arguments,
            train_dataset=encoded,
            data_collator=task.collator(tokenizer),
            compute_loss_func=task.loss(params.label_smoothing, None),
            callbacks=[turns, saving],
        )
        with saving:
            trainer.train()
        assert checkpoints.last(Path(work)) is not None
    return turns.seconds


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=Path, required=True, help="splits whose training rows are trained on")
    parser.add_argument("--model", default="bundled:all-MiniLM-L6-v2")
    parser.add_argument("--checkpoints", type=Path, help="a folder on the disk where checkpoints will lie")
    parser.add_argument("--steps", type=int, default=20, help="of a turn: more than one checkpoint takes")
    parser.add_argument("--rounds", type=int, default=15, help="turns with a checkpoint")
    parser.add_argument("--max-length", type=int, default=16, help="tokens; short, so that every batch is as long")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
