"""python benchmarks/checkpoints.py --splits artifacts/augmented

What a checkpoint in the background costs a training on this machine, and so its share at train.save_minutes.

One real training in turns of some steps. At the start of every second turn a checkpoint is begun, in the others none, so that
what else the machine does disturbs both alike; texts are cut so short that all steps are the same work. Each turn is compared
with the mean of its neighbours. CPU seconds are what is left of the noise where other processes compute too.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from components.train import checkpoints, encoding, fitting, network, precision
from components.train.params import Params
from components.train.saving import Saving
from components.train.warm_start import Origin
from fineline.pretrained import models
from fineline.rows import dataset
from fineline.steps.command_line import quiet_libraries
from fineline.tasks import get_task

NEVER = float("inf")


class Turns(TrainerCallback):
    """Has a checkpoint begin with every second turn of `steps`, and notes what each turn took: (seconds, CPU seconds)."""

    def __init__(self, saving: Saving, steps: int):
        self.saving, self.steps = saving, steps
        self.taken: list[tuple[float, float]] = []

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.saving.seconds = NEVER
        self.began = time.perf_counter(), time.process_time()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.saving.seconds = NEVER
        if state.global_step % self.steps == 0:
            now = time.perf_counter(), time.process_time()
            self.taken.append((now[0] - self.began[0], now[1] - self.began[1]))
            self.began = now
            if len(self.taken) % 2 == 1:  # due at the end of this step, after its turn was timed
                self.saving.seconds = 0.0


def main() -> int:
    flags = _flags()
    quiet_libraries()
    fitting.quiet()
    params = Params(model=flags.model)
    taken = _train(flags, params)
    print(f"{len(taken) // 2} checkpoints of {flags.model}, one in every second turn of {flags.steps} steps")
    for unit, numbers in zip(("seconds", "CPU seconds"), zip(*taken, strict=True), strict=True):
        alone = statistics.median(numbers[0::2])
        cost = [numbers[i] - (numbers[i - 1] + numbers[i + 1]) / 2 for i in range(1, len(numbers) - 1, 2)]
        each, spread = statistics.median(cost), statistics.quantiles(cost, n=4)
        print(
            f"{unit}: a turn {alone:.2f}, with a checkpoint {(alone + each) / alone:.3f} times that, for the same work;"
        )
        print(
            f"  a checkpoint {each:.2f} (middle half {spread[0]:.2f} to {spread[2]:.2f}), so of the training at save_minutes"
        )
        print(
            "  "
            + ", ".join(f"{minutes:g}: {each / (60 * minutes):.2%}" for minutes in (1.0, params.save_minutes, 15.0))
        )
    return 0


def _train(flags: argparse.Namespace, params: Params) -> list[tuple[float, float]]:
    rows = dataset.read_rows(flags.splits / "train.parquet")
    task = get_task("single_label")
    labels = task.label_set(rows)
    folder = models.model_folder(params.model)
    tokenizer = network.load_tokenizer(folder, flags.max_length)
    encoded = encoding.encode(tokenizer, rows["text"].tolist(), task.targets(rows, labels), flags.max_length)
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
            model=network.build(task, Origin(folder), tokenizer, labels, params),
            args=arguments,
            train_dataset=encoded,
            data_collator=task.collator(tokenizer),
            compute_loss_func=task.loss(params.label_smoothing, None),
            callbacks=[turns, saving],
        )
        trainer.remove_callback(PrinterCallback)
        with saving:
            trainer.train()
        assert checkpoints.last(Path(work)) is not None
    return turns.taken


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
