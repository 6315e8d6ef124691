"""train goes on from an earlier model: its head by label name, the registry's champion, replay of the rows it has seen."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from components.train import replay, warm_start
from fineline.artifacts import folders
from fineline.registry import training_rows
from fineline.rows.dataset import read_splits
from fineline.tasks import get_task
from tests.components.conftest import FAST, RunStep
from tests.conftest import make_rows, write_model, write_splits

pytestmark = pytest.mark.usefixtures("one_thread", "ready_store")

STILL = {"learning_rate": 1e-12, "weight_decay": 0.0, "warmup_share": 0.0}
"""A training that leaves the weights as they begin."""


def head(folder: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    arrays = load_file(folder / "model.safetensors")
    return (
        json.loads((folder / "model.json").read_text())["labels"],
        arrays["classifier.weight"],
        arrays["classifier.bias"],
    )


def register(run_id: str, alias: str = "champion", splits: Path | None = None) -> None:
    """A version of models:/tiny of that run and an alias to it, with the record of its training rows if `splits` are given."""
    from mlflow import MlflowClient

    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    if not client.search_registered_models("name='tiny'"):
        client.create_registered_model("tiny")
    tags = {training_rows.TAG: training_rows.write(client, "tiny", run_id, splits)} if splits else {}
    version = client.create_model_version("tiny", "file:///nowhere", run_id=run_id, tags=tags)
    client.set_registered_model_alias("tiny", alias, version.version)


@pytest.fixture
def champion(train: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A trained model, kept in its run and registered as models:/tiny@champion."""
    monkeypatch.chdir(tmp_path)  # a sqlite store keeps its files in mlruns/ here
    train("champion", epochs=4, log_model=True)
    register(folders.read_run_id(tmp_path / "champion"))
    return tmp_path / "champion"


def test_rows_of_the_head_go_with_their_label(champion: Path, run_step: RunStep, tmp_path: Path) -> None:
    rows = make_rows()
    rows["label"] = rows["label"].replace({"card": "a new one", "login": "login", "transfer": "transfer"})
    rows.loc[rows.index % 6 == 1, "label"] = "another"  # half of one label
    splits = write_splits(tmp_path / "splits", rows)
    params = {**FAST, **STILL, "init_from": str(champion)}
    code, _, error = run_step("train", params, splits=splits, model=tmp_path / "next")
    assert code == 0, error
    assert "train: goes on from champion: 2 of 4 labels known; its training rows are not recorded: all 105" in error
    before, old, old_bias = head(champion)
    labels, new, bias = head(tmp_path / "next")
    assert (before, labels) == (["card", "login", "transfer"], ["a new one", "another", "login", "transfer"])
    for label in labels:
        where = labels.index(label)
        if label in before:
            assert np.allclose(new[where], old[before.index(label)], atol=1e-7)
            assert bias[where] == pytest.approx(old_bias[before.index(label)], abs=1e-7)
        else:
            assert min(np.abs(new[where] - row).max() for row in old) > 1e-3
    assert json.loads((tmp_path / "next" / "config.json").read_text())["id2label"]["0"] == "a new one"
    encoder = [name for name in load_file(champion / "model.safetensors") if not name.startswith("classifier")]
    first, second = (load_file(folder / "model.safetensors") for folder in (champion, tmp_path / "next"))
    assert all(np.allclose(first[name], second[name], atol=1e-7) for name in encoder)
    manifest = folders.verify(tmp_path / "next")
    assert (manifest.figures["init"], manifest.figures["labels_carried"]) == ("warm", 2)
    assert "init_from" not in manifest.params
    assert str(tmp_path) not in (tmp_path / "next" / "manifest.json").read_text()


