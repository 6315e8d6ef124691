"""evaluate: the parameters and artifacts that it refuses."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fineline.artifacts import folders
from fineline.rows import dataset
from tests.conftest import make_rows, write_splits


def other_splits(folder: Path, *_: Path) -> dict[str, Path]:
    return {"splits": write_splits(folder / "other", make_rows(150, seed=9))}


def other_model(folder: Path, model: Path, _bundle: Path, splits: Path) -> dict[str, Path]:
    changed = shutil.copytree(model, folder / "other")
    settings = json.loads((model / "model.json").read_text(encoding="utf-8"))
    (changed / "model.json").write_text(json.dumps({**settings, "max_length": 31}), encoding="utf-8")
    folders.write_manifest(changed, step="train", kind="model", params={}, inputs={"splits": splits}, figures={})
    return {"model": changed}


def label_in_test_only(folder: Path, model: Path, _bundle: Path, splits: Path) -> dict[str, Path]:
    """Splits whose last test row has a new label, and a model and a bundle that name them as theirs."""
    rows = dataset.read_rows(splits / "test.parquet")
    rows.loc[0, "label"] = "mortgage"
    found = shutil.copytree(splits, folder / "splits")
    dataset.write_rows(rows, found / "test.parquet")
    folders.write_manifest(found, step="split", kind="splits", params={}, inputs={}, figures={}, task="single_label")
    trained, shipped = shutil.copytree(model, folder / "model"), shutil.copytree(_bundle, folder / "bundle")
    folders.write_manifest(trained, step="train", kind="model", params={}, inputs={"splits": found}, figures={})
    folders.write_manifest(shipped, step="quantize", kind="bundle", params={}, inputs={"onnx": trained}, figures={})
    return {"model": trained, "bundle": shipped, "splits": found}


def missing(folder: Path, *_: Path) -> dict[str, Path]:
    return {"bundle": folder / "nowhere"}


def no_artifact(folder: Path, *_: Path) -> dict[str, Path]:
    (folder / "empty").mkdir()
    return {"splits": folder / "empty"}


def changed_file(folder: Path, _model: Path, bundle: Path, _splits: Path) -> dict[str, Path]:
    changed = shutil.copytree(bundle, folder / "changed")
    content = bytearray((changed / "model.onnx").read_bytes())
    content[-1] ^= 1
    (changed / "model.onnx").write_bytes(content)
    return {"bundle": changed}


def swapped(_folder: Path, model: Path, bundle: Path, _splits: Path) -> dict[str, Path]:
    return {"model": bundle, "bundle": model}


@pytest.mark.parametrize(
    ("params", "change", "code", "words"),
    [
        ({"slice_columns": ["region"]}, None, 2, ["no column region", "channel"]),
        ({}, other_splits, 2, ["not trained on these splits"]),
        ({}, other_model, 2, ["not made from this model"]),
        ({}, label_in_test_only, 2, ["labels not known to the model: mortgage"]),
        ({}, missing, 2, ["nowhere does not exist"]),
        ({}, no_artifact, 2, ["has no manifest.json"]),
        ({}, changed_file, 2, ["model.onnx was changed"]),
        ({}, swapped, 2, ["--model was given a bundle (made by quantize)"]),
        (
            {"bootstrap": 3, "min_f1": 1, "min_metric": "high"},
            None,
            2,
            ["3 parameters are wrong", "min_f1", "min_metric"],
        ),
        ({"max_drop_shipped": float("nan")}, None, 2, ["max_drop_shipped"]),
    ],
)
def test_bad_input(
    run_step: Callable,
    tmp_path: Path,
    model: Path,
    bundle: Path,
    splits: Path,
    params: dict,
    change: Callable | None,
    code: int,
    words: list[str],
) -> None:
    paths = {"model": model, "bundle": bundle, "splits": splits}
    paths |= change(tmp_path, model, bundle, splits) if change else {}
    found, _, error = run_step("evaluate", params, **paths, report=tmp_path / "report")
    assert found == code, error
    assert all(word in error for word in words), error
    assert "Traceback" not in error
    assert not (tmp_path / "report").exists()
