"""Files that decide are found in either of their two places, and only with the bytes that were kept."""

from pathlib import Path

import pytest

from fineline.artifacts import folders
from fineline.process.errors import ResourceError
from fineline.registry import archive, ledger, model_versions
from fineline.tracking import connection


def test_whichever_copy_is_whole_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    server = connection.client()
    model_versions.create_model(server, "tiny")
    run_id = ledger.run_of(server, "tiny")
    file = tmp_path / "rows.txt"

    def kept(text: str) -> str:
        file.write_text(text)
        return archive.keep(server, "tiny", run_id, file, "set")

    def fetched(digest: str) -> str:
        return archive.fetch(server, "tiny", run_id, "set/rows.txt", digest, tmp_path).read_text()

    first = kept("first")
    assert (first, fetched(first)) == (folders.sha256_file(file), "first")
    archived = server.get_logged_model(server.get_registered_model("tiny").tags[archive.TAG])
    assert (archived.tags["fineline.ledger"], server.get_run(run_id).data.tags["fineline.ledger"]) == ("tiny", "tiny")
    second = kept("second")  # in the run it takes the place of the first
    assert (fetched(first), fetched(second)) == ("first", "second")
    server.delete_logged_model(server.get_registered_model("tiny").tags[archive.TAG])
    assert fetched(second) == "second"
    with pytest.raises(ResourceError, match="is gone or was changed, and tiny has no copy of it"):
        fetched(first)
    third = kept("third")  # into another archive
    server.delete_run(run_id)
    file.write_text("changed")
    (found,) = (tmp_path / "mlruns").glob(f"*/{run_id}/artifacts/set/rows.txt")
    found.unlink()
    assert fetched(third) == "third"
    server.set_registered_model_tag("tiny", archive.TAG, "edited")
    with pytest.raises(ResourceError):
        fetched(third)
