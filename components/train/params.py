"""Parameters of train. Defaults suit about 1,500 short rows and the bundled 22.7 M-parameter model on 2 CPU cores."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from fineline.steps.params import FromHome, StepParams

AS_PRETRAINED = "auto"


def _share_or_auto(value: float | str) -> float | str:
    if value != AS_PRETRAINED and (isinstance(value, str) or not 0 <= value < 1):
        raise ValueError(f"not {AS_PRETRAINED}, and no number from 0 to below 1")
    return value


_SCHEMA = {"anyOf": [{"type": "number", "minimum": 0, "exclusiveMaximum": 1}, {"const": AS_PRETRAINED}]}
Dropout = Annotated[float | str, AfterValidator(_share_or_auto), WithJsonSchema(_SCHEMA)]


class Params(StepParams):
    """How a pretrained model is fine-tuned."""

    model: FromHome = Field(
        "bundled:all-MiniLM-L6-v2",
        min_length=1,
        description="Pretrained model: bundled:NAME (in an installed package, no network), a hub id (owner/name), or a local "
        "folder with model.safetensors and tokenizer.json. Of a folder only its name is recorded, and the sha256 of its files.",
    )
    revision: str = Field(
        "",
        description="Commit, tag or branch of a hub model; pin a commit, so that a run can be repeated. Empty: main.",
    )
    init_from: str = Field(
        "",
        description="Go on from a trained model instead: models:/NAME@champion or models:/NAME/VERSION (trained with log_model), "
        "a model folder, or a hub id. Rows of its head go with their label's name. No champion yet: from model. Empty: off.",
        json_schema_extra={"location": True},
    )
    replay_share: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share of the rows which the model of init_from was trained on that are trained on again, beside all new "
        "ones. Less is faster and forgets more. Without a record of its rows all are used.",
    )
    ewc_lambda: float = Field(
        0.0,
        ge=0,
        description="Elastic weight consolidation (Kirkpatrick et al. 2017): how strongly the weights that old rows need are "
        "held where init_from has them; 1,000 to 100,000, as a sure model's Fisher information is small. Needs method full. "
        "0: off.",
    )
    log_model: bool = Field(
        False,
        description="Keep the trained model in its MLflow run, so that a later init_from can go on from its registered version: "
        "4 bytes for each parameter (91 MB for MiniLM, 440 MB for BERT-base).",
    )
    pooling: Literal["auto", "model", "mean", "last"] = Field(
        "auto",
        description="What the head reads. mean: the mean over the tokens; last: the last token; model: what its class has "
        "([CLS] for BERT). auto: mean where the model was pretrained so (its 1_Pooling/config.json says it, as "
        "sentence-transformers write it), last for decoders (GPT-2, Llama, Qwen), else model.",
    )
    method: Literal["full", "lora"] = Field(
        "full",
        description="full trains every weight that is not frozen; lora trains low-rank additions to the linear layers and the "
        "whole head, and merges them at the end (Hu et al. 2021): less memory, for models that do not fit otherwise.",
    )
    lora_r: int = Field(
        16, ge=1, le=1024, description="Rank of the LoRA matrices; more rank, more capacity and memory."
    )
    lora_alpha: int = Field(32, ge=1, description="LoRA scale: the additions are multiplied by lora_alpha / lora_r.")
    lora_dropout: float = Field(0.05, ge=0, lt=1, description="Dropout before the LoRA matrices, a share.")
    lora_target_modules: list[str] = Field(
        [],
        description="Names of the linear layers that get LoRA, such as query and value. Empty: all of the encoder's.",
    )
    freeze_embeddings: bool = Field(
        False,
        description="Leave the embeddings as they are: half of MiniLM's parameters, so faster, less memory and less overfitting.",
    )
    freeze_layers: int = Field(
        0, ge=0, description="Leave the first k encoder layers as they are; 0 trains all. Go with freeze_embeddings."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="Arithmetic of the forward and backward pass; weights are kept and saved in fp32. auto takes bf16 where the "
        "GPU or CPU (avx512_bf16, amx_bf16) computes it natively, else fp32. fp16 needs a GPU.",
    )
    max_length: int = Field(
        128,
        ge=4,
        description="Longest text in tokens; the rest is cut off. Not more than the model has positions: RoBERTa's kin have two "
        "fewer than max_position_embeddings.",
    )
    epochs: int = Field(
        8,
        ge=1,
        le=1000,
        description="Passes over the training rows at most; early stopping may end sooner. 6 to 8 on banking77.",
    )
    batch_size: int = Field(32, ge=1, description="Rows per step and device.")
    eval_batch_size: int = Field(
        64, ge=1, description="Rows per evaluation batch and device; changes speed and memory only."
    )
    gradient_accumulation: int = Field(
        1,
        ge=1,
        description="Batches per optimizer step: batch_size * this rows count for one step at the memory of batch_size.",
    )
    learning_rate: float = Field(
        2e-4,
        gt=0,
        le=1,
        description="Peak learning rate. 2e-4 for MiniLM (measured on banking77), 2e-5 to 5e-5 for BERT-base and larger.",
    )
    schedule: Literal["linear", "cosine", "polynomial"] = Field(
        "linear", description="How the learning rate falls to 0 after warm-up; polynomial is of power 2."
    )
    warmup_share: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of all steps in which the learning rate rises from 0 to its peak (from the step after 0 on, where an "
        "epoch is one step).",
    )
    weight_decay: float = Field(
        0.01, ge=0, le=1, description="AdamW's decoupled weight decay; biases and layer norms have none."
    )
    label_smoothing: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of each target that is spread over all labels (Szegedy et al. 2016); helps where labels are noisy.",
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none",
        description="balanced weighs each row by n / (k * rows of its label), so that rare labels count as much as common ones.",
    )
    dropout: Dropout = Field(
        AS_PRETRAINED,
        description="Share of activations dropped in training, at every place the model has dropout. auto: as it was pretrained "
        "(BERT and MiniLM 0.1, ALBERT v2 and ModernBERT 0).",
    )
    max_grad_norm: float = Field(1.0, ge=0, description="Gradients longer than this are scaled down to it; 0: never.")
    early_stopping_patience: int = Field(
        3,
        ge=0,
        description="Stop after this many evaluations (by default one per epoch) without a better validation metric; 0: never.",
    )
    eval_steps: int = Field(
        0,
        ge=0,
        description="Optimizer steps from one look at the validation rows to the next, and so between the checkpoints of which "
        "the best is kept; for long epochs. 0: at the end of each epoch.",
    )
    save_minutes: float = Field(
        5.0,
        gt=0,
        le=1440,
        description="Minutes of training that a kill costs at most: so often a checkpoint is written in the background, beside "
        "those at each evaluation. Needs disk for three, of four times the model's size each. Changes no result.",
    )
    metric: str = Field(
        "",
        description="Validation figure that picks the best checkpoint: one of the task's metrics, or loss. Empty: the task's own "
        "(macro_f1). loss, log_loss and ece are better when smaller, all others when larger.",
    )
    seed: int = Field(
        13, ge=0, lt=2**32, description="Seed of the new head's weights, of dropout and of the order of the rows."
    )
    length_grouping: bool = Field(
        True,
        description="Put rows of like length into one batch, so that less padding is computed: 1.1 to 1.5 times as fast.",
    )
    gradient_checkpointing: bool = Field(
        False, description="Compute activations twice instead of keeping them: about 20 % slower, much less memory."
    )
    logging_steps: int = Field(10, ge=1, description="Optimizer steps averaged into one point of the curves.")

    @model_validator(mode="after")
    def _revision_of_hub(self) -> "Params":
        if self.revision and (self.model.startswith("bundled:") or Path(self.model).is_dir()):
            raise ValueError(f"revision is for hub models only, and model is {self.model}")
        return self

    @model_validator(mode="after")
    def _only_when_going_on(self) -> "Params":
        if not self.init_from and (self.replay_share < 1 or self.ewc_lambda):
            raise ValueError("replay_share below 1 and ewc_lambda above 0 need init_from, a model to go on from")
        if self.ewc_lambda and self.method != "full":
            raise ValueError("ewc_lambda needs method full; with lora the old weights are not trained")
        if self.ewc_lambda and self.precision == "fp16" and not self.max_grad_norm:
            raise ValueError("ewc_lambda with precision fp16 needs max_grad_norm above 0, where gradients are unscaled")
        return self

    def recorded(self) -> dict[str, Any]:
        """As a manifest keeps them; of a model folder only its name, whose files the manifest identifies by sha256."""
        name = (
            Path(self.model).absolute().name if Path(self.model).is_dir() else self.model
        )  # absolute: also '.' has one
        return {**super().recorded(), "model": name}
