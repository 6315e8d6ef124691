"""The model that is trained: a pretrained encoder with the task's head, partly frozen or with LoRA; saved plain, in fp32."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from components.train import shipping, warm_start
from components.train.params import AS_PRETRAINED, Params
from components.train.warm_start import Origin
from fineline.pretrained import loading
from fineline.process.errors import UsageError
from fineline.tasks import Task

_DROPOUT = ("dropout", "dropout_prob", "dropout_rate", "pdrop")  # BERT and most; ALBERT's head; T5; GPT-2
_WHERE_FROM = ("name_or_path", "is_local", "local_files_only", "_commit_hash")


def load_tokenizer(folder: Path, max_length: int) -> Any:
    """The tokenizer in `folder`, which will be saved without a trace of where it came from.

    It pads and cuts off on the right, as a bundle does. Raises UsageError when it cannot pad, gives no token for an empty
    text, has tokens that the model does not embed, or `max_length` is above its positions.
    """
    tokenizer = loading.tokenizer(folder)
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    for name in _WHERE_FROM:
        tokenizer.init_kwargs.pop(name, None)
    if tokenizer.pad_token is None:
        raise UsageError(f"the tokenizer of {folder.name} has no padding token", "add one to it, or take another model")
    if not tokenizer("")["input_ids"]:
        raise UsageError(
            f"the tokenizer of {folder.name} adds no special token: of an empty text nothing is left to answer",
            "let it add one, as its post_processor (TemplateProcessing of tokenizers), and save it again",
        )
    config = loading.configuration(folder)
    if not hasattr(config, "vocab_size"):
        raise UsageError(f"{folder.name} is a {config.model_type}, which reads no texts", "give a language model")
    embedded, known = config.vocab_size, max(tokenizer.get_vocab().values()) + 1
    if known > embedded:
        raise UsageError(
            f"the tokenizer of {folder.name} has {known:,} tokens, but its model embeds {embedded:,}",
            "give tokenizer and model of one training, or resize the embeddings before: model.resize_token_embeddings",
        )
    config.update(_missing(config, tokenizer))
    limit = min(positions(config), tokenizer.model_max_length)
    if max_length > limit:
        raise UsageError(
            f"train.max_length = {max_length}, but the model {folder.name} takes {limit} tokens at most",
            f"set max_length to {limit} or less",
        )
    return tokenizer


def positions(config: Any) -> float:
    """The most tokens that a model of `config` has positions for; infinite where it counts none (T5, XLNet, which says -1).

    RoBERTa's kin count from behind the padding token's id, and so have fewer than their table has rows: of 514, 512.
    """
    import torch
    from transformers import AutoModel

    rows = getattr(config, "max_position_embeddings", None) or 0
    if rows <= 0:
        return math.inf
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    tables = [module for name, module in model.named_modules() if name.endswith("position_embeddings")]
    kept_for_padding = [table.padding_idx for table in tables if getattr(table, "padding_idx", None) is not None]
    return rows - max(kept_for_padding, default=-1) - 1


def _missing(config: Any, tokenizer: Any) -> dict[str, Any]:
    """What `config` should say and does not: without a padding token decoders find no text's end, and RoBERTa no positions."""
    return {} if config.pad_token_id is not None else {"pad_token_id": tokenizer.pad_token_id}


def dropout(config: Any, params: Params) -> dict[str, Any]:
    """What `config` should say, so that the model drops as many activations as `params` say, by whatever names it has for that.

    None stays: such a place takes the share of another. Raises UsageError for a model without dropout.
    """
    if params.dropout == AS_PRETRAINED:
        return {}
    named = {name: value for name, value in config.to_dict().items() if name.endswith(_DROPOUT)}
    if not named and params.dropout:
        raise UsageError(
            f"train.dropout = {params.dropout}, but a {config.model_type} has no dropout",
            "set dropout: auto; train.weight_decay and label_smoothing work against overfitting too",
        )
    return {name: params.dropout for name, value in named.items() if isinstance(value, int | float)}


def build(task: Task, origin: Origin, tokenizer: Any, labels: Sequence[str], params: Params) -> Any:
    """The model of `origin` with a head over `labels`, its dropout set, frozen and with LoRA as `params` say.

    The head is new, but for the rows of those labels that the origin's head knows.
    Raises UsageError for layers or modules that it does not have, and for a model that could not become a bundle.
    """
    from transformers import set_seed

    set_seed(params.seed)  # the new head's weights
    config = loading.configuration(origin.folder)
    changed = dropout(config, params) | _missing(config, tokenizer)
    fresh: Sequence[str] = []
    if origin.labels:
        model = task.load_model(origin.folder, origin.labels, **changed)
        warm_start.relabel(model, origin.labels, labels)
    else:
        model, fresh = task.load_pretrained(origin.folder, labels, params.pooling, **changed)
        if f"{warm_start.output_layer(model)}.weight" not in fresh:  # a head for as many labels, but whose?
            warm_start.relabel(model, warm_start.labels_of(origin.folder), labels)
    shipping.check(model)
    frozen = _freeze(model, params)
    if params.method == "lora":
        return _with_lora(
            model, _outermost({*(name.rpartition(".")[0] for name in fresh), *_head(model)}), frozen, params
        )
    return model


