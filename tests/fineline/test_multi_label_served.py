"""A bundle of sets of labels, as people and programs get its answers: predict, and both routes of a server."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cli.__main__ import main
from fineline.artifacts import folders
from fineline.bundles.bundle import golden, open_bundle, predict
from tests.serving import Server, serving
from tests.word_bundle import LABELS, write_word_bundle

TEXTS = ["pin", "pin code", "nothing known"]
SETS = [["card"], ["card", "login"], []]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that gives a text each label that one of its words has."""
    folder = tmp_path_factory.mktemp("sets") / "bundle"
    write_word_bundle(folder, {"pin": "card", "code": "login", "wire": "transfer"})
    config = json.loads((folder / "bundle.json").read_text())
    config |= {"task": "multi_label", "thresholds": [0.9] * 3}
    folders.write_json(folder / "bundle.json", config)
    folders.write_json(folder / "bundle.json", {**config, "golden": golden(open_bundle(folder))})
    folders.write_manifest(folder, step="quantize", kind="bundle", params={}, inputs={}, figures={}, task="multi_label")
    return folder


@pytest.fixture(scope="module")
def server(sets: Path) -> Iterator[Server]:
    with serving(sets, "--name", "sets") as running:
        yield running


def test_predict_writes_sets_into_every_format(sets: Path, tmp_path: Path) -> None:
    rows = tmp_path / "in.csv"
    rows.write_text("text\n" + "\n".join(TEXTS) + "\n")
    for name in ("out.csv", "out.parquet", "out.jsonl"):
        assert main(["predict", "--model", str(sets), "--file", str(rows), "--out", str(tmp_path / name)]) == 0
    with (tmp_path / "out.csv").open(newline="") as stream:
        assert [json.loads(row["labels"]) for row in csv.DictReader(stream)] == SETS
    assert pq.read_table(tmp_path / "out.parquet")["labels"].to_pylist() == SETS
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line)["labels"] for line in lines] == SETS


def test_both_routes_answer_with_sets(server: Server, sets: Path) -> None:
    expected = predict(open_bundle(sets), TEXTS)
    assert [one["labels"] for one in expected] == SETS
    assert server.predict(*TEXTS)["predictions"] == expected
    asked = {"inputs": [{"name": "text", "shape": [3], "datatype": "BYTES", "data": TEXTS}]}
    answer = server.post("/v2/models/sets/infer", asked).json()
    found = {output["name"]: output for output in answer["outputs"]}
    assert list(found) == ["given", "score", "probabilities", "labels"]
    assert (found["given"]["datatype"], found["given"]["shape"]) == ("BOOL", [3, 3])
    assert found["given"]["data"] == [label in names for names in SETS for label in LABELS]
    described = server.get("/v2/models/sets").json()["outputs"]
    assert described[0] == {"name": "given", "datatype": "BOOL", "shape": [-1, 3]}
    binary = server.post(
        "/v2/models/sets/infer", {**asked, "outputs": [{"name": "given", "parameters": {"binary_data": True}}]}
    )
    assert binary.content.endswith(bytes(found["given"]["data"]))
    wrong = server.post("/v2/models/sets/infer", {**asked, "outputs": [{"name": "label"}]})
    assert wrong.status_code == 400
    assert "outputs: given, score, probabilities, labels" in wrong.json()["error"]
