"""fineline/tasks/single_label/ against figures worked out by hand or by scikit-learn, and models of both poolings."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fineline.process.errors import UsageError
from fineline.tasks import get_task
from fineline.tasks.single_label import answers, figures, model, rows
from tests.conftest import write_model

LABELS = ["card", "login", "transfer"]


@pytest.mark.parametrize(("raw", "label"), [("a", "a"), (" b ", "b"), (1, "1"), (True, "True"), (2.5, "2.5")])
def test_parse_keeps_a_label_as_it_is_written(raw: object, label: str) -> None:
    assert rows.parse({"label": raw}, "|") == {"label": label}


@pytest.mark.parametrize("raw", [None, "", "  ", float("nan"), ["a"], {"a": 1}])
def test_parse_refuses_what_is_no_label(raw: object) -> None:
    with pytest.raises(ValueError, match="label"):
        rows.parse({"label": raw}, "|")


def test_targets_follow_the_label_set_and_refuse_others() -> None:
    given = pd.DataFrame({"label": ["login", "card"]})
    assert rows.targets(given, LABELS).tolist() == [1, 0]
    with pytest.raises(UsageError, match="transfer"):
        rows.targets(pd.DataFrame({"label": ["transfer"]}), ["card"])


def test_probabilities_and_temperature() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 3)).astype(np.float32)
    spread = answers.probabilities(logits, 1.0)
    target = np.array([rng.choice(3, p=row) for row in spread])
    assert np.allclose(spread.sum(axis=1), 1)
    assert answers.temperature(logits * 3, target) == pytest.approx(3.0, rel=0.1)
    assert np.isfinite(answers.probabilities(np.array([[1e4, -1e4]], dtype=np.float32), 1.0)).all()


def test_metrics_by_hand() -> None:
    probability = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.6, 0.3, 0.1], [0.0, 0.1, 0.9]])
    found = figures.metrics(np.array([0, 1, 1, 2]), probability, LABELS)
    assert found["accuracy"] == 0.75
    assert found["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert found["log_loss"] == pytest.approx(-np.log([0.9, 0.8, 0.3, 0.9]).mean())
    assert found["ece"] == pytest.approx((0.1 + 0.1 + 0.2 + 0.6) / 4)


def test_class_weights_balance() -> None:
    weights = model.class_weights(np.array([0, 0, 0, 1]), 3)
    assert weights.tolist() == pytest.approx([4 / 9, 4 / 3, 1.0])


def test_baselines_know_all_classes_even_those_without_training_rows() -> None:
    spread = answers.baselines(["card pin", "login code", "card chip"], np.array([0, 1, 0]), ["card"], 3, seed=0)
    assert spread["majority"].tolist() == [[2 / 3, 1 / 3, 0]]
    assert spread["tfidf_logreg"].shape == (1, 3)
    assert spread["tfidf_logreg"][0].argmax() == 0
    assert spread["tfidf_logreg"][0, 2] == 0


def test_mean_pooling_is_taken_from_the_pretrained_folder_and_survives_saving(pretrained: Path, tmp_path: Path) -> None:
    import torch

    folder = tmp_path / "sentence"
    shutil.copytree(pretrained, folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    load_model, load_pretrained = get_task("single_label").load_model, get_task("single_label").load_pretrained
    first = load_pretrained(folder, LABELS, pooling="auto")[0].eval()
    first.save_pretrained(tmp_path / "saved")
    again = load_model(tmp_path / "saved", LABELS).eval()
    assert type(again).__name__ == type(first).__name__ == "MeanPooledClassifier"
    ids, mask = torch.tensor([[2, 40, 41, 3], [2, 42, 3, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    with torch.no_grad():
        states = first.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        by_hand = first.classifier(torch.stack([states[0].mean(dim=0), states[1, :3].mean(dim=0)]))
        logits = again(input_ids=ids, attention_mask=mask).logits
    assert torch.allclose(logits, by_hand, atol=1e-6)
    assert type(load_pretrained(folder, LABELS, pooling="model")[0]).__name__ == "BertForSequenceClassification"
    assert type(load_pretrained(pretrained, LABELS, pooling="auto")[0]).__name__ == "BertForSequenceClassification"


def test_a_mean_pooled_folder_does_not_pass_for_one_of_another_pooling(pretrained: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    model.load_pretrained(pretrained, LABELS, pooling="mean")[0].save_pretrained(tmp_path)
    _, loading = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert len(loading["missing_keys"]) > 30


def test_a_head_of_another_size_is_replaced(tmp_path: Path) -> None:
    write_model(tmp_path, labels=("a", "b"))
    loaded, fresh = model.load_pretrained(tmp_path, LABELS, pooling="model")
    assert loaded.classifier.out_features == 3
    assert fresh == ["classifier.bias", "classifier.weight"]
    with pytest.raises(UsageError, match="lacks 2 weights"):
        model.load_model(tmp_path, LABELS)
