"""What the tests of quantize start from: an fp32 bundle of the varied model, and how to read what came out."""

import json
from pathlib import Path

from components.export_onnx.params import Params as ExportParams
from components.export_onnx.step import run as export_onnx
from fineline.rows import dataset
from tests.conftest import make_rows
from tests.varied_model import write_model_artifact, write_splits_it_mostly_knows, write_varied_model

QUICK = {"speed_texts": 10, "speed_rounds": 1, "select": "smallest", "max_changed_share": 0.1, "max_metric_drop": 0.1}


def inputs(folder: Path, outlier: float) -> tuple[Path, Path]:
    """(fp32 bundle, splits) of the varied model."""
    model = write_varied_model(folder / "model", outlier)
    splits = write_splits_it_mostly_knows(folder / "splits", model, make_rows(400))
    export_onnx(params=ExportParams(), model=write_model_artifact(model, splits), splits=splits, onnx=folder / "onnx")
    return folder / "onnx", splits


def read(folder: Path, name: str = "quantize.json") -> dict:
    return json.loads((folder / name).read_text())


def texts_of(splits: Path) -> list[str]:
    return dataset.read_rows(splits / "validation.parquet")["text"].tolist()
