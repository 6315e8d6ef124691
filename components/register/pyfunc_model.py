"""The MLflow model of a bundle, logged as code: a list of texts in, one Answer per text out. ONNX Runtime, no torch.

MLflow copies this file into the logged model and runs it there, beside a copy of the package fineline.
"""

import os
from pathlib import Path
from typing import Any

from mlflow.models import set_model
from mlflow.pyfunc import PythonModel
from mlflow.pyfunc.utils import pyfunc
from pydantic import BaseModel

from fineline.bundles.bundle import open_bundle, predict

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when ONNX Runtime is imported, with the first bundle


class Answer(BaseModel):
    """The answer for one text. MLflow makes the output schema of it."""

    label: str
    score: float
    probabilities: dict[str, float]


class BundleModel(PythonModel):
    """`mlflow.pyfunc.load_model(uri).predict(["a text"])` gives what `fineline.bundles.bundle.predict` gives, as Answers."""

    def load_context(self, context: Any) -> None:
        self.bundle = open_bundle(Path(context.artifacts["bundle"]))

    @pyfunc
    def predict(self, model_input: list[str]) -> list[Answer]:
        return [Answer(**answer) for answer in predict(self.bundle, model_input)]


set_model(BundleModel())
