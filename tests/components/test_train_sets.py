"""train, where rows have several labels: what an evaluation during training says."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from components.train.fitting import _metrics
from fineline.tasks import get_task


def test_an_evaluation_decides_at_the_best_thresholds() -> None:
    task = get_task("multi_label")
    target = np.array([[True, False], [False, True], [True, True], [False, False]])
    logits = np.where(target, -2.0, -6.0).astype(np.float32)  # far under 0.5, and in the right order
    plan: Any = SimpleNamespace(task=task, labels=["a", "b"])
    compute = _metrics(plan, task.loss(0.0, None))
    found = compute(SimpleNamespace(predictions=logits, label_ids=target))
    assert (found["macro_f1"], found["subset_accuracy"]) == (1.0, 1.0)
    cross_entropy = np.where(target, np.log1p(np.exp(-logits)), np.log1p(np.exp(logits))).mean()
    assert np.isclose(found["loss"], cross_entropy)
