"""A task that is none of classification: how many stars a text gives, a number, learned by its square error."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fineline.tasks import get_task

NAME = "stars"
COLUMNS = ["stars"]
MIDDLE = 3.0


def fields() -> list[Any]:
    import pyarrow as pa

    return [pa.field("stars", pa.float64(), nullable=False)]


def parse(raw: dict[str, Any], delimiter: str) -> dict[str, Any]:
    return {"stars": float(raw["stars"])}


def written(rows: Any) -> Any:
    return rows["stars"].map("{:g}".format)


def strata(rows: Any) -> Any:
    return rows["stars"].round().map("{:.0f}".format)


def loss(label_smoothing: float, weights: Any) -> Any:
    def compute(outputs: Any, target: Any, num_items_in_batch: Any = None) -> Any:
        total = ((outputs["logits"][:, 0].float() + MIDDLE - target.float()) ** 2).sum()
        return total / (len(target) if num_items_in_batch is None else num_items_in_batch)

    return compute


def drawn(outputs: Any, generator: Any) -> Any:
    import torch

    return -((outputs[0] - outputs[0].detach() - torch.randn((), generator=generator)) ** 2) / 2


def counts(target: np.ndarray, answered: np.ndarray) -> np.ndarray:
    """The row, whether it is right, and the sums that Pearson's correlation is a function of: float64 (n, 7)."""
    x, y = target, answered[:, 0]
    return np.stack([np.ones(len(x)), right(target, answered), x, y, x * x, y * y, x * y], axis=1)


def figures(sums: np.ndarray) -> dict[str, np.ndarray]:
    rows, same, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    spread = np.sqrt(np.maximum((rows * xx - x**2) * (rows * yy - y**2), 1e-12))
    return {"to_the_star": same / rows, "pearson": (rows * xy - x * y) / spread}


def right(target: np.ndarray, answered: np.ndarray) -> np.ndarray:
    return np.abs(target - answered[:, 0]) <= 0.5


def metrics(target: np.ndarray, answered: np.ndarray, labels: Sequence[str]) -> dict[str, float]:
    found = figures(counts(target, answered).sum(axis=0))
    return {name: float(value) for name, value in found.items()} | {
        "mae": float(np.abs(target - answered[:, 0]).mean())
    }


def outcome(target: Any, answered: Any, labels: Any, calibration: Any) -> list[tuple[str, str, str]]:
    return [("Stars given", f"<p>{answered[:, 0].mean():.2f} on average</p>", "A section that only this task has.")]


def certainty(target: Any, answers: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    return []


def baselines(texts: Any, target: np.ndarray, asked: Sequence[str], k: int, seed: int) -> dict[str, np.ndarray]:
    return {"length": np.array([[float(len(text))] for text in asked])}


TASK = dataclasses.replace(
    get_task("single_label"),
    name=NAME,
    pipeline_tag="text-classification",
    columns=COLUMNS,
    fields=fields,
    parse=parse,
    fewest=1,
    strata=strata,
    labels_of=lambda rows: strata(rows).head(0),
    written=written,
    renamed=lambda rows, names: rows,
    label_set=lambda rows: ["stars"],
    targets=lambda rows, labels: rows["stars"].to_numpy(dtype=np.float32),
    suspects=None,
    loss=loss,
    class_weights=lambda target, k: np.ones(k, dtype=np.float32),
    drawn=drawn,
    answers=lambda outputs, calibration: outputs.astype(np.float64) + MIDDLE,
    decide=lambda outputs, target: {},
    calibrate=lambda outputs, target: {},
    choices=lambda answered: answered[:, 0].round(),
    scores=lambda answered: answered,
    confidence=lambda answered: np.ones(len(answered)),
    given=lambda answered, labels: np.array([f"{value:.2f}" for value in answered[:, 0]], dtype=object),
    aligned=lambda answered, labels, kept, target: answered,
    answer=lambda answered, labels: {"stars": round(float(answered[0]), 6)},
    answer_fields={"stars": float},
    brief=lambda answered: (f"{answered['stars']:.0f}", 1.0),
    tensors=lambda answered, labels: [("stars", "FP64", [-1], [one["stars"] for one in answered])],
    baselines=baselines,
    metric="pearson",
    right_figure="to_the_star",
    metrics=metrics,
    counts=counts,
    figures=figures,
    right=right,
    per_label=lambda sums, labels: {},
    parts=lambda target, answered, labels: [],
    describe=lambda labels, tokens: ("Gives a number of stars.", "It does not say why."),
    outcome=outcome,
    certainty=certainty,
    plots=lambda target, answered, labels: {},
)
