"""The Hugging Face Trainer, set up so that the same inputs give the same weights, killed or not."""

import logging
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import Trainer, TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from components.train import checkpoints, network, ranks
from components.train.callbacks import Checks, Progress, RowOrder, Tracking
from components.train.encoding import Encoded, encode
from components.train.evaluations import patience_is_over
from components.train.params import Params
from components.train.plan import Plan
from components.train.saving import Saving
from components.train.work_folder import WorkFolder
from fineline.process.errors import GateRejected, Preempted, ResourceError
from fineline.tasks.parts import UNCALIBRATED
from fineline.tracking.journal import Journal

SMALLER_IS_BETTER = ("loss", "log_loss", "ece")

_POLYNOMIAL_POWER = 2.0
_LOOKS_ALIKE = 3  # a model that still learns may give one answer in its first epochs


def quiet() -> None:
    """Silences what confuses: loading bars, the report that a new head is new. Errors are still raised."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    warnings.filterwarnings(
        "ignore", message="fan_in_fan_out is set to False", category=UserWarning
    )  # peft sets it right
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing.* is deprecated", category=FutureWarning)


def fit(
    plan: Plan,
    model: Any,
    tokenizer: Any,
    work: WorkFolder,
    journal: Journal | None,
    consolidation: TrainerCallback | None,
) -> Any:
    """Trains `model`, from the last sealed checkpoint in `work` where there is one; gives it with its last weights.

    Raises Preempted after SIGTERM, UsageError when the training diverges, ResourceError when what it needs of the
    checkpoints could not be written. Only the first process has a `journal`.
    """
    params, task = plan.params, plan.task
    saving = Saving(work.path, params.save_minutes, work.kept, work.check)
    loss = _loss(plan)
    trainer = _LearningInEachEpoch(
        model=model,
        args=_arguments(plan, work.path),
        train_dataset=_encoded(plan, "train", tokenizer),
        eval_dataset=_encoded(plan, "validation", tokenizer),
        data_collator=task.collator(tokenizer),
        compute_loss_func=loss,
        compute_metrics=_metrics(plan, loss),
        callbacks=[
            RowOrder(),
            saving,
            Checks(params.early_stopping_patience),
            Progress(len(plan.examples.texts["train"])),
            *([Tracking(journal, params.logging_steps)] if journal else []),
            *([consolidation] if consolidation else []),
        ],
    )
    trainer.remove_callback(PrinterCallback)
    last = ranks.from_first(checkpoints.last(work.path) if ranks.first() else None)
    if last is None or not _is_done(_state(last), trainer.args, params):
        with saving:
            trainer.train(resume_from_checkpoint=None if last is None else str(last))
        if saving.asked:
            raise _preempted(trainer.state, work.kept)
        if ranks.first():
            _require(work.path, trainer.state)
    return trainer.model


class _LearningInEachEpoch(Trainer):
    """The Trainer, whose warm-up begins at its second step where an epoch is one step: at the first the learning rate is 0, and
    that epoch would teach nothing."""

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        several = num_training_steps > self.args.num_train_epochs
        if self.lr_scheduler is not None or not self.args.warmup_steps or several:
            return super().create_scheduler(num_training_steps, optimizer)
        scheduler = super().create_scheduler(num_training_steps + 1, optimizer)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step", category=UserWarning)
            scheduler.step()
        return scheduler


def best(plan: Plan, model: Any, before: Mapping[str, str], work: Path) -> tuple[Any, TrainerState]:
    """The best model that `fit` left in `work`, plain, and the final state; `model` is what `fit` gave.

    Raises GateRejected when each of its weights is what `before` says (`network.fingerprints`): nothing was learned.
    """
    last = checkpoints.last(work)
    if last is None:
        raise ResourceError(f"the checkpoints in {work} vanished while they were needed", "run again")
    state = _state(last)
    checkpoint = checkpoints.at(work, state.best_global_step or state.global_step)
    if network.fingerprints_of(checkpoint).items() >= before.items():
        raise GateRejected(
            f"no weight has changed after {state.global_step:,} steps with train.learning_rate = {plan.params.learning_rate:g}",
            "raise train.learning_rate; with precision fp16, try fp32 or bf16: steps that overflow are left out",
        )
    return network.load_best(plan.task, model, checkpoint, plan.labels), state


def _arguments(plan: Plan, work: Path) -> TrainingArguments:
    params = plan.params
    gpu = torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(work),
        num_train_epochs=params.epochs,
        per_device_train_batch_size=params.batch_size,
        per_device_eval_batch_size=params.eval_batch_size,
        gradient_accumulation_steps=params.gradient_accumulation,
        train_sampling_strategy="group_by_length" if params.length_grouping else "random",
        optim="adamw_torch_fused",
        learning_rate=params.learning_rate,
        lr_scheduler_type=params.schedule,
        lr_scheduler_kwargs={"power": _POLYNOMIAL_POWER} if params.schedule == "polynomial" else None,
        warmup_steps=params.warmup_share,  # a number below 1 is a share of all steps
        weight_decay=params.weight_decay,
        max_grad_norm=params.max_grad_norm,
        bf16=plan.precision == "bf16",
        fp16=plan.precision == "fp16",
        activation_checkpointing=params.gradient_checkpointing,
        eval_strategy="steps" if params.eval_steps else "epoch",
        eval_steps=params.eval_steps or None,
        save_strategy="no",  # Saving does it
        metric_for_best_model=plan.metric,
        greater_is_better=plan.metric not in SMALLER_IS_BETTER,
        logging_strategy="steps",
        logging_steps=1,  # a checkpoint inside a longer window would lose the window's loss
        logging_nan_inf_filter=False,
        label_names=["labels"],
        remove_unused_columns=False,
        use_cpu=not gpu,
        dataloader_pin_memory=gpu,
        seed=params.seed,
        data_seed=params.seed,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
    )


def _encoded(plan: Plan, split: str, tokenizer: Any) -> Encoded:
    return encode(tokenizer, plan.examples.texts[split], plan.examples.targets[split], plan.params.max_length)


def _loss(plan: Plan) -> Callable[..., Any]:
    weights = None
    if plan.params.class_weights == "balanced":
        weights = plan.task.class_weights(plan.examples.targets["train"], len(plan.labels))
    return plan.task.loss(plan.params.label_smoothing, weights)


def _metrics(plan: Plan, loss: Callable[..., Any]) -> Callable[[Any], dict[str, float]]:
    """The validation figures, decided as is best for these rows, with the loss over all rows at once: the Trainer's own is a mean
    over batches, which counts rows twice where several processes fill up their last ones. Says where all answers are alike three
    times in a row."""
    task, labels, alike = plan.task, plan.labels, 0

    def compute(prediction: Any) -> dict[str, float]:
        logits = prediction.predictions
        logits = logits[0] if isinstance(logits, tuple) else logits
        decided = {**UNCALIBRATED, **task.decide(logits, prediction.label_ids)}
        of_all = loss({"logits": torch.from_numpy(logits)}, torch.from_numpy(prediction.label_ids))
        nonlocal alike
        answers = task.answers(logits, decided)
        choices, wanted = (np.unique(found, axis=0) for found in (task.choices(answers), prediction.label_ids))
        alike = alike + 1 if len(choices) == 1 < len(wanted) else 0
        if alike >= _LOOKS_ALIKE and ranks.first():
            print(
                f"train: the model gives all {len(logits):,} validation rows the same answer "
                f"({task.given(answers[:1], labels)[0] or 'no label'}): "
                f"train.learning_rate = {plan.params.learning_rate:g} is too high for it, or it was not trained for long",
                file=sys.stderr,
                flush=True,
            )
        return {
            **task.metrics(prediction.label_ids, answers, labels),
            "loss": float(of_all),
        }

    return compute


def _state(checkpoint: Path) -> TrainerState:
    return TrainerState.load_from_json(str(checkpoint / checkpoints.STATE))


def _is_done(state: TrainerState, args: TrainingArguments, params: Params) -> bool:
    """Whether nothing is left to train: the Trainer itself would go on after early stopping."""
    return state.global_step >= state.max_steps or patience_is_over(state, args, params.early_stopping_patience)


def _require(work: Path, state: TrainerState) -> None:
    """Raises ResourceError where the last or the best checkpoint could not be written."""
    for step in (state.global_step, state.best_global_step or state.global_step):
        if not checkpoints.is_sealed(work, step):
            raise ResourceError(
                f"the checkpoint of step {step}, which holds the trained model, could not be written",
                "see above why, free space (four times the model's size for each of three checkpoints), and run again: "
                "it goes on from the last one that is whole",
            )


def _preempted(state: TrainerState, resumable: bool) -> Preempted:
    where = f"stopped by SIGTERM at step {state.global_step} of {state.max_steps}"
    if resumable:
        return Preempted(where, "run the same command again to go on from there")
    return Preempted(where, "the next run starts from the beginning; with --checkpoints DIR it would go on from there")
