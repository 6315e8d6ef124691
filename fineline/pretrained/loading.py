"""Loads the tokenizer and the weights of a Hugging Face folder whole, or says in one line what is wrong with its files.

transformers replaces weights that a folder lacks, or that do not fit, by random numbers, and says so in a report that is easily
missed: a model then trains from noise. Here such weights are refused, but for those of a head that is to be new.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fineline.process.errors import UsageError

_SHOWN = 3


def tokenizer(folder: Path) -> Any:
    """The tokenizer in `folder`. Raises UsageError when it cannot be loaded."""
    from transformers import AutoTokenizer

    with _explained(folder, "tokenizer"):
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def configuration(folder: Path, **changed: Any) -> Any:
    """config.json of `folder` with `changed` values. Raises UsageError for an unknown kind of model."""
    from transformers import AutoConfig

    with _explained(folder, "config.json"):
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, **changed)


def is_decoder(config: Any) -> bool:
    """Whether a model of `config` was pretrained to go on with a text, and only that."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    return type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in MODEL_FOR_MASKED_LM_MAPPING


def classifier(folder: Path, new_head: bool, pooling: str = "", **changed: Any) -> tuple[Any, list[str]]:
    """The sequence classifier in `folder`, fp32, with `changed` values of config.json, and the names of its weights that are new.

    `pooling` is 'model' (the model class's own), 'mean', 'last', or '' (as config.json says). Only with `new_head` may weights
    be new, and only those of the head: outside the encoder, or its pooler. Raises UsageError when others are missing in the
    folder or have another shape there, and when the files cannot be loaded.
    """
    from transformers import AutoModel, AutoModelForSequenceClassification

    config = configuration(folder, **changed)
    if pooling:
        config.pooling = pooling
    model_class: Any = AutoModelForSequenceClassification
    options: dict[str, Any] = {}
    renamed: dict[str, str] = {}  # a checkpoint of BERT's own classes says bert.embeddings for encoder.embeddings
    if (kind := getattr(config, "pooling", "model")) != "model":
        from fineline.pretrained.mean_pooled import CLASSES

        pooled_class = CLASSES[kind]
        own: Any = AutoModelForSequenceClassification._model_mapping.get(type(config), None)
        renamed = {rf"^{own.base_model_prefix}\.": f"{pooled_class.base_model_prefix}."} if own else {}
        if not getattr(AutoModel._model_mapping[type(config)], "_supports_sdpa", False):
            options = {"attn_implementation": "eager"}  # the encoder has no other; it would be asked for torch's
        model_class = pooled_class
    with _explained(folder, "model"):
        model, account = model_class.from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            dtype="float32",
            output_loading_info=True,
            key_mapping=renamed or None,
            **options,
        )
    misfits = {name: f"{name} {tuple(found)} for {tuple(needed)}" for name, found, needed in account["mismatched_keys"]}
    fresh = {**{name: name for name in account["missing_keys"]}, **misfits}
    refused = sorted(told for name, told in fresh.items() if not (new_head and _in_head(model, name)))
    if refused:
        unused = sorted(account["unexpected_keys"])
        raise UsageError(
            f"{Path(folder).name} lacks {len(refused)} weights of {type(model).__name__}, or has them in another size: "
            f"{_some(refused)}" + (f"; it has {len(unused)} others, such as {_some(unused)}" if unused else ""),
            "give the folder that save_pretrained wrote: config.json and model.safetensors of one model, names unchanged",
        )
    return model, sorted(fresh)


def was_mean_pooled(folder: Path) -> bool:
    """Whether 1_Pooling/config.json of `folder`, written by sentence-transformers, says so."""
    config = Path(folder) / "1_Pooling" / "config.json"
    return config.is_file() and bool(json.loads(config.read_text(encoding="utf-8")).get("pooling_mode_mean_tokens"))


def _in_head(model: Any, name: str) -> bool:
    return not name.startswith(f"{model.base_model_prefix}.") or "pooler" in name.split(".")


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


@contextlib.contextmanager
def _explained(folder: Path, what: str) -> Iterator[None]:
    """Raises UsageError for what transformers and its parsers raise when files are not what they should be."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, TypeError, KeyError, StrictDataclassError, SafetensorError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UsageError(
            f"the {what} in {Path(folder).name} cannot be loaded: {type(error).__name__}: {' '.join(lines)[:240]}",
            "give a folder that save_pretrained of transformers wrote, whole; a newer kind of model needs a newer transformers",
        ) from error
