"""A bundle from the registry is what was registered, byte for byte, or nothing."""

import json
from pathlib import Path

import pytest

from fineline.artifacts import folders
from fineline.process.errors import ResourceError, UsageError
from fineline.registry.fetch import Version, alias, download, find, open_model
from fineline.tracking import connection
from tests.conftest import files_of
from tests.serving import register


@pytest.mark.parametrize(
    ("model", "expected"),
    [("models:/a b.c@champion", "champion"), ("models:/tiny/3", ""), ("folder@champion", ""), ("models:/x@", "")],
)
def test_alias(model: str, expected: str) -> None:
    assert alias(model) == expected


@pytest.mark.parametrize("model", ["models:/", "models:/tiny", "models:/tiny@", "models:/tiny/latest", "models:/a/b@c"])
def test_addresses_that_name_no_model(model: str) -> None:
    with pytest.raises(UsageError, match="names no model"):
        find(model)


def test_what_is_registered_is_found_downloaded_and_compared(bundle: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ResourceError, match="there is no model registry here"):
        find("models:/tiny/1")
    register(bundle, "tiny")
    register(bundle, "tiny", bundle_sha256="f" * 64)
    register(bundle, "tiny", bundle_sha256="")
    connection.client().set_registered_model_alias("tiny", "champion", "1")
    sha256 = folders.read_manifest(bundle).digest.removeprefix("sha256:")
    assert find("models:/tiny@champion") == find("models:/tiny/1") == Version("tiny", "1", sha256)
    (tmp_path / "one").mkdir()
    folder = download(find("models:/tiny/1"), tmp_path / "one")
    assert files_of(folder) == {*folders.read_manifest(bundle).files, folders.MANIFEST}
    assert open_model("models:/tiny/1").labels == ["card", "login", "transfer"]
    for model, words in (
        ("models:/tiny@nobody", "is not in the registry"),
        ("models:/tiny/9", "is not in the registry"),
    ):
        with pytest.raises(UsageError, match=words):
            find(model)
    with pytest.raises(UsageError, match="was not registered by fineline"):
        find("models:/tiny/3")
    with pytest.raises(ResourceError, match="its tag says ffffffffffff"):
        download(find("models:/tiny/2"), tmp_path / "two")

    stored = Path(connection.client().get_model_version_download_uri("tiny", "1")) / "artifacts" / "bundle"
    manifest = json.loads((stored / "manifest.json").read_text())
    (stored / "tokenizer.json").write_text((stored / "tokenizer.json").read_text() + " ")
    with pytest.raises(ResourceError, match="is missing or damaged"):
        download(find("models:/tiny/1"), tmp_path / "three")
    manifest["files"]["tokenizer.json"] = {
        "sha256": folders.sha256_file(stored / "tokenizer.json"),
        "bytes": (stored / "tokenizer.json").stat().st_size,
    }
    manifest["digest"] = folders.digest_of(manifest["files"])
    folders.write_json(stored / "manifest.json", manifest)  # whoever changes the files can change their manifest too
    with pytest.raises(ResourceError, match=f"its tag says {sha256[:12]}"):
        download(find("models:/tiny/1"), tmp_path / "four")
    for file in sorted(stored.rglob("*"), reverse=True):
        file.unlink()
    with pytest.raises(ResourceError, match="is missing or damaged"):
        download(find("models:/tiny/1"), tmp_path / "five")
