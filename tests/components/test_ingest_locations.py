"""ingest: saved datasets, the hub, buckets, DVC repositories."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from fineline.artifacts import folders
from fineline.sources.locations import files_of_builder
from fineline.sources.redaction import redacted
from tests.components.conftest import CSV, ROWS, Ingest, pairs, quarantined, write
from tests.components.storages import Bucket


def test_saved_datasets(tmp_path: Path, read: Callable[..., pd.DataFrame], ingest: Ingest) -> None:
    import datasets

    datasets.disable_progress_bars()
    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["neg", "pos"]))
    one = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, -1]}, features=features)
    one.save_to_disk(tmp_path / "one", num_shards=2)
    datasets.DatasetDict(
        train=one, test=datasets.Dataset.from_dict({"text": ["t"], "label": [1]}, features=features)
    ).save_to_disk(tmp_path / "both")
    one.to_parquet(tmp_path / "one.parquet")
    expected = [("a", "pos"), ("b", "neg")]
    assert pairs(read(tmp_path / "one")) == expected
    assert pairs(read(tmp_path / "one.parquet")) == expected
    rows = read(tmp_path / "both")
    assert pairs(rows) == [*expected, ("t", "pos")]
    assert rows["split"].tolist()[2] == "test"
    assert [row["file"] for row in quarantined(tmp_path / "dataset")] == ["train/data-00000-of-00001.arrow"]
    assert pairs(read(tmp_path / "one", test_source=str(tmp_path / "both" / "test"))) == [*expected, ("t", "pos")]
    code, _out, err = ingest(tmp_path / "one", test_source=str(tmp_path / "both"))
    assert (code, "several splits: test, train" in err) == (2, True)


def test_files_of_a_hub_dataset(tmp_path: Path) -> None:
    """`datasets` finds splits, files and class names the same way in a folder as on the hub."""
    write(tmp_path / "set" / "train.csv", "text,label\na,0\n")
    write(tmp_path / "set" / "test.csv", "text,label\nb,1\n")
    classes = "{class_label: {names: {'0': neg, '1': pos}}}"
    fields = f"[{{name: text, dtype: string}}, {{name: label, dtype: {classes}}}]"
    write(tmp_path / "set" / "README.md", f"---\ndataset_info:\n  features: {fields}\n---\n")
    files = files_of_builder(str(tmp_path / "set"), "", "", "hf://owner/set")
    assert [(file.name, file.split) for file in files] == [("train/train.csv", "train"), ("test/test.csv", "test")]
    assert files[0].class_names == {"label": ["neg", "pos"]}
    assert len(files_of_builder(str(tmp_path / "set"), "", "test", "hf://owner/set:test")) == 1


def test_memory_filesystem(read: Callable[..., pd.DataFrame]) -> None:
    import fsspec

    filesystem = fsspec.filesystem("memory")
    filesystem.pipe({"/ingest/a.csv": CSV.encode(), "/ingest/b.csv": b"text,label\nmore,x\n"})
    try:
        assert pairs(read("memory://ingest/a.csv")) == ROWS
        assert pairs(read("memory://ingest")) == pairs(read("memory://ingest/*.csv")) == [*ROWS, ("more", "x")]
    finally:
        filesystem.rm("/ingest", recursive=True)


def test_s3(bucket: Bucket, read: Callable[..., pd.DataFrame], ingest: Ingest) -> None:
    bucket.put("in/a.csv", CSV.encode())
    bucket.put("in/b.csv", b"text,label\nmore,x\n")
    assert pairs(read("s3://bucket/in/a.csv")) == ROWS
    assert pairs(read("s3://bucket/in/*.csv")) == [*ROWS, ("more", "x")]
    code, _out, err = ingest("s3://bucket/in/none.csv")
    assert (code, "does not exist" in err) == (2, True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")
def test_dvc(dvc_repo: Path, tmp_path: Path, read: Callable[..., pd.DataFrame], ingest: Ingest) -> None:
    assert pairs(read(f"dvc://{dvc_repo}@v1:data.csv")) == ROWS
    (source,) = folders.read_manifest(tmp_path / "dataset").figures["sources"]
    assert source == {
        "name": "data.csv",
        "rows": 2,
        "quarantined": 0,
        "sha256": hashlib.sha256(CSV.encode()).hexdigest(),
    }
    assert pairs(read(f"dvc://{dvc_repo}@v2:folder"))[0] == ("hello again", "greeting")
    assert pairs(read(f"dvc://{dvc_repo}@v1:folder/*.csv")) == ROWS
    for location, code, words in (
        (f"dvc://{dvc_repo}@v9:data.csv", 2, "unknown Git revision 'v9'"),
        (f"dvc://{dvc_repo}@v1:none.csv", 2, "does not exist"),
        (f"dvc://{dvc_repo}:data.csv", 2, "dvc://repo@rev:path"),
        (f"dvc://{tmp_path}/none@v1:data.csv", 2, "there is no repository"),
    ):
        found, _out, err = ingest(location)
        assert (found, words in err) == (code, True), err
    shutil.rmtree(tmp_path / "store")
    shutil.rmtree(dvc_repo / ".dvc" / "cache")
    code, _out, err = ingest(f"dvc://{dvc_repo}@v1:data.csv")
    assert (code, "cannot be read" in err) == (4, True), err


def test_missing_driver_names_the_extra(ingest: Ingest) -> None:
    import importlib.util

    if importlib.util.find_spec("gcsfs"):
        pytest.skip("gcsfs is installed")
    code, _out, err = ingest("gs://bucket/a.csv")
    assert code == 4
    assert "pip install 'fineline[gcs]'" in err


def test_password_is_not_shown() -> None:
    assert redacted("https://me:secret@host/a.csv") == "https://***@host/a.csv"
    assert redacted("dvc://git@host:o/r.git@v1:a.csv") == "dvc://git@host:o/r.git@v1:a.csv"
