"""A tiny bundle to watch: int8, with answers that depend on the words, and a reference of 900 held-out rows."""

from pathlib import Path

from components.export_onnx.params import Params as ExportParams
from components.export_onnx.step import run as export_onnx
from components.quantize.params import Params as QuantizeParams
from components.quantize.step import run as quantize
from tests.conftest import make_rows, write_splits
from tests.varied_model import write_model_artifact, write_varied_model

_ANY_MARGIN = {"max_metric_drop": 1, "max_changed_share": 1, "max_recall_drop": 1, "calibrate": False}
_QUICK = {"select": "smallest", "speed_texts": 10, "speed_rounds": 1, "reference_columns": ["channel"]}


def write_watched_bundle(folder: Path) -> Path:
    """The bundle, in `folder`/bundle; beside it splits, model and onnx, which it was made of."""
    splits = write_splits(folder / "splits", make_rows(3000, seed=1))
    model = write_model_artifact(write_varied_model(folder / "model"), splits)
    export_onnx(params=ExportParams(), model=model, splits=splits, onnx=folder / "onnx")
    params = QuantizeParams.model_validate({**_ANY_MARGIN, **_QUICK})
    quantize(params=params, onnx=folder / "onnx", splits=splits, bundle=folder / "bundle")
    return folder / "bundle"