def load_best(task: Task, model: Any, checkpoint: Path, labels: Sequence[str]) -> Any:
    """A plain model with the weights of a checkpoint of `model`; LoRA is merged into them."""
    from peft import PeftModel

    if not isinstance(model, PeftModel):
        return task.load_model(checkpoint, labels)
    model.load_adapter(str(checkpoint), "default")
    return model.merge_and_unload()


def fingerprints(model: Any) -> dict[str, str]:
    """The sha256 of each weight that is trained, by the name under which a checkpoint keeps it."""
    from peft import PeftModel, get_peft_model_state_dict

    if isinstance(model, PeftModel):
        return {name: _fingerprint(weight) for name, weight in get_peft_model_state_dict(model).items()}
    return {name: _fingerprint(weight) for name, weight in model.named_parameters() if weight.requires_grad}


def fingerprints_of(checkpoint: Path) -> dict[str, str]:
    """The sha256 of each weight in a checkpoint."""
    from safetensors.torch import load_file

    files = sorted(checkpoint.glob("*.safetensors"))
    return {name: _fingerprint(weight) for path in files for name, weight in load_file(path).items()}


def _fingerprint(weight: Any) -> str:
    return hashlib.sha256(weight.detach().cpu().contiguous().numpy().tobytes()).hexdigest()


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Writes a Hugging Face folder: config.json, model.safetensors, tokenizer.json, tokenizer_config.json."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for path in folder.glob("*.safetensors"):  # written readable for its owner only, unlike the rest
        path.chmod((folder / "config.json").stat().st_mode)


def parameters(model: Any) -> tuple[int, int]:
    """How many parameters the model has, and how many of them are trained."""
    sizes = [(weight.numel(), weight.requires_grad) for weight in model.parameters()]
    return sum(size for size, _ in sizes), sum(size for size, trained in sizes if trained)


def _head(model: Any) -> list[str]:
    """Names of the children beside the encoder that have weights."""
    return [
        name for name, child in model.named_children() if child is not model.base_model and list(child.parameters())
    ]


def _freeze(model: Any, params: Params) -> list[str]:
    """Freezes what `params` say; gives the names of the frozen modules."""
    names = {id(module): name for name, module in model.named_modules()}
    frozen: list[nn.Module] = []
    if params.freeze_embeddings:
        frozen.append(getattr(model.base_model, "embeddings", None) or model.get_input_embeddings())
    if params.freeze_layers:
        layers = _layers(model)
        if params.freeze_layers > len(layers):
            raise UsageError(
                f"train.freeze_layers = {params.freeze_layers}, but the model has {len(layers)} layers",
                f"set it to {len(layers)} or less",
            )
        frozen.extend(layers[: params.freeze_layers])
    for module in frozen:
        module.requires_grad_(False)
    return [names[id(module)] for module in frozen]


def _layers(model: Any) -> Sequence[nn.Module]:
    """The encoder's list of layers, lowest first."""
    count = model.config.num_hidden_layers
    for module in model.base_model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return list(module)
    raise UsageError(
        f"train.freeze_layers: {type(model).__name__} has no list of {count} layers of their own",
        "set freeze_layers: 0",
    )


def _outermost(modules: set[str]) -> list[str]:
    """`modules` without those that lie in another of them: peft fails on the adapter of a module and of its parent."""
    return sorted(name for name in modules if not any(name.startswith(f"{other}.") for other in modules))


def _with_lora(model: Any, whole: Sequence[str], frozen: list[str], params: Params) -> Any:
    """`model` with LoRA on its linear layers; the modules `whole` (the head, and what the checkpoint lacked) train fully."""
    from peft import LoraConfig, get_peft_model
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear layer

    def lies_in(name: str, modules: Sequence[str]) -> bool:
        return any(name == module or name.startswith(f"{module}.") for module in modules)

    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and not lies_in(name, [*whole, *frozen])
    ]
    wanted = params.lora_target_modules or [""]
    unknown = [part for part in wanted if not any(_ends_with(name, part) for name in linear)]
    if unknown:
        found = sorted({name.rpartition(".")[2] for name in linear})
        raise UsageError(
            f"train.lora_target_modules: no trainable linear layer is called {', '.join(unknown)}",
            f"the model's linear layers are called {', '.join(found)}; [] takes all",
        )
    targets = [name for name in linear if any(_ends_with(name, part) for part in wanted)]
    config = LoraConfig(
        r=params.lora_r,
        lora_alpha=params.lora_alpha,
        lora_dropout=params.lora_dropout,
        target_modules=targets,
        modules_to_save=list(whole),
    )
    if params.gradient_checkpointing:
        model.enable_input_require_grads()  # else no gradient passes the checkpointed, frozen embeddings
    return get_peft_model(model, config)


def _ends_with(name: str, part: str) -> bool:
    return not part or name == part or name.endswith(f".{part}")
