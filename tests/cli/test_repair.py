"""What a kill, a hand, a deletion and a cleaning leave of ledger and aliases, and that what is advised then mends it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cli import rollback
from components.promote import budget
from fineline.artifacts import folders
from fineline.process.errors import UsageError
from fineline.registry import archive, ledger, model_versions
from fineline.registry.ledger_state import DONE, OUTSIDE, REPAIRED, ROLLBACK, State, copies, key_of
from fineline.tracking import connection
from tests.cli.registered_models import champion, killed_in, lines
from tests.mlflow_server import Server

CHAMPION, CHALLENGER = model_versions.CHAMPION, model_versions.CHALLENGER
BECAUSE = ("--reason", "because")


def serve(name: str, *versions: int) -> None:
    for version in versions:
        ledger.move(connection.client(), name, CHAMPION, version, verdict="promote", reason="better")


def by_hand(name: str, alias: str, version: int) -> None:
    connection.client().set_registered_model_alias(name, alias, str(version))


def rejected(name: str) -> set[int]:
    return set(ledger.look(connection.client(), name).rejected())


def test_drift_of_the_challenger_blocks_nothing_else_and_is_repaired_either_way(fineline, name) -> None:
    by_hand(name, CHALLENGER, 1)
    status = fineline("status")[1]
    assert "astray      challenger is at version 1, the ledger says 3: moved outside fineline" in status
    code, _, error = fineline("promote")
    assert code == 2
    assert champion(name) == 1
    advised = re.findall(r"'fineline (repair --alias challenger --keep ledger)'", error)
    assert advised
    assert advised[0] in status
    assert fineline("promote", "--version", 2)[0] == 0
    assert fineline("rollback", *BECAUSE)[0] == 0
    assert ledger.aliases(connection.client(), name) == {CHAMPION: 1, CHALLENGER: 1}  # left where it was put

    shown = [line.split(None, 3) for line in fineline("repair")[1].splitlines()[1:]]
    assert shown == [["challenger", "3", "1", "moved outside fineline"], ["champion", "1", "1", "agrees"]]
    assert fineline(*advised[0].split())[:2] == (
        0,
        "challenger is at version 3, by the ledger and on the server; before, the ledger said 3, the server 1\n",
    )
    assert "astray" not in fineline("status")[1]
    by_hand(name, CHALLENGER, 2)
    assert fineline("repair", "--alias", "challenger", "--keep", "server", *BECAUSE)[0] == 0
    assert ledger.aliases(connection.client(), name) == {CHAMPION: 1, CHALLENGER: 2}
    found = [line for line in ledger.read(connection.client(), name) if line["alias"] == CHALLENGER][-2:]
    assert [(line["from"], line["to"], line["verdict"], line["reason"]) for line in found] == [
        (1, 3, REPAIRED, "the ledger is right"),
        (3, 2, OUTSIDE, "because"),
    ]
    before = ledger.read(connection.client(), name)
    assert "nothing to repair" in fineline("repair", "--alias", "challenger", "--keep", "ledger")[1]
    assert ledger.read(connection.client(), name) == before


def test_a_rollback_that_was_killed_is_finished_and_goes_no_step_further(fineline, name) -> None:
    serve(name, 2, 3)
    killed_in("set_alias", "rollback", *BECAUSE)
    assert champion(name) == 3
    assert rejected(name) == {3}  # in the ledger before the alias moved
    assert "[half done: cut short before champion moved]" in fineline("history")[1].splitlines()[-1]
    assert [json.loads(line).get("half_done") for line in fineline("history", "--json")[1].splitlines()][-1]
    status = fineline("status")[1]
    assert "astray      champion is at version 3, the ledger says 2: the move to 2 was cut short" in status
    assert "repair --alias champion --keep ledger" in status
    by_hand(name, CHALLENGER, 1)
    fineline("repair", "--alias", "challenger", "--keep", "server")
    assert champion(name) == 3  # a command about another alias leaves it
    assert "would finish" in fineline("rollback", *BECAUSE, "--dry-run")[1]
    assert champion(name) == 3

    code, out, error = fineline("rollback", *BECAUSE)
    assert (code, champion(name), rejected(name)) == (0, 2, {3})
    assert out.endswith("is champion: its move was cut short and is finished; nothing else moved\n")
    assert error == "ledger: the move of champion to version 2 (rollback) was cut short; it is finished now\n"
    assert lines(name)[-1] == (3, 2, "rollback")
    assert "half done" not in fineline("history")[1]
    assert fineline("rollback", *BECAUSE)[0] == 0
    assert (champion(name), rejected(name)) == (1, {2, 3})


def test_a_promotion_that_was_killed_is_undone_by_rollback_and_ended_by_promote(fineline, name) -> None:
    serve(name, 2)
    killed_in("set_alias", "promote", "--version", 3)
    assert (champion(name), lines(name)[-1]) == (2, (2, 3, "promote"))
    code, out, _ = fineline("rollback", *BECAUSE)
    assert (code, champion(name), lines(name)[-1], rejected(name)) == (0, 2, (3, 2, "rollback"), {3})
    assert "the move to 3 was cut short and is undone, it never served" in out
    killed_in("set_alias", "promote", "--version", 3)
    code, _, error = fineline("promote", "--version", 3)
    assert (code, champion(name), rejected(name)) == (0, 3, set())
    assert "was cut short; it is finished now" in error


def test_a_champion_moved_by_hand_is_undone_by_rollback(fineline, name) -> None:
    serve(name, 2)
    by_hand(name, CHAMPION, 3)
    would = fineline("rollback", *BECAUSE, "--dry-run")[1]
    assert f"would make models:/{name}/2 champion again" in would
    assert "version 3 would count as rejected" in would
    assert (champion(name), len(lines(name))) == (3, 2)
    assert fineline("rollback", *BECAUSE)[0] == 0
    assert (champion(name), rejected(name), lines(name)[-1]) == (2, {3}, (3, 2, "rollback"))
    by_hand(name, CHAMPION, 1)  # back by hand: rollback records it
    assert fineline("rollback", *BECAUSE)[0] == 0
    assert (champion(name), rejected(name), lines(name)[-1]) == (1, {2, 3}, (2, 1, "rollback"))
    assert fineline("rollback", *BECAUSE)[0] == 2  # there was none before
    by_hand(name, CHAMPION, 2)  # and whatever was rejected serves again once a person says so
    assert fineline("repair", "--alias", "champion", "--keep", "server")[0] == 0
    assert rejected(name) == {3}


def test_a_deleted_champion_and_a_deleted_challenger_are_named_with_what_to_do(fineline, name) -> None:
    serve(name, 2)
    connection.client().delete_model_version(name, "2")
    status = fineline("status")[1]
    assert status.startswith("champion    none: nothing serves")
    assert "astray      champion is nowhere, the ledger says 2: version 2 was deleted" in status
    assert "'fineline rollback --reason ...' returns to the champion before it" in status
    assert fineline("repair", "--alias", "champion", "--keep", "ledger")[0] == 2
    code, _, error = fineline("promote")
    assert code == 5
    assert "the champion, version 2, was deleted" in error
    assert "fineline rollback" in error
    assert fineline("rollback", *BECAUSE)[0] == 0
    assert (champion(name), lines(name)[-1]) == (1, (2, 1, "rollback"))
    connection.client().delete_model_version(name, "1")
    assert fineline("rollback", *BECAUSE)[0] == 2
    assert fineline("promote", "--version", 3, "--force", *BECAUSE)[0] == 0
    assert champion(name) == 3
    connection.client().delete_model_version(name, "3")
    assert "astray      challenger is nowhere, the ledger says 3: version 3 was deleted" in fineline("status")[1]
    code, _, error = fineline("promote")
    assert code == 2
    assert "the challenger of" in error
    assert "was deleted" in error


def test_what_promote_would_do_is_said_and_costs_nothing(fineline, name) -> None:
    server, run_id = connection.client(), ledger.run_of(connection.client(), name)
    before = server.get_run(run_id).data.params
    code, out, error = fineline("promote", "--dry-run")
    assert (code, error) == (0, "")
    assert out == (
        f"would compare version 3 with champion 1 on 200 frozen test rows (question 1, at level 0.013) and make "
        f"models:/{name}/3 champion, before it 1 if the verdict is promote; it passed its self-test\n"
    )
    assert server.get_run(run_id).data.params == before
    assert champion(name) == 1


def garbage_collected(server: Server) -> None:
    store, files = f"sqlite:///{server.folder}/mlflow.db", str(server.folder / "files")
    words = ["gc", "--backend-store-uri", store, "--artifacts-destination", files, "--tracking-uri", server.uri]
    subprocess.run([sys.executable, "-m", "mlflow", *words], check=True, capture_output=True, env=dict(os.environ))


def test_the_ledger_survives_the_cleaning_of_all_runs(fineline, name, mlflow_server, tmp_path) -> None:
    assert fineline("promote", "--version", 2)[0] == 0
    server = connection.client()
    run_id = ledger.run_of(server, name)
    kept, questions = ledger.read(server, name), ledger.entries(server, run_id, budget.SERIES)
    for run in server.search_runs([server.get_run(run_id).info.experiment_id]):
        server.delete_run(run.info.run_id)
    assert "its run was deleted, so nothing can be written: 'fineline repair' restores it" in fineline("status")[1]
    code, _, error = fineline("rollback", *BECAUSE)
    assert code == 4
    assert f"runs restore --run-id {run_id}" in error
    assert f"the run {run_id} of the ledger was deleted; it is restored" in fineline("repair")[2]
    server.delete_run(run_id)
    garbage_collected(mlflow_server)
    for words in (["status"], ["promote"], ["rollback", *BECAUSE], ["history"]):
        code, _, error = fineline(*words)
        assert (code, "'fineline repair' makes it again" in error) == (4, True), words
    code, out, error = fineline("repair")
    assert code == 0
    assert f"the run {run_id} of the ledger is gone; made again from the model's tags" in error
    assert "champion         2       2  agrees" in out
    assert ledger.read(server, name) == kept
    assert ledger.entries(server, ledger.run_of(server, name), budget.SERIES) == questions
    code, _, error = fineline("promote", "--version", 3)  # on the copies of test set and training rows
    assert code == 0, error
    assert fineline("rollback", *BECAUSE)[0] == 0
    assert (champion(name), [line[:2] for line in lines(name)]) == (2, [(None, 1), (1, 2), (2, 3), (3, 2)])
    check_every_digest(name, tmp_path)


def check_every_digest(name: str, folder: Path) -> None:
    """Each line's evidence, and each state of the test set, is there with the sha256 that the ledger says."""
    server = connection.client()
    run_id = ledger.run_of(server, name)
    found = [
        (line["evidence"]["run"], f"{line['evidence']['path']}/{folders.PROMOTION}", line["evidence"]["sha256"])
        for line in ledger.entries(server, run_id)
        if "sha256" in line["evidence"]
    ]
    found += [(state["run"], state["path"], state["digest"]) for state in ledger.entries(server, run_id, "test_set")]
    assert len(found) >= 2
    for run, path, digest in found:
        assert folders.sha256_file(archive.fetch(server, name, run, path, digest, folder)) == digest


