"""fineline/tasks/multi_label/ against figures worked out by hand or by scikit-learn, and what its rows may be."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import f1_score, label_ranking_average_precision_score

from fineline.process.errors import UsageError
from fineline.statistics.bootstrap import weights
from fineline.tasks import get_task
from fineline.tasks.multi_label import answers, figures, model, page, rows
from fineline.tasks.parts import UNCALIBRATED

TASK = get_task("multi_label")
LABELS = ["joy", "love", "anger"]


@pytest.mark.parametrize(
    ("raw", "labels"),
    [
        (["love", " joy "], ["joy", "love"]),
        (np.array(["love", "joy"]), ["joy", "love"]),
        ('["joy", "love", "joy"]', ["joy", "love"]),
        ("love;joy", ["joy", "love"]),
        ("joy", ["joy"]),
        ([1, True], ["1", "True"]),
        ([], []),
        ("[]", []),
        ("", []),
    ],
)
def test_parse_reads_lists_and_cells(raw: object, labels: list[str]) -> None:
    assert rows.parse({"labels": raw}, ";") == {"labels": labels}


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (None, "no labels"),
        (float("nan"), "no labels"),
        ({"a": 1}, "a dict, not a list"),
        ([["a"]], "a list, not one value"),
        ([None], "a NoneType"),
        ('["a"', "begin like a JSON list"),
        (["a|b"], "'a|b' holds '|'"),
    ],
)
def test_parse_refuses_what_is_no_list_of_labels(raw: object, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("|", r"\|")):
        rows.parse({"labels": raw}, ";")


def frame(*bags: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"labels": pd.Series(list(bags), dtype=object)})


def test_rows_as_strata_lines_and_targets() -> None:
    found = frame(["joy", "love"], [], ["anger"])
    assert list(rows.labels_of(found).items()) == [(0, "joy"), (0, "love"), (2, "anger")]
    assert list(rows.strata(found).items()) == [(0, "joy"), (0, "love"), (1, "(none)"), (2, "anger")]
    assert rows.written(found).tolist() == ["joy|love", "", "anger"]
    assert [rows.named(line) for line in rows.written(found)] == [["joy", "love"], [], ["anger"]]
    assert rows.label_set(found) == ["anger", "joy", "love"]
    assert rows.targets(found, LABELS).tolist() == [[True, True, False], [False] * 3, [False, False, True]]
    assert rows.written(rows.renamed(found, {"love": "joy"})).tolist() == ["joy", "", "anger"]
    with pytest.raises(UsageError, match="anger"):
        rows.targets(found, ["joy", "love"])


def drawn(count: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits float32 (n, 3), and targets that are drawn by their sigmoid; the third label is rare."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, 3)) * 2 + np.array([0, -1, -3])
    return logits.astype(np.float32), rng.random((count, 3)) < 1 / (1 + np.exp(-logits))


def test_thresholds_have_the_largest_f1() -> None:
    logits, target = drawn()
    found = answers.decide(logits, target)["thresholds"]
    probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
    for i, threshold in enumerate(found):
        best = f1_score(target[:, i], probability[:, i] >= threshold)
        tried = [f1_score(target[:, i], probability[:, i] >= other) for other in probability[:, i]]
        assert best == pytest.approx(max(tried))
    assert answers.decide(logits, np.zeros((400, 3), dtype=bool))["thresholds"] == [0.5] * 3
    same = np.zeros((4, 1), dtype=np.float32)
    assert answers.decide(same, np.array([[True], [False], [True], [False]]))["thresholds"] == [0.25]


def test_the_temperature_is_found_and_changes_no_answer() -> None:
    logits, target = drawn(20_000)
    fitted = answers.calibrate(logits * 3, target)
    assert fitted["temperature"] == pytest.approx(3.0, rel=0.1)
    decided = {**UNCALIBRATED, **answers.decide(logits * 3, target)}
    before, after = (answers.answers(logits * 3, one) for one in (decided, {**decided, **fitted}))
    assert np.array_equal(answers.choices(before), answers.choices(after))
    assert not np.allclose(answers.scores(before), answers.scores(after), atol=0.05)
    shown = answers.shown_thresholds({**decided, **fitted}, 3)
    assert np.array_equal(answers.scores(after) >= shown - 1e-12, answers.choices(after))


def test_an_answer_for_people_logs_and_programs() -> None:
    answered = np.array([[0.3, 0.9, 0.2], [1, 1, 0]])
    one = answers.answer(answered, LABELS)
    assert one == {
        "labels": ["love", "joy"],
        "score": pytest.approx(0.3 * 0.9 * 0.8),
        "probabilities": {"joy": 0.3, "love": 0.9, "anger": 0.2},
    }
    assert answers.brief(one) == ("joy|love", one["score"])
    tensors = {name: (kind, shape, data) for name, kind, shape, data in answers.tensors([one, one], LABELS)}
    assert tensors["given"] == ("BOOL", [-1, 3], [True, True, False] * 2)
    assert tensors["labels"] == ("BYTES", [3], LABELS)
    assert answers.given(answered[None], LABELS).tolist() == ["joy|love"]


def test_answers_about_other_labels() -> None:
    answered = np.array([[[0.3, 0.9, 0.2, 0.8], [0, 1, 0, 1]]])
    kept = answers.aligned(answered, ["m", "m", "x", "gone"], ["m", "x"], np.zeros((1, 2), dtype=bool))
    assert kept.tolist() == [[[0.9, 0.2], [1, 0]]]


def test_figures_are_those_of_scikit_learn_and_of_any_sample() -> None:
    logits, target = drawn()
    answered = answers.answers(logits, {"temperature": 1.0, "thresholds": [0.4, 0.3, 0.2]})
    found, chosen = figures.metrics(target, answered, LABELS), answers.choices(answered)
    some = target.any(axis=1)
    ranking = label_ranking_average_precision_score(target[some], answers.scores(answered)[some])
    assert found["subset_accuracy"] == (target == chosen).all(axis=1).mean()
    assert found["micro_f1"] == pytest.approx(f1_score(target, chosen, average="micro"))
    assert found["macro_f1"] == pytest.approx(f1_score(target, chosen, average="macro"))
    assert found["lrap"] == pytest.approx((ranking * some.sum() + (~some).sum()) / len(some))
    counts, draws = figures.counts(target, answered), np.random.default_rng(1).integers(0, 400, (20, 400))
    sampled = figures.figures(weights(draws) @ counts)
    for number, sample in enumerate(draws):
        expected = figures.metrics(target[sample], answered[sample], LABELS)
        assert {name: sampled[name][number] for name in sampled} == pytest.approx(
            {name: expected[name] for name in sampled}
        )
    assert figures.per_label(counts.sum(axis=0), LABELS)["anger"]["f1"] == pytest.approx(
        f1_score(*(target[:, 2], chosen[:, 2]))
    )
    name, member, right = figures.parts(target, answered, LABELS)[1]
    assert (name, member.tolist()) == ("love", np.flatnonzero(target[:, 1]).tolist())
    assert right.tolist() == chosen[member, 1].tolist()


def test_the_loss_is_that_of_the_whole_batch_however_it_is_divided() -> None:
    logits, target = (torch.tensor(part[:8]) for part in drawn())
    compute = model.loss(0.1, np.array([1.0, 2.0, 5.0], dtype=np.float32))
    whole = compute({"logits": logits}, target)
    halves = [compute({"logits": logits[half]}, target[half], target.numel()) for half in (slice(0, 4), slice(4, 8))]
    assert float(sum(halves)) == pytest.approx(float(whole))
    assert model.class_weights(np.array([[True, False], [False, False]]), 2).tolist() == [1.0, 1.0]


def test_drawn_sets_follow_the_model() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.tensor([2.0, -1.0])
    found = torch.stack([model.drawn(logits, generator) for _ in range(2000)])
    p = torch.sigmoid(logits)
    entropy = -(p * p.log() + (1 - p) * (1 - p).log()).sum()
    assert float(-found.mean()) == pytest.approx(float(entropy), rel=0.1)


def test_the_page_shows_thresholds_and_what_was_given_instead() -> None:
    target = np.array([[True, False, False]] * 4)
    answered = np.zeros((4, 2, 3))
    answered[:3, 1, 1] = 1
    sections = page.outcome(target, answered, LABELS, {"temperature": 2.0, "thresholds": [0.2, 0.5, 0.9]})
    assert [title for title, _, _ in sections] == ["Thresholds", "Given instead"]
    assert "0.333" in sections[0][1]  # sigmoid(logit(0.2) / 2)
    chosen = np.array([[True, True, False], [False, False, True], [False] * 3, [False] * 3])
    has = np.array([[True, False, False], [True, True, False], [True, False, False], [False] * 3])
    assert page.confusion(has, chosen, LABELS) == [
        ["joy", "joy"],
        ["(none)", "love"],
        ["joy", "anger"],
        ["love", "anger"],
        ["joy", "(none)"],
    ]
    assert page.instead(target, answers.choices(answered), LABELS, 5) == [["joy", "love", 3, "75.0%"]]


def test_the_linear_baseline_learns_sets() -> None:
    texts = ["pin card", "login code", "card login", "nothing here"] * 20
    target = np.array([[True, False], [False, True], [True, True], [False, False]] * 20)
    found = answers.baselines(texts, target, ["the card", "login card"], 2, seed=0)
    assert answers.choices(found["tfidf_logreg"]).tolist() == [[True, False], [True, True]]
    assert json.loads(json.dumps(answers.scores(found["majority"]).round(3).tolist())) == [[0.5, 0.5]] * 2