@pytest.mark.parametrize("change", [{}, {"method": "lora", "learning_rate": 1e-2}, {"pooling": "mean"}])
def test_the_same_labels_begin_where_the_champion_ended(
    change: dict[str, Any], train: Callable, splits: Path, run_step: RunStep, tmp_path: Path
) -> None:
    first = train("first", epochs=4, **change)
    params = {**FAST, **change, **STILL, "pooling": "auto", "init_from": str(tmp_path / "first")}
    code, _, error = run_step("train", params, splits=splits, model=tmp_path / "next")
    assert code == 0, error
    second = folders.verify(tmp_path / "next")
    assert first.figures["validation_loss"] < 1.09, "it has learned nothing: this run proves nothing"
    assert second.figures["validation_macro_f1"] == first.figures["validation_macro_f1"]
    assert second.figures["validation_loss"] == pytest.approx(first.figures["validation_loss"], abs=1e-4)
    assert second.figures["pretrained"] != first.figures["pretrained"]


@pytest.mark.slow
def test_the_champion_of_the_registry_gives_the_same_as_its_folder(
    champion: Path, run_step: RunStep, splits: Path, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    made = {}
    for name, address in [("alias", "models:/tiny@champion"), ("number", "models:/tiny/1"), ("folder", str(champion))]:
        code, _, error = run_step("train", {**FAST, "init_from": address}, splits=splits, model=tmp_path / name)
        assert code == 0, error
        made[name] = folders.verify(tmp_path / name)
    assert made["alias"] == made["number"] == made["folder"], "where the weights come from is no part of the artifact"
    run = MlflowClient(os.environ["MLFLOW_TRACKING_URI"]).get_run(folders.read_run_id(tmp_path / "alias"))
    assert run.data.tags["fineline.init_from"] == "models:/tiny/1"


def test_no_champion_yet_starts_from_the_pretrained_model(
    train: Callable, run_step: RunStep, splits: Path, pretrained: Path, tmp_path: Path
) -> None:
    plain = train("plain")
    params = {**FAST, "model": str(pretrained), "init_from": "models:/tiny@champion"}
    code, _, error = run_step("train", params, splits=splits, model=tmp_path / "warm")
    assert code == 0, error
    assert "train: models:/tiny@champion names no version yet: starting from the pretrained model\n" in error
    warm = folders.verify(tmp_path / "warm")
    assert warm == plain
    assert warm.figures["init"] == "pretrained"


def test_replay_trains_on_new_rows_and_a_share_of_those_seen(
    champion: Path, run_step: RunStep, rows: pd.DataFrame, splits: Path, tmp_path: Path
) -> None:
    record = write_splits(tmp_path / "record", rows[:115])  # 80 of its rows were trained on
    register(folders.read_run_id(champion), splits=record)
    for share, replayed in [(1.0, 80), (0.25, 20), (0.0, 0)]:
        params = {**FAST, "init_from": "models:/tiny@champion", "replay_share": share}
        code, _, error = run_step("train", params, splits=splits, model=tmp_path / "next")
        assert code == 0, error
        assert f"25 new rows and {replayed} of the 80 it has seen" in error
        figures = folders.verify(tmp_path / "next").figures
        assert (figures["rows_new"], figures["rows_replayed"], figures["train_rows"]) == (25, replayed, 25 + replayed)
    old = write_splits(tmp_path / "old", rows[:80])
    code, _, error = run_step("train", params, splits=old, model=tmp_path / "none")
    assert code == 2
    assert "no rows to train on: models:/tiny/2 has seen all 56" in error


def test_test_rows_that_the_champion_has_learned_are_said(
    champion: Path, run_step: RunStep, rows: pd.DataFrame, splits: Path, tmp_path: Path
) -> None:
    tested = set(read_splits(splits)["test"]["id"])
    record = write_splits(tmp_path / "record", rows[::-1])  # it learned from the end, where the tests are
    assert tested <= set(read_splits(record)["train"]["id"])
    register(folders.read_run_id(champion), splits=record)
    params = {**FAST, "init_from": "models:/tiny@champion"}
    code, _, error = run_step("train", params, splits=splits, model=tmp_path / "next")
    assert code == 0, error
    assert f"train: {len(tested)} of {len(tested)} test rows were training rows of models:/tiny/2" in error
    assert folders.verify(tmp_path / "next").figures["test_rows_seen"] == len(tested)


def test_which_rows_are_replayed() -> None:
    rows = pd.DataFrame({"id": [f"r{i}" for i in range(10)], "parent_id": [None] * 8 + ["r0", "r7"]})
    old = replay.seen(rows, {f"r{i}" for i in range(6)})
    assert old.tolist() == [True] * 6 + [False, False, True, False], "a row grown from one that was seen counts as seen"
    chosen = replay.replayed(old, 0.5, seed=1)
    assert chosen[~old].all()
    assert chosen[old].sum() == 4
    assert (chosen == replay.replayed(old, 0.5, seed=1)).all()
    assert any((chosen != replay.replayed(old, 0.5, seed=seed)).any() for seed in range(2, 6))
    assert chosen[replay.replayed(old, 0.25, seed=1)].all(), "a larger share holds the smaller"


BAD: list[tuple[str, dict[str, Any], int, list[str]]] = [
    ("not an address", {"init_from": "models:/tiny"}, 2, ["names no model", "models:/NAME@ALIAS"]),
    ("no such version", {"init_from": "models:/tiny/7"}, 2, ["models:/tiny/7 is not in the registry"]),
    ("not kept", {"init_from": "models:/tiny@bare"}, 2, ["cannot be trained further", "log_model"]),
    ("no such folder", {"init_from": "./none"}, 2, ["does not exist"]),
    ("other pooling", {"init_from": "models:/tiny@champion", "pooling": "mean"}, 2, ["was trained with model"]),
    ("nothing to go on from", {"replay_share": 0.5}, 2, ["need init_from"]),
    ("no ewc with lora", {"init_from": "x", "ewc_lambda": 1.0, "method": "lora"}, 2, ["needs method full"]),
    ("share above 1", {"init_from": "x", "replay_share": 1.5}, 2, ["train.replay_share"]),
]


@pytest.mark.parametrize(("params", "code", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_input(
    params: dict[str, Any],
    code: int,
    words: list[str],
    champion: Path,
    train: Callable,
    run_step: RunStep,
    splits: Path,
    tmp_path: Path,
) -> None:
    if params.get("init_from", "").endswith("@bare"):
        train("bare")
        register(folders.read_run_id(tmp_path / "bare"), alias="bare")
    found, _, error = run_step("train", {**FAST, **params}, splits=splits, model=tmp_path / "next")
    assert found == code, error
    assert "Traceback" not in error
    assert "train: to mend it: " in error
    for word in words:
        assert word in error
    assert not (tmp_path / "next").exists()


def test_weights_changed_in_the_store_are_refused(
    champion: Path, run_step: RunStep, splits: Path, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    store = Path(client.get_run(folders.read_run_id(champion)).info.artifact_uri.removeprefix("file://"))
    file = store / warm_start.TRAINED / "config.json"
    file.write_text(file.read_text().replace("bert", "bort", 1))
    params = {**FAST, "init_from": "models:/tiny@champion"}
    code, _, error = run_step("train", params, splits=splits, model=tmp_path / "next")
    assert code == 2, error
    assert "was changed" in error


def test_a_model_of_another_task_is_refused(champion: Path, run_step: RunStep, splits: Path, tmp_path: Path) -> None:
    described = json.loads((champion / "model.json").read_text())
    (champion / "model.json").write_text(json.dumps({**described, "task": "multi_label"}))
    code, _, error = run_step("train", {**FAST, "init_from": str(champion)}, splits=splits, model=tmp_path / "next")
    assert code == 2
    assert "is a model for multi_label" in error


def test_a_plain_hugging_face_classifier_gives_its_head_by_name(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "plain", labels=("transfer", "card"))
    model = get_task("single_label").load_model(folder, ["transfer", "card"])
    old = model.classifier.weight.detach().clone()
    warm_start.relabel(model, ["transfer", "card"], ["card", "login", "transfer"])
    assert model.classifier.weight.shape == (3, 32)
    assert (model.classifier.weight[0] == old[1]).all()
    assert (model.classifier.weight[2] == old[0]).all()
    assert model.config.num_labels == model.num_labels == 3
    shutil.rmtree(folder)