def test_the_same_two_compared_again_keep_both_files_of_evidence(fineline, name, tmp_path) -> None:
    assert fineline("promote", "--version", 2)[0] == 0
    assert fineline("rollback", *BECAUSE)[0] == 0
    assert fineline("promote", "--version", 2, "--force", *BECAUSE)[0] == 0
    server = connection.client()
    evidence = [
        line["evidence"] for line in ledger.read(server, name) if line["to"] == 2 and "sha256" in line["evidence"]
    ]
    assert len({entry["path"] for entry in evidence}) == 2
    for entry in evidence:
        at = server.download_artifacts(entry["run"], f"{entry['path']}/{folders.PROMOTION}", str(tmp_path))
        assert folders.sha256_file(Path(at)) == entry["sha256"]
    check_every_digest(name, tmp_path)


def test_a_copy_that_was_edited_is_written_again_and_never_made_a_ledger_of(fineline, name) -> None:
    server = connection.client()
    tag = "ledger.000001.challenger"
    wrote = server.get_registered_model(name).tags[tag]
    server.set_registered_model_tag(name, tag, '{"to": 7}')
    assert fineline("promote", "--version", 2)[0] == 0
    assert server.get_registered_model(name).tags[tag] == wrote
    server.set_registered_model_tag(name, tag, "[1]")
    server.set_registered_model_tag(name, ledger.RUN_TAG, "none")
    code, _, error = fineline("repair")
    assert (code, error.count("\n")) == (2, 2)
    assert f"the tag {tag} of {name} was edited" in error


