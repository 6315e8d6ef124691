"""The MLflow model of a bundle, logged as code: texts in, one answer per text out. ONNX Runtime, no torch.

MLflow copies this file into the logged model and runs it there, beside a copy of the package fineline.
"""

import os
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel
from pydantic import BaseModel, create_model

from fineline.bundles.bundle import open_bundle, predict

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when ONNX Runtime is imported, with the first bundle


class BundleModel(PythonModel):
    """`mlflow.pyfunc.load_model(uri).predict(["a text"])` gives what `fineline.bundles.bundle.predict` gives, each as an
    object with the fields that the task's answers have, which are the output schema of logged_model.py."""

    def load_context(self, context: Any) -> None:
        self.bundle = open_bundle(Path(context.artifacts["bundle"]))
        fields: dict[str, Any] = {name: (kind, ...) for name, kind in self.bundle.task.answer_fields.items()}
        self.answer = create_model("Answer", **fields)

    def predict(self, context: Any, model_input: pd.DataFrame) -> list[BaseModel]:  # type: ignore[override]  # takes no params
        return [self.answer(**answer) for answer in predict(self.bundle, _texts(model_input))]


def _texts(table: pd.DataFrame) -> list[str]:
    """The texts in what MLflow makes of every kind of input: a table of one column, `text`, or 0 where it had no name.

    `list[str]` as a type hint would be checked by MLflow, which then takes no payload but `inputs`.
    """
    (column,) = table.columns
    if column not in ("text", 0):
        raise MlflowException.invalid_parameter_value(f"the first column must be text, not {column}")
    texts = table[column].tolist()
    for number, text in enumerate(texts, 1):
        if not isinstance(text, str):
            raise MlflowException.invalid_parameter_value(f"text {number} is no text")
    return texts


set_model(BundleModel())
