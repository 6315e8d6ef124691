"""int8: how near its graphs are to fp32, and the ladder from a scale per token to scales per block to fp32."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from components.export_onnx.graph import export
from components.quantize import int8, precision
from components.quantize.params import Params
from components.quantize.step import run
from fineline.artifacts import folders
from fineline.bundles.bundle import logits, open_bundle, self_test
from fineline.tasks import get_task
from tests.components.quantizing import QUICK, read, texts_of
from tests.varied_model import LABELS

RunStep = Callable[..., tuple[int, str, str]]
TASK = get_task("single_label")


def test_int8_is_int8(shipped: Path, exported: tuple[Path, Path]) -> None:
    import onnx

    before, after = (onnx.load(folder / "model.onnx").graph for folder in (exported[0], shipped))
    counts = [Counter(node.op_type for node in graph.node) for graph in (before, after)]
    types = {tensor.name: tensor.data_type for tensor in after.initializer}
    products = [node for node in after.node if node.op_type == "MatMulIntegerToFloat"]
    weights = [types[node.input[1]] for node in products]
    assert counts[0]["MatMulIntegerToFloat"] == counts[0]["QuantizeLinear"] == 0
    assert len(weights) == 2 * 6 + 2  # 2 layers of 6 products, pooler, classifier
    assert set(weights) == {onnx.TensorProto.INT8}
    shapes = {tensor.name: tuple(tensor.dims) for tensor in after.initializer}
    assert all(shapes[node.input[3]] == shapes[node.input[1]][1:] for node in products)  # a scale per output
    assert counts[1]["QuantizeLinear"] == 2 * 4 + 2  # query, key and value read the same
    assert counts[1]["Gemm"] == 0
    assert counts[1]["MatMul"] == 2 * 2  # attention: no weights
    assert (shipped / "model.onnx").stat().st_size < 0.6 * (exported[0] / "model.onnx").stat().st_size


def test_a_tokens_scale_is_its_own(exported: tuple[Path, Path], tmp_path: Path) -> None:
    """A batch changes an int8 answer no more than an fp32 one: no scale reaches into another text."""
    texts = texts_of(exported[1])
    for scales in ("per token", "per block"):
        precision.write_int8(exported[0], tmp_path / scales, scales, reduce_range=False)
        bundle = open_bundle(tmp_path / scales)
        assert bundle.config["scales"] == scales
        assert not bundle.alone
        apart = np.abs(logits(bundle, texts, batch_size=1) - logits(bundle, texts, batch_size=64)).max()
        assert apart < 1e-4, scales


def test_an_older_bundle_runs_one_text_at_a_time(exported: tuple[Path, Path], tmp_path: Path) -> None:
    """int8 as it was until November 2026, by quantize_dynamic: a registry may hold such versions."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    shutil.copytree(exported[0], tmp_path / "old")
    weights = {"weight_type": QuantType.QInt8, "per_channel": True}
    quantize_dynamic(onnx.load(exported[0] / "model.onnx"), tmp_path / "old" / "model.onnx", **weights)
    folders.write_json(tmp_path / "old" / "bundle.json", {**read(exported[0], "bundle.json"), "precision": "int8"})
    old, texts = open_bundle(tmp_path / "old"), texts_of(exported[1])
    assert old.alone
    assert (logits(old, texts, batch_size=64) == logits(old, texts, batch_size=1)).all()


@pytest.mark.parametrize("scales", ["per token", "per block"])
def test_embeddings_have_a_scale_per_row(
    scales: precision.Scales, exported: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each number is rounded by half a step of its own row at most; all tables count as large here."""
    import onnx
    from onnx import numpy_helper

    monkeypatch.setattr(int8, "_SMALL", 0)
    precision.write_int8(exported[0], tmp_path / "int8", scales, reduce_range=False)
    before, after = (
        {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(folder / "model.onnx").graph.initializer}
        for folder in (exported[0], tmp_path / "int8")
    )
    tables = [name for name in before if name.endswith("embeddings.weight")]
    assert len(tables) == 3
    for name in tables:
        assert name not in after
        step = after[f"{name}_scale"]
        assert (np.abs(after[f"{name}_int8"] * step - before[name]) <= 0.5001 * step).all()
        assert np.ptp(step) > 0


def test_int8_that_loses_too_much_is_followed_by_scales_per_block(
    exported_with_outlier: tuple[Path, Path], tmp_path: Path
) -> None:
    onnx, splits = exported_with_outlier
    run(params=Params.model_validate(QUICK), onnx=onnx, splits=splits, bundle=tmp_path / "bundle")
    found = read(tmp_path / "bundle")
    whole, rung = found["candidates"]["int8"], found["candidates"]["int8 in blocks"]
    assert set(found["candidates"]) == {"fp32", "int8", "int8 in blocks"}
    assert whole["changed_share"] > 0.2
    assert any("of the predictions change (allowed 10.00%)" in line for line in whole["violations"])
    assert rung["violations"] == []
    assert rung["changed_share"] < whole["changed_share"] / 3
    assert found["chosen"] == "int8 in blocks"
    assert "(refused: int8: " in found["reason"]
    assert open_bundle(tmp_path / "bundle").config["precision"] == "int8"
    self_test(open_bundle(tmp_path / "bundle"))


def test_refused_candidates_leave_fp32(
    exported_with_outlier: tuple[Path, Path], tmp_path: Path, run_step: RunStep
) -> None:
    onnx, splits = exported_with_outlier
    params = {**QUICK, "max_changed_share": 0, "select": "fastest"}
    code, out, err = run_step("quantize", params, onnx=onnx, splits=splits, bundle=tmp_path / "bundle")
    assert code == 0, err
    assert out.startswith("quantize: fp32 ships: nothing else stays inside the margins (int8: ")
    assert read(tmp_path / "bundle")["chosen"] == "fp32"
    assert (tmp_path / "bundle" / "model.onnx").read_bytes() == (onnx / "model.onnx").read_bytes()
    config = read(tmp_path / "bundle", "bundle.json")
    assert (config["precision"], config["golden_tolerance"]) == ("fp32", 0.001)
    self_test(open_bundle(tmp_path / "bundle"))


def test_margins_of_0_refuse_any_change(exported_with_outlier: tuple[Path, Path], tmp_path: Path) -> None:
    strict = {"max_metric_drop": 0, "max_changed_share": 0, "max_recall_drop": 0}
    run(
        params=Params.model_validate({**QUICK, **strict}),
        onnx=exported_with_outlier[0],
        splits=exported_with_outlier[1],
        bundle=tmp_path / "b",
    )
    found = read(tmp_path / "b")
    assert found["chosen"] == "fp32"
    assert len(found["candidates"]["int8"]["violations"]) >= 3


def test_weights_beside_the_graph(exported: tuple[Path, Path], tmp_path: Path) -> None:
    """As models over 2 GB have them."""
    model = TASK.load_model(exported[0].parent / "model", list(LABELS)).eval()
    source = shutil.copytree(exported[0], tmp_path / "source")
    (source / "model.onnx").unlink()
    export(model, TASK, ["input_ids", "attention_mask"], 20, source, one_file_bytes=1000)
    texts = texts_of(exported[1])
    expected = logits(open_bundle(exported[0]), texts)
    for scales in ("per token", "per block"):
        precision.write_int8(source, tmp_path / scales, scales, reduce_range=True)
        assert (tmp_path / scales / "model.onnx.data").is_file()
        assert np.abs(logits(open_bundle(tmp_path / scales), texts) - expected).max() < 0.5