def state(*moves: tuple[int | None, int | None, str], at: int | None, done: bool = True, gone: int = 0) -> State:
    """A ledger of these moves (from, to, verdict) of the champion, which the registry has `at`."""
    params = {}
    for number, (before, to, verdict) in enumerate(moves, 1):
        line = {"alias": CHAMPION, "from": before, "to": to, "verdict": verdict}
        params[key_of("ledger", number)] = json.dumps(line)
        if done or number < len(moves):
            params[f"{key_of('ledger', number)}.{DONE}"] = "true"
    return State("run", params, copies(params), {CHAMPION: at} if at else {}, frozenset({gone} - {0}))


UP = ((None, 1, "promote"), (1, 2, "promote"), (2, 3, "promote"))


@pytest.mark.parametrize(
    ("found", "target", "rejects"),
    [
        (state(*UP, at=3), 2, 3),
        (state(*UP, (3, 2, ROLLBACK), at=2), 1, 2),
        (state(*UP, (3, 2, ROLLBACK), (2, 1, ROLLBACK), (1, 3, ROLLBACK), at=3), 1, 3),
        (state(*UP[:2], (2, 1, "forced"), at=1), 2, 1),  # promoted again, not gone back to
        (state(*UP, at=2, done=False), 2, 3),  # cut short: it never served
        (state(*UP, (2, 5, ROLLBACK), at=5), 2, 5),  # 3 was cut short, and left for 5
        (state(*UP[:2], at=3), 2, 3),  # put forward by hand
        (state(*UP, at=2), 2, 3),  # put back by hand
        (state(*UP, at=1), 1, 3),
        (state(*UP, (3, 1, OUTSIDE), at=1), None, None),  # put back by hand, and recorded
        (state(*UP[:2], (2, 3, OUTSIDE), at=3), 2, 3),
        (state(*UP[:2], at=None), 2, None),  # removed by hand
        (state(*UP[:2], at=None, gone=2), 1, 2),  # deleted
        (state(*UP[:2], (2, None, OUTSIDE), at=None), 2, None),
        (state((1, 2, "promote"), at=2), 1, 2),  # 1 served before there was a ledger
        (state((None, 1, "promote"), at=1), None, None),
        (state((None, 1, "promote"), at=None, done=False), None, None),
    ],
)
def test_what_rollback_undoes(found: State, target: int | None, rejects: int | None) -> None:
    if target is None:
        with pytest.raises(UsageError, match="had no champion before this one"):
            rollback.before(found, "tiny")
    else:
        assert (rollback.before(found, "tiny"), rollback.rejects_of(found, target)) == (target, rejects)
