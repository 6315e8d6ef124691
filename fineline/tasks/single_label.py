"""Single-label text classification: one text, one label out of a fixed set."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fineline.process.errors import UsageError
from fineline.tasks import Task
from fineline.texts.sameness import clean_name

COLUMNS = ["label"]
_ECE_BINS = 15


def fields() -> list[Any]:
    """One column: the label, a string."""
    import pyarrow as pa

    return [pa.field(name, pa.string(), nullable=False) for name in COLUMNS]


def parse(raw: dict[str, Any]) -> dict[str, Any]:
    """The label as a clean string (`clean_name`; numbers as they are written); raises ValueError when there is none."""
    value = raw.get("label")
    if value is None or (isinstance(value, float) and np.isnan(value)):
        raise ValueError("no label")
    if not isinstance(value, str | int | float | bool):
        raise ValueError(f"the label is a {type(value).__name__}, not one value")
    if label := clean_name(str(value)):
        return {"label": label}
    raise ValueError("no label")


def strata(rows: Any) -> Any:
    """The label itself."""
    return rows["label"].astype(str)


def label_set(rows: Any) -> list[str]:
    """The distinct labels, sorted."""
    return sorted(rows["label"].unique())


def targets(rows: Any, labels: Sequence[str]) -> np.ndarray:
    """Index of each row's label in `labels`, int64 (n,)."""
    index = {label: i for i, label in enumerate(labels)}
    unknown = sorted(set(rows["label"]) - index.keys())
    if unknown:
        raise UsageError(f"labels not known to the model: {', '.join(unknown[:10])}", "train on data that has them")
    return rows["label"].map(index).to_numpy(dtype=np.int64)


def load_model(folder: Any, labels: Sequence[str], **configuration: Any) -> Any:
    """A sequence classifier with a head of len(labels) logits, weights from safetensors, fp32: a model that train wrote, pooled
    as its config.json says. Raises UsageError when the folder lacks a weight, the head's included.
    """
    from fineline.pretrained import loading

    return loading.classifier(folder, new_head=False, **_label_names(labels), **configuration)[0]


def load_pretrained(folder: Any, labels: Sequence[str], pooling: str, **configuration: Any) -> tuple[Any, list[str]]:
    """As `load_model`, for any pretrained model: with the names of the weights that are new, which those of the head may be.

    `pooling` is 'model' (the model class's own, [CLS] for BERT), 'mean' (over the tokens), 'last' (token) or 'auto' (mean where
    the folder's 1_Pooling/config.json, written by sentence-transformers, says so; last for a decoder). A head of another size
    is replaced by a new one.
    """
    from fineline.pretrained import loading

    if pooling == "auto":
        decoder = loading.is_decoder(loading.configuration(folder))
        pooling = "mean" if _was_mean_pooled(folder) else "last" if decoder else "model"
    return loading.classifier(folder, new_head=True, pooling=pooling, **_label_names(labels), **configuration)


def collator(tokenizer: Any) -> Any:
    """Pads each batch to its longest row, in multiples of 8 (the width of the matrix units)."""
    from transformers import DataCollatorWithPadding

    return DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8)


def loss(label_smoothing: float, weights: "np.ndarray | None") -> Callable[..., Any]:
    """Cross-entropy with label smoothing (Szegedy et al. 2016) and optional class weights, averaged over the batch."""
    import torch

    weight = None if weights is None else torch.tensor(weights)

    def compute(outputs: Any, target: Any, num_items_in_batch: Any = None) -> Any:
        logits = outputs["logits"].float()
        total = torch.nn.functional.cross_entropy(
            logits,
            target,
            weight=None if weight is None else weight.to(logits.device),
            label_smoothing=label_smoothing,
            reduction="mean" if num_items_in_batch is None else "sum",
        )
        return total if num_items_in_batch is None else total / num_items_in_batch

    return compute


def class_weights(target: np.ndarray, classes: int) -> np.ndarray:
    """n / (k * count), the 'balanced' weights of scikit-learn, float32 (k,); a class without rows gets 1."""
    counts = np.bincount(target, minlength=classes)
    return np.where(counts > 0, len(target) / (classes * np.maximum(counts, 1)), 1.0).astype(np.float32)


def probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Softmax of logits / temperature, float64 (n, k)."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    powers = np.exp(scaled)
    return powers / powers.sum(axis=1, keepdims=True)


