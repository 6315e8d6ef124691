"""The ledger against a real MLflow server: lines that never change, aliases that follow, and what happens in between."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fineline.process.errors import UsageError
from fineline.registry import ledger, model_versions
from fineline.tracking import connection
from tests.mlflow_server import Server, running

CHAMPION = model_versions.CHAMPION


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture
def client(mlflow_server: Server, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
    return connection.client()


@pytest.fixture
def name(client: Any, request: pytest.FixtureRequest) -> str:
    """A registered model of this test alone, with three versions."""
    name = request.node.name.replace("/", " ")[:100]
    for number in range(3):
        tags = {model_versions.SHA256: str(number)}
        model_versions.create_version(
            client, name, source="s3://nowhere/model", model_id="", run_id="", tags=tags, description=""
        )
    return name


@pytest.fixture
def move(client: Any, name: str) -> Callable[..., Any]:
    """move(2, expected=1) moves the champion of the test's model."""

    def run(version: int, verdict: str = "promote", reason: str = "better", **more: Any) -> Any:
        return ledger.move(client, name, CHAMPION, version, verdict=verdict, reason=reason, **more)

    return run


def test_a_move_is_a_line_a_tag_an_entry_of_the_file_and_an_alias(client, name, move, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    first = move(1, expected=None, evidence={"run": "r1"})
    second = move(2, expected=1)
    assert (first["number"], first["from"], first["to"], first["who"]) == (1, None, 1, "ann")
    assert first["evidence"] == {"run": "r1"}
    assert (second["number"], second["from"], second["to"]) == (2, 1, 2)
    assert ledger.read(client, name) == [first, second]
    assert ledger.aliases(client, name) == {CHAMPION: 2}
    tags = client.get_registered_model(name).tags
    assert [json.loads(tags[f"ledger.00000{number}.champion"]) for number in (1, 2)] == [first, second]
    file = Path(client.download_artifacts(ledger.run_of(client, name), ledger.FILE, str(tmp_path)))
    assert [json.loads(line) for line in file.read_text().splitlines()] == [first, second]


def test_a_move_to_where_it_is_writes_nothing(client, name, move) -> None:
    move(1)
    assert move(1) is None
    assert len(ledger.read(client, name)) == 1


def test_a_champion_that_changed_meanwhile_is_not_moved(client, name, move) -> None:
    move(1)
    with pytest.raises(ledger.Moved) as caught:
        move(2, expected=None)
    assert caught.value.now == 1
    assert ledger.aliases(client, name) == {CHAMPION: 1}
    assert len(ledger.read(client, name)) == 1


def test_a_line_is_written_once(client, name) -> None:
    run_id = ledger.run_of(client, name)
    assert ledger.append(client, run_id, "series", 1, {"by": "first"})
    assert not ledger.append(client, run_id, "series", 1, {"by": "second"})
    (entry,) = ledger.entries(client, run_id, "series")
    assert (entry["number"], entry["by"]) == (1, "first")


def test_a_refusal_for_another_reason_is_not_taken_for_a_number_that_is_taken(client, name) -> None:
    from mlflow.exceptions import MlflowException

    run_id = ledger.new_run(name)
    client.delete_run(run_id)
    with pytest.raises(MlflowException):
        ledger.append(client, run_id, "series", 1, {})


def test_aliases_have_ledgers_of_their_own_in_one_series(client, name, move) -> None:
    move(1)
    ledger.move(client, name, model_versions.CHALLENGER, 3, verdict="registered", reason="")
    move(2, expected=1)
    assert [(line["alias"], line["from"], line["to"]) for line in ledger.read(client, name)] == [
        (CHAMPION, None, 1),
        (model_versions.CHALLENGER, None, 3),
        (CHAMPION, 1, 2),
    ]


def half_done(client: Any, name: str, to: int) -> None:
    """What a process leaves that died between the line and the alias."""
    state = ledger.settle(client, name, CHAMPION)
    line = {"alias": CHAMPION, "from": state.at(CHAMPION), "to": to, "verdict": "promote", "reason": "", "evidence": {}}
    line |= {"when": "2026-01-01T00:00:00+00:00", "who": "dead"}
    assert ledger.append(client, state.run_id, ledger.MOVES, len(state.lines) + 1, line)


def test_a_move_that_was_cut_short_is_ended_by_the_next_look(client, name, move, tmp_path) -> None:
    move(1)
    half_done(client, name, 2)
    assert ledger.aliases(client, name) == {CHAMPION: 1}
    assert ledger.position(client, name, CHAMPION) == 2
    assert ledger.aliases(client, name) == {CHAMPION: 2}
    assert "ledger.000002.champion" in client.get_registered_model(name).tags
    file = Path(client.download_artifacts(ledger.run_of(client, name), ledger.FILE, str(tmp_path)))
    assert len(file.read_text().splitlines()) == 2
    assert move(3, expected=2)["from"] == 2


def test_who_comes_late_does_not_undo_what_came_after(client, name, move, monkeypatch) -> None:
    """One process stops between its line and its alias; others end its move and make the next; then it goes on."""
    move(1)
    set_alias = ledger.set_alias
    paused = []

    def slow(*arguments: Any) -> None:
        if not paused:
            paused.append(arguments)
            ledger.move(client, name, CHAMPION, 3, expected=2, verdict="promote", reason="another process")
        set_alias(*arguments)

    monkeypatch.setattr(ledger, "set_alias", slow)
    move(2, expected=1)
    assert paused[0][-1] == 2  # it did set its own, late
    assert [line["to"] for line in ledger.read(client, name)] == [1, 2, 3]
    assert ledger.aliases(client, name) == {CHAMPION: 3}


def test_what_a_person_moved_by_hand_is_not_undone_silently(client, name, move) -> None:
    move(1)
    move(2)
    client.set_registered_model_alias(name, CHAMPION, "3")
    with pytest.raises(UsageError) as caught:
        move(1)
    assert "is at version 3, the ledger says 2: it was moved outside fineline" in caught.value.what
    assert "fineline repair --alias champion --keep ledger" in caught.value.hint
    assert ledger.aliases(client, name) == {CHAMPION: 3}
    line = move(3, verdict="rollback", mend=True)
    assert (line["from"], line["to"]) == (2, 3)
    assert ledger.position(client, name, CHAMPION) == 3


def test_an_alias_moved_by_hand_can_be_put_back(client, name, move) -> None:
    move(1)
    client.set_registered_model_alias(name, CHAMPION, "3")
    line = move(1, verdict="rollback", mend=True)
    assert (line["from"], line["to"]) == (3, 1)
    assert ledger.aliases(client, name) == {CHAMPION: 1}


def test_a_rejection_that_comes_in_between_is_seen(client, name, move, monkeypatch) -> None:
    """A promoter has read the ledger and found nothing; before it writes its line, a person rejects the version."""
    move(1)
    append, waiting = ledger.append, [2]

    def slow(*arguments: Any) -> bool:
        if waiting:
            ledger.reject(client, name, waiting.pop(), "rude")
        return append(*arguments)

    monkeypatch.setattr(ledger, "append", slow)
    with pytest.raises(ledger.Moved):
        move(2, unless_rejected=True)
    assert ledger.aliases(client, name) == {CHAMPION: 1}
    assert ledger.rejection(client, name, 2)["reason"] == "rude"
    assert "ledger.000002.rejected" in client.get_registered_model(name).tags
    move(2, expected=1)  # a person asked
    assert ledger.rejection(client, name, 2) is None
    with pytest.raises(ledger.Moved):
        ledger.reject(client, name, 2, "it serves")


def test_another_alias_is_left_alone(client, name, move) -> None:
    move(1)
    ledger.move(client, name, model_versions.CHALLENGER, 2, verdict="registered", reason="")
    client.set_registered_model_alias(name, model_versions.CHALLENGER, "3")
    assert move(2, expected=1)["from"] == 1
    with pytest.raises(UsageError, match="the alias challenger of"):
        ledger.move(client, name, model_versions.CHALLENGER, 1, verdict="registered", reason="")
    assert ledger.aliases(client, name) == {CHAMPION: 2, model_versions.CHALLENGER: 3}
    half_done(client, name, 3)
    assert ledger.position(client, name, CHAMPION) == 3


def test_a_deleted_champion_blocks_nothing(client, name, move) -> None:
    move(1)
    move(2)
    client.delete_model_version(name, "2")
    assert ledger.position(client, name, CHAMPION) == 2  # by the ledger, which is what a rollback starts from
    assert move(1, expected=2, verdict="rollback")["from"] == 2
    assert ledger.aliases(client, name) == {CHAMPION: 1}


def test_a_model_that_fineline_did_not_create_gets_a_ledger(client, request) -> None:
    name = request.node.name
    client.create_registered_model(name)
    client.create_model_version(name, "s3://nowhere/model", await_creation_for=0)
    client.create_model_version(name, "s3://nowhere/model", await_creation_for=0)
    client.set_registered_model_alias(name, CHAMPION, "1")
    line = ledger.move(client, name, CHAMPION, 2, expected=1, verdict="promote", reason="")
    assert (line["number"], line["from"], line["to"]) == (1, 1, 2)


def test_a_long_reason_fits(client, name, move) -> None:
    """Tags of a registered model hold 5,000 characters in SQL stores."""
    evidence = {"run": "r" * 32, "path": "p" * 200, "sha256": "s" * 64}
    move(1, reason="ß" * 5000, evidence=evidence)
    tag = client.get_registered_model(name).tags["ledger.000001.champion"]
    assert len(tag) < 5000
    assert len(json.loads(tag)["reason"]) == ledger.LONGEST_REASON


def test_two_that_create_the_model_at_once_have_one_ledger(client, request, monkeypatch) -> None:
    name = request.node.name
    new_run = ledger.new_run
    made: list[str] = []

    def slow(of: str) -> str:
        run_id = new_run(of)
        made.append(run_id)
        if len(made) == 1:
            model_versions.create_model(client, name)  # the other is faster
        return run_id

    monkeypatch.setattr(ledger, "new_run", slow)
    model_versions.create_model(client, name)
    assert ledger.run_of(client, name) == made[1]
    assert [client.get_run(run_id).info.lifecycle_stage for run_id in made] == ["deleted", "active"]


def test_a_version_that_is_not_there(client, name) -> None:
    with pytest.raises(UsageError) as caught:
        model_versions.version_of(client, name, 9)
    assert "has no version 9" in caught.value.what
    assert caught.value.hint == "versions: 1, 2, 3"


SAID = '{"when": "", "verdict": "promote", "reason": "", "champion": 1, "evidence": {"run": "a"}, "corrected": {}}'


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1", '"one"'),
        ('"when": "", ', ""),
        ('{"run": "a"}', '"a"'),
        ("{}", "[]"),
        ("{}", '{"gain": "much"}'),
        ("{}}", '{}, "since": {"rows": "many"}}'),
        (SAID, "[1]"),
        (SAID, "soon"),
    ],
)
def test_a_note_on_a_version_that_was_edited_is_named(old, new) -> None:
    from mlflow.entities.model_registry import ModelVersion, ModelVersionTag

    for text in (SAID, SAID.replace(old, new)):
        tags = [ModelVersionTag(model_versions.VERDICT, text)]
        version = ModelVersion("tiny", "2", 0, tags=tags)
        if text == SAID:
            assert model_versions.read_note(version, model_versions.VERDICT)["champion"] == 1
            continue
        with pytest.raises(UsageError, match=r"the tag promotion\.verdict of version 2 of tiny was edited"):
            model_versions.read_note(version, model_versions.VERDICT)
