"""What a task is made of, part by part: functions on plain data. `single_label/` shows each of them.

Of every array the first axis counts rows, n. `targets` are what the rows ask for, `outputs` float32 what the graph gives,
`answers` what the task makes of them; how both look beyond their first axis is the task's own business: a step counts, takes
and puts rows together, and asks the task for all else. `labels` is the list of names that the answers are about.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    Array = np.ndarray

Calibration = Mapping[str, Any]
Section = tuple[str, str, str]
"""A section of a report: its title, HTML, and a note."""
Plots = Mapping[str, tuple[Sequence[str], Sequence[Sequence[Any]]]]
"""File name to header and rows, for `dvc plots` and Kubeflow."""

UNCALIBRATED: Calibration = {"temperature": 1.0, "thresholds": None}
"""What bundle.json says of how outputs become answers, before any of it was fitted."""


def bags(strata: "pd.Series", rows: Iterable[Any]) -> list[list[str]]:
    """The bag of each of `rows`, index labels, out of their long form."""
    found: dict[Any, list[str]] = {row: [] for row in rows}
    for row, name in zip(strata.index, strata, strict=True):
        found[row].append(name)
    return list(found.values())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rows:
    """The fields of a row, how a raw record becomes them, and what they say."""

    columns: list[str]
    """Names of a row's columns beside id and text; parameters are checked by them where no pyarrow is installed."""
    fields: Callable[[], "list[pa.Field]"]
    """The same columns, with their types."""
    parse: Callable[[dict[str, Any], str], dict[str, Any]]
    """Raw values of these columns of one row, and what stands between several values in a cell, to typed ones; raises ValueError
    with the reason."""
    fewest: int
    """Labels without which there is nothing to learn."""
    strata: Callable[["pd.DataFrame"], "pd.Series"]
    """The bag of strata of each row, which a split keeps in proportion, in long form: strings, indexed like the rows, a row as
    often as it has strata."""
    labels_of: Callable[["pd.DataFrame"], "pd.Series"]
    """The labels that each row has, in the same form."""
    written: Callable[["pd.DataFrame"], "pd.Series"]
    """What is to be learned of each row in one line, indexed like the rows: to show, and the same where it is the same."""
    named: Callable[[str], Sequence[str]]
    """The labels in such a line."""
    renamed: Callable[["pd.DataFrame", Mapping[str, str]], "pd.DataFrame"]
    """The rows, with labels called otherwise (old name to new)."""
    label_set: Callable[["pd.DataFrame"], list[str]]
    targets: Callable[["pd.DataFrame", Sequence[str]], "Array"]
    """Rows to targets; raises UsageError for a label that is not in the label set."""
    suspects: "Callable[..., tuple[float, list[dict[str, Any]]]] | None" = None
    """(texts, targets, labels, folds, confidence, seed) to the share of rows that a simple classifier, which has not seen them,
    gets right, and the rows whose target it doubts, the surest first: {row, label, suggested, label_probability,
    suggested_probability}. None: nothing is looked for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """The network: an encoder with the task's head, and what it learns by. Needs torch."""

    load_model: Callable[..., Any]
    """(folder, labels, **configuration) to a PyTorch model with the task's head, whole: one that train wrote."""
    load_pretrained: Callable[..., "tuple[Any, list[str]]"]
    """(folder, labels, pooling, **configuration) to such a model whose head may be new, and the names of its new weights."""
    collator: Callable[[Any], Any]
    """tokenizer to a collator that pads each batch to its own longest row."""
    loss: Callable[..., Callable[..., Any]]
    """(label_smoothing, class_weights) to the Trainer's compute_loss_func."""
    class_weights: Callable[["Array", int], "Array"]
    """(targets, k) to float32 (k,) weights."""
    drawn: Callable[[Any, Any], Any]
    """(outputs of one row as a tensor, torch generator) to the log-probability of an answer that the model itself draws."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
    """From the graph's outputs to answers, and to what people, logs and programs get of them."""

    output: str
    """Name of the ONNX graph's output."""
    answers: Callable[["Array", Calibration], "Array"]
    """(outputs, calibration: UNCALIBRATED with what was fitted) to answers. The temperature changes no choice."""
    decide: Callable[["Array", "Array"], dict[str, Any]]
    """(outputs, targets) to the part of the calibration that choices hang on; {} where there is none."""
    calibrate: Callable[["Array", "Array"], dict[str, Any]]
    """(outputs, targets) to the part that makes the scores right: the smallest log-loss."""
    choices: Callable[["Array"], "Array"]
    """What is decided, without how surely: equal where two answers are the same."""
    scores: Callable[["Array"], "Array"]
    """The numbers behind each answer, float64 (n, k): kept with predictions, and compared by a bundle's self-test."""
    confidence: Callable[["Array"], "Array"]
    """How probable it is that an answer is right, float64 (n,)."""
    given: Callable[["Array", Sequence[str]], "Array"]
    """(answers, labels) to each answer in one line as `written` gives it, objects (n,). Labels of one name are one label."""
    aligned: Callable[["Array", Sequence[str], Sequence[str], "Array"], "Array"]
    """(answers, labels, kept, targets) to answers about the labels `kept`, which the targets index: what was given besides
    them is no answer to these rows, or a wrong one. Labels of one name are one label."""
    answer: Callable[["Array", Sequence[str]], dict[str, Any]]
    """One row's answer and the labels to what a user gets, JSON."""
    answer_fields: dict[str, Any]
    """Its fields, with their Python types: str, float, list[str] or dict[str, float]."""
    brief: Callable[[dict[str, Any]], tuple[str, float]]
    """What a user got, in one line as `written` gives it, and its confidence: for logs, and for drift."""
    tensors: Callable[[Sequence[dict[str, Any]], Sequence[str]], list[tuple[str, str, list[int], list[Any]]]]
    """(what users got, labels) to the outputs of the inference protocol: name, datatype, shape with -1 for the number of texts,
    and flat data."""
    baselines: Callable[..., "dict[str, Array]"]
    """(train texts, train targets, test texts, k, seed) to name -> answers to the test rows."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figures:
    """How good answers are."""

    metric: str
    """The figure that early stopping, quantization and the gate look at; a key of `figures()`, larger is better."""
    right_figure: str
    """The figure that is the mean of `right`."""
    metrics: Callable[["Array", "Array", Sequence[str]], dict[str, float]]
    """(targets, answers, labels) to every figure, those of `figures` among them."""
    counts: Callable[["Array", "Array"], Any]
    """(targets, answers) to float64 (n, c), dense or sparse (CSR), which add up over rows."""
    figures: Callable[["Array"], "dict[str, Array]"]
    """Sums of such counts, (..., c), to figures (...): so weights (b, n) @ counts give them of b bootstrap samples."""
    right: Callable[["Array", "Array"], "Array"]
    """(targets, answers) to whether each row is answered right, bool (n,)."""
    per_label: Callable[["Array", Sequence[str]], dict[str, dict[str, float]]]
    """(sums (c,), labels) to label -> precision, recall, f1, support; {} where answers have no parts."""
    parts: Callable[["Array", "Array", Sequence[str]], "list[tuple[str, Array, Array]]"]
    """(targets, answers, labels) to, for each label, its name, the rows that have it, int64 (m,), and which of them are given it,
    bool (m,); [] where answers have no parts."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Page:
    """What only this task has in a report."""

    describe: Callable[[int, int], tuple[str, str]]
    """(the number of labels, the longest text in tokens) to what the model does, and what it is not for: Markdown."""
    outcome: Callable[["Array", "Array", Sequence[str], Calibration], list[Section]]
    """(targets, answers, labels, calibration) to sections on what is taken for what."""
    certainty: Callable[["Array", "Mapping[str, Array]"], list[Section]]
    """(targets, answers by model, of which the first ships) to sections on how far a score can be trusted."""
    plots: Callable[["Array", "Array", Sequence[str]], Plots]
    """(targets, answers, labels) to the data of plots."""