def temperature(logits: np.ndarray, target: np.ndarray) -> float:
    """The temperature in [0.05, 20] with the smallest log-loss (Guo et al. 2017, On Calibration of Modern Neural Networks)."""
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(target))

    def log_loss(log_temperature: float) -> float:
        chosen = probabilities(logits, float(np.exp(log_temperature)))[rows, target]
        return float(-np.log(np.maximum(chosen, 1e-12)).mean())

    found = minimize_scalar(log_loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return round(float(np.exp(found.x)), 4)


def choices(probability: np.ndarray) -> np.ndarray:
    """The most probable class, int64 (n,)."""
    return probability.argmax(axis=1)


def answer(probability: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """`label`, its `score` and all `probabilities` of one text."""
    best = int(probability.argmax())
    scores = {label: round(float(value), 6) for label, value in zip(labels, probability, strict=True)}
    return {"label": labels[best], "score": scores[labels[best]], "probabilities": scores}


def metrics(target: np.ndarray, probability: np.ndarray, labels: Sequence[str]) -> dict[str, float]:
    """accuracy, macro_f1, weighted_f1, mcc (Matthews), log_loss and ece (expected calibration error, 15 equal bins).

    Macro-F1 is the mean over the labels that occur in the rows or in the predictions.
    """
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    chosen = choices(probability)
    of_truth = probability[np.arange(len(target)), target]
    return {
        "accuracy": float(accuracy_score(target, chosen)),
        "macro_f1": float(f1_score(target, chosen, average="macro", zero_division=0)),
        "weighted_f1": float(f1_score(target, chosen, average="weighted", zero_division=0)),
        "mcc": float(matthews_corrcoef(target, chosen)),
        "log_loss": float(-np.log(np.maximum(of_truth, 1e-12)).mean()),
        "ece": _calibration_error(target, probability),
    }


def resampled(target: np.ndarray, chosen: np.ndarray, classes: int, draws: np.ndarray) -> dict[str, np.ndarray]:
    """accuracy and macro_f1 of each bootstrap sample, from counts per sample and class."""
    samples = len(draws)
    offsets = np.arange(samples)[:, None] * classes

    def count(values: np.ndarray, kept: "np.ndarray | None" = None) -> np.ndarray:
        codes = values[draws] + offsets
        flat = codes.ravel() if kept is None else codes[kept]
        return np.bincount(flat, minlength=samples * classes).reshape(samples, classes)

    right = (target == chosen)[draws]
    occurring = count(target) + count(chosen)
    f1 = 2 * count(target, right) / np.maximum(occurring, 1)
    return {"accuracy": right.mean(axis=1), "macro_f1": f1.sum(axis=1) / (occurring > 0).sum(axis=1)}


def per_label(target: np.ndarray, chosen: np.ndarray, labels: Sequence[str]) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support of each label; 0 where a denominator is 0."""
    from sklearn.metrics import precision_recall_fscore_support

    columns = precision_recall_fscore_support(target, chosen, labels=range(len(labels)), zero_division=0)
    return {
        label: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
        for label, p, r, f, s in zip(labels, *columns, strict=True)
    }


def confusion(target: np.ndarray, chosen: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """The confusion matrix, int64 (k, k): rows true, columns predicted."""
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(target, chosen, labels=range(len(labels)))


def baselines(
    train_texts: Sequence[str], train_targets: np.ndarray, test_texts: Sequence[str], classes: int, seed: int
) -> dict[str, np.ndarray]:
    """`majority` (shares of the training labels) and `tfidf_logreg` (word 1-2-grams, logistic regression) on the test rows."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    shares = np.bincount(train_targets, minlength=classes) / len(train_targets)
    linear = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, strip_accents="unicode"),
        LogisticRegression(C=10.0, max_iter=1000, random_state=seed),
    )
    linear.fit(list(train_texts), train_targets)
    spread = np.zeros((len(test_texts), classes))
    spread[:, linear.classes_] = linear.predict_proba(list(test_texts))
    return {"majority": np.tile(shares, (len(test_texts), 1)), "tfidf_logreg": spread}


def _label_names(labels: Sequence[str]) -> dict[str, Any]:
    """The labels as config.json keeps them."""
    return {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}


def _was_mean_pooled(folder: Any) -> bool:
    config = Path(folder) / "1_Pooling" / "config.json"
    return config.is_file() and bool(json.loads(config.read_text(encoding="utf-8")).get("pooling_mode_mean_tokens"))


def _calibration_error(target: np.ndarray, probability: np.ndarray) -> float:
    confidence = probability.max(axis=1)
    right = (choices(probability) == target).astype(float)
    bins = np.minimum((confidence * _ECE_BINS).astype(int), _ECE_BINS - 1)
    gaps = [abs(confidence[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    return float(sum(gaps))


TASK = Task(
    name="single_label",
    metric="macro_f1",
    pipeline_tag="text-classification",
    output="logits",
    columns=COLUMNS,
    fields=fields,
    parse=parse,
    strata=strata,
    label_set=label_set,
    targets=targets,
    load_model=load_model,
    load_pretrained=load_pretrained,
    collator=collator,
    loss=loss,
    class_weights=class_weights,
    probabilities=probabilities,
    temperature=temperature,
    choices=choices,
    answer=answer,
    metrics=metrics,
    resampled=resampled,
    per_label=per_label,
    confusion=confusion,
    baselines=baselines,
)
