"""quantize: what ships is inside the margins on every validation row, and quantize.json says why it ships."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from components.quantize import precision, quality
from components.quantize.params import Params
from components.quantize.step import choose, run
from fineline.artifacts import folders
from fineline.bundles.bundle import logits, open_bundle, predict, self_test
from fineline.rows import dataset
from fineline.tasks import get_task
from fineline.tracking.journal import Journal
from tests.components.quantizing import QUICK, read, texts_of
from tests.conftest import files_of

RunStep = Callable[..., tuple[int, str, str]]
TASK = get_task("single_label")
FILES = {
    *("model.onnx", "tokenizer.json", "bundle.json", "quantize.json", "reference.parquet", "reference_tokens.parquet"),
    *("measurements.json", "manifest.json", "run.json"),
}


def test_writes_the_bundle_that_ships_and_why(shipped: Path, exported: tuple[Path, Path]) -> None:
    onnx, splits = exported
    assert files_of(shipped) == FILES
    manifest = folders.verify(shipped)
    assert (manifest.step, manifest.kind, manifest.task) == ("quantize", "bundle", "single_label")
    assert set(manifest.files) == FILES - {"measurements.json", "manifest.json", "run.json"}
    assert manifest.inputs == {
        "onnx": folders.read_manifest(onnx).digest,
        "splits": folders.read_manifest(splits).digest,
    }
    found = read(shipped)
    assert found["chosen"] == "int8"
    assert found["reason"] == "int8 ships: the smallest of fp32 and int8, which stay inside the margins"
    assert found["rows"] == len(texts_of(splits)) == 60
    assert set(found["candidates"]) == {"fp32", "int8"}
    assert found["candidates"]["int8"]["bytes"] == (shipped / "model.onnx").stat().st_size
    assert found["candidates"]["fp32"]["changed"] == 0
    assert found["candidates"]["fp32"]["metrics"]["accuracy"] == pytest.approx(5 / 6, abs=0.03)
    assert sum(found["candidates"]["int8"]["support"].values()) == 60
    assert manifest.figures["precision"] == "int8"
    assert manifest.figures["macro_f1"] == found["candidates"]["int8"]["metrics"]["macro_f1"]
    before, after = read(onnx, "bundle.json"), read(shipped, "bundle.json")
    assert {key for key in after if after[key] != before.get(key)} == {
        "precision",
        "scales",
        "temperature",
        "golden",
        "golden_tolerance",
    }
    assert (after["precision"], after["scales"]) == ("int8", "per token")
    assert after["golden_tolerance"] == 0.05
    self_test(open_bundle(shipped))


def test_figures_are_those_of_every_validation_row(shipped: Path, exported: tuple[Path, Path]) -> None:
    rows = dataset.read_rows(exported[1] / "validation.parquet")
    answers = [
        [answer["label"] for answer in predict(open_bundle(folder), rows["text"].tolist())]
        for folder in (exported[0], shipped)
    ]
    found = read(shipped)["candidates"]
    assert found["int8"]["changed"] == sum(a != b for a, b in zip(*answers, strict=True))
    for answer, name in zip(answers, ("fp32", "int8"), strict=True):
        assert found[name]["metrics"]["accuracy"] == pytest.approx(np.mean(np.array(answer) == rows["label"]), abs=1e-6)
    drop = found["fp32"]["metrics"]["macro_f1"] - found["int8"]["metrics"]["macro_f1"]
    assert found["int8"]["metric_drop"] == pytest.approx(drop, abs=2e-6)


def test_measurements_lie_beside_the_artifact(shipped: Path) -> None:
    measured = read(shipped, "measurements.json")
    assert set(measured["candidates"]) == {"fp32", "int8"}
    for speed in (measured, *measured["candidates"].values()):
        assert 0 < speed["p50_ms"] <= speed["p95_ms"]
        assert speed["texts_per_second"] > 0
    assert {name: measured[name] for name in ("p50_ms", "p95_ms")} == {
        name: measured["candidates"]["int8"][name] for name in ("p50_ms", "p95_ms")
    }
    assert measured["texts"] == 10
    assert measured["cpu"]
    assert measured["cores"] >= 1
    assert "p50" not in (shipped / "quantize.json").read_text()


def test_same_inputs_give_the_same_digest(shipped: Path, exported: tuple[Path, Path], tmp_path: Path) -> None:
    again = Params.model_validate({**QUICK, "threads": 1, "batch_size": 64.0})
    run(params=again, onnx=exported[0], splits=exported[1], bundle=tmp_path / "again")
    assert folders.read_manifest(tmp_path / "again").digest == folders.read_manifest(shipped).digest


def test_fp16_needs_a_gpu(exported: tuple[Path, Path], tmp_path: Path) -> None:
    params = Params.model_validate({**QUICK, "candidates": ["fp16"]})
    run(params=params, onnx=exported[0], splits=exported[1], bundle=tmp_path / "bundle")
    found = read(tmp_path / "bundle")
    assert found["skipped"] == {"fp16": "ONNX Runtime has no GPU here, and CPUs compute fp16 slower than fp32"}
    assert set(found["candidates"]) == {"fp32"}
    assert found["reason"] == "fp32 ships: there is no other candidate"


def test_fp16_answers_nearly_as_fp32(exported: tuple[Path, Path], tmp_path: Path) -> None:
    precision.write_fp16(exported[0], tmp_path / "fp16")
    half, texts = open_bundle(tmp_path / "fp16"), texts_of(exported[1])
    assert half.config["precision"] == "fp16"
    assert precision.size(tmp_path / "fp16") < 0.7 * precision.size(exported[0])
    difference = np.abs(logits(half, texts) - logits(open_bundle(exported[0]), texts)).max()
    assert 0 < difference < 0.05


def test_temperature_is_fitted_to_what_ships(shipped: Path, exported: tuple[Path, Path], tmp_path: Path) -> None:
    found, config = read(shipped), read(shipped, "bundle.json")
    assert config["temperature"] == found["temperature"] != 1.0
    assert 0.05 < found["temperature"] < 20
    assert found["calibrated"]["log_loss"] < found["candidates"]["int8"]["metrics"]["log_loss"]
    assert found["calibrated"]["accuracy"] == found["candidates"]["int8"]["metrics"]["accuracy"]
    run(
        params=Params.model_validate({**QUICK, "calibrate": False, "candidates": []}),
        onnx=exported[0],
        splits=exported[1],
        bundle=tmp_path / "bundle",
    )
    assert read(tmp_path / "bundle", "bundle.json")["temperature"] == 1.0


def test_a_temperature_of_a_few_rows_is_none(exported: tuple[Path, Path], tmp_path: Path, run_step: Callable) -> None:
    onnx = Path(shutil.copytree(exported[0], tmp_path / "onnx"))
    for count, kept in ((19, True), (20, False)):
        splits = Path(shutil.copytree(exported[1], tmp_path / f"splits{count}"))
        rows = dataset.read_rows(splits / "validation.parquet")[:count]
        dataset.write_rows(rows.reset_index(drop=True), splits / "validation.parquet")
        folders.write_manifest(
            splits, step="split", kind="splits", params={}, inputs={}, figures={}, task="single_label"
        )
        made = json.loads((onnx / folders.MANIFEST).read_text())
        made["ancestors"] = [
            {**entry, "digest": folders.read_manifest(splits).digest} if entry["step"] == "split" else entry
            for entry in made["ancestors"]
        ]
        (onnx / folders.MANIFEST).write_text(json.dumps(made))
        params, bundle = {**QUICK, "candidates": []}, tmp_path / f"bundle{count}"
        code, _, error = run_step("quantize", params, onnx=onnx, splits=splits, bundle=bundle)
        assert code == 0, error
        assert (read(bundle)["temperature"] == 1.0) == kept
        assert ("19 validation rows are too few to calibrate" in error) == kept


def test_figures_reach_the_run_that_train_began(exported: tuple[Path, Path], tmp_path: Path) -> None:
    onnx = shutil.copytree(exported[0], tmp_path / "onnx")
    journal = Journal(onnx / folders.EVENTS)
    journal.run("train", {}, {}, [])
    params = Params.model_validate({**QUICK, "candidates": []})
    run(params=params, onnx=onnx, splits=exported[1], bundle=tmp_path / "bundle")
    events = Journal(tmp_path / "bundle" / folders.EVENTS).events
    assert [event["kind"] for event in events] == ["run", "metrics", "tags"]
    assert {"quantize.bytes", "quantize.macro_f1", "quantize.p50_ms"} <= set(events[1]["values"])
    assert events[2]["values"] == {"fineline.quantize": "fp32 ships: there is no other candidate"}
    assert len(journal.events) == 1  # an input is never changed


@pytest.mark.parametrize(
    ("select", "candidates", "chosen", "words"),
    [
        ("fastest", {"fp32": (90, 2.5, []), "int8": (23, 0.8, [])}, "int8", "the fastest of fp32 and int8"),
        ("fastest", {"fp32": (90, 0.8, []), "int8": (23, 2.5, [])}, "fp32", "the fastest of fp32 and int8"),
        ("smallest", {"fp32": (90, 0.8, []), "int8": (23, 2.5, [])}, "int8", "the smallest of fp32 and int8"),
        ("fastest", {"fp32": (90, 1.00, []), "int8": (23, 1.09, [])}, "int8", "the fastest"),
        ("fastest", {"fp32": (90, 1.00, []), "int8": (23, 1.11, [])}, "fp32", "the fastest"),
        ("fastest", {"fp32": (90, 2.5, []), "int8": (23, 0.8, ["a", "b"])}, "fp32", "the margins (int8: a, b)"),
        ("fastest", {"fp32": (90, 2, []), "int8": (23, 1, list("abcde"))}, "fp32", "(int8: a, b, c and 2 more)"),
        (
            "fastest",
            {"fp32": (90, 2, []), "int8": (23, 1, ["a"]), "int8 in blocks": (24, 1.2, [])},
            "int8 in blocks",
            "which stay inside the margins (refused: int8: a)",
        ),
        ("smallest", {"fp32": (90, 2, [])}, "fp32", "there is no other candidate"),
    ],
)  # fmt: skip
def test_choice(select: str, candidates: dict, chosen: str, words: str) -> None:
    figures = {name: {"bytes": size, "violations": broken} for name, (size, _, broken) in candidates.items()}
    name, reason = choose(select, figures, {name: latency for name, (_, latency, _) in candidates.items()})
    assert name == chosen
    assert reason.startswith(f"{chosen} ships: ")
    assert words in reason


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({}, []),
        ({"metric_drop": 0.01, "changed_share": 0.02, "recall_change": {"a": -0.1}}, []),
        ({"metric_drop": 0.0101}, ["macro_f1 falls by 0.0101 (allowed 0.01)"]),
        ({"metric_drop": -0.5}, []),
        ({"changed_share": 0.021}, ["2.10% of the predictions change (allowed 2.00%)"]),
        ({"recall_change": {"a": 0.9 - 1.0}}, []),
        ({"recall_change": {"a": -0.2, "rare": -1.0}}, ["recall of a falls by 0.200 on 10 rows (allowed 0.1)"]),
        ({"rows_not_finite": 3}, ["the logits of 3 rows are not finite"]),
    ],
)
def test_margins(found: dict, words: list[str]) -> None:
    inside = {"metric_drop": 0.0, "changed_share": 0.0, "recall_change": {}, "support": {"a": 10, "rare": 9}}
    assert quality.violations(Params(max_changed_share=0.02), "macro_f1", {**inside, **found}) == words


def test_quality_of_known_logits() -> None:
    fp32 = np.eye(3, dtype=np.float32)[[0, 0, 1, 1]] * 4
    int8 = np.eye(3, dtype=np.float32)[[0, 1, 1, 1]] * 4
    found = quality.figures(TASK, ["a", "b", "unseen"], np.array([0, 0, 1, 0]), int8, fp32)
    assert (found["changed"], found["changed_share"]) == (1, 0.25)
    assert found["support"] == {"a": 3, "b": 1, "unseen": 0}
    assert found["recall_change"] == {"a": pytest.approx(-1 / 3, abs=1e-6), "b": 0}
    assert found["largest_logit_difference"] == 4
    int8[1, 0] = np.nan
    assert quality.figures(TASK, ["a", "b", "unseen"], np.array([0, 0, 1, 0]), int8, fp32) == {"rows_not_finite": 1}


@pytest.mark.parametrize(
    ("change", "params", "words"),
    [
        ("no bundle", {}, "does not exist"),
        ("splits as bundle", {}, "is a splits, not a bundle"),
        ("quantized already", {}, "is int8 already"),
        ("changed graph", {}, "model.onnx was changed after it was made"),
        ("other splits", {}, "its model may have learned from their validation rows"),
        ("", {"candidates": ["int4"], "select": "best", "max_metric_drop": 2, "margin": 1}, "4 parameters are wrong"),
        ("", {"candidates": ["int8", "int8"]}, "candidates names one twice"),
    ],
)
def test_bad_input(
    change: str,
    params: dict,
    words: str,
    exported: tuple[Path, Path],
    shipped: Path,
    splits: Path,
    tmp_path: Path,
    run_step: RunStep,
) -> None:
    onnx = shutil.copytree(exported[0], tmp_path / "onnx")
    if change == "changed graph":
        graph = bytearray((onnx / "model.onnx").read_bytes())
        graph[-1] ^= 1
        (onnx / "model.onnx").write_bytes(graph)
    source = {"no bundle": tmp_path / "none", "splits as bundle": splits, "quantized already": shipped}.get(
        change, onnx
    )
    rows = splits if change == "other splits" else exported[1]
    code, out, err = run_step("quantize", {**QUICK, **params}, onnx=source, splits=rows, bundle=tmp_path / "bundle")
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err
    assert not (tmp_path / "bundle").exists()
