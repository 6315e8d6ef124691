"""The table of tasks. All that is particular to a task lies in its own file; a step asks the table, never the name."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fineline.process.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa


@dataclasses.dataclass(frozen=True)
class Task:
    """What a task gives the steps, as data and functions.

    Arrays: `targets` int64 (n,), `logits` float32 (n, k), `probabilities` float64 (n, k), where n counts rows and k
    classes. `labels` is the list of k class names, in the order of the logits.
    """

    name: str
    metric: str
    """The figure that early stopping, quantization and the gate look at; a key of `metrics()`, larger is better."""
    pipeline_tag: str
    """What the Hugging Face hub calls the task."""
    output: str
    """Name of the ONNX graph's output."""
    columns: list[str]
    """Names of a row's columns beside id and text; parameters are checked by them where no pyarrow is installed."""
    fields: Callable[[], "list[pa.Field]"]
    """The same columns, with their types."""
    parse: Callable[[dict[str, Any]], dict[str, Any]]
    """Raw values of the label columns of one row to typed ones; raises ValueError with the reason."""
    strata: Callable[["pd.DataFrame"], "pd.Series"]
    """What to stratify by: one string per row."""
    label_set: Callable[["pd.DataFrame"], list[str]]
    targets: Callable[["pd.DataFrame", Sequence[str]], "np.ndarray"]
    """Rows to targets; raises UsageError for a label that is not in the label set."""
    load_model: Callable[..., Any]
    """(folder, labels, **configuration) to a PyTorch model with the task's head, whole: one that train wrote."""
    load_pretrained: Callable[..., "tuple[Any, list[str]]"]
    """(folder, labels, pooling, **configuration) to such a model whose head may be new, and the names of its new weights."""
    collator: Callable[[Any], Any]
    """tokenizer to a collator that pads each batch to its own longest row."""
    loss: Callable[..., Callable[..., Any]]
    """(label_smoothing, class_weights) to the Trainer's compute_loss_func."""
    class_weights: Callable[["np.ndarray", int], "np.ndarray"]
    """(targets, k) to float32 (k,) weights."""
    probabilities: Callable[["np.ndarray", float], "np.ndarray"]
    """(logits, temperature) to probabilities."""
    temperature: Callable[["np.ndarray", "np.ndarray"], float]
    """(logits, targets) to the temperature that minimises the log-loss."""
    choices: Callable[["np.ndarray"], "np.ndarray"]
    """probabilities to predicted targets."""
    answer: Callable[["np.ndarray", Sequence[str]], dict[str, Any]]
    """Probabilities (k,) of one text and the labels to what a user gets."""
    metrics: Callable[["np.ndarray", "np.ndarray", Sequence[str]], dict[str, float]]
    """(targets, probabilities, labels) to figures."""
    resampled: Callable[["np.ndarray", "np.ndarray", int, "np.ndarray"], "dict[str, np.ndarray]"]
    """(targets, choices, k, draws) to accuracy and `metric` on bootstrap samples, float64 (b,); draws int64 (b, n) are the
    rows of each sample. As `metrics()` would give them, but fast enough for thousands of samples."""
    per_label: Callable[["np.ndarray", "np.ndarray", Sequence[str]], dict[str, dict[str, float]]]
    """(targets, choices, labels) to label -> precision, recall, f1, support."""
    confusion: Callable[["np.ndarray", "np.ndarray", Sequence[str]], "np.ndarray"]
    """(targets, choices, labels) to the int64 (k, k) matrix, rows true, columns predicted."""
    baselines: Callable[..., "dict[str, np.ndarray]"]
    """(train texts, train targets, test texts, k, seed) to name -> probabilities of the test rows."""


def get_task(name: str) -> Task:
    """The task of that name. Raises UsageError for an unknown one."""
    from fineline.tasks import single_label

    table = {single_label.TASK.name: single_label.TASK}
    if name not in table:
        raise UsageError(f"unknown task '{name}'", f"tasks: {', '.join(table)}")
    return table[name]
