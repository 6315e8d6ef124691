"""fineline promote, approve, reject, rollback, history, status against a real MLflow server, which also dies in between."""

import json
from typing import Any

import pytest

from components.promote import promotion
from fineline.registry import ledger, model_versions
from fineline.tracking import connection
from tests.cli.registered_models import champion, lines
from tests.mlflow_server import Server


def test_promote_compares_and_moves(fineline, name, tmp_path) -> None:
    code, out, error = fineline("promote", "--version", 2, "--out", tmp_path / "evidence")
    assert (code, error) == (0, "")
    assert f"promote: models:/{name}/2 is champion, before it 1; superior in accuracy: +0.3000" in out
    assert json.loads((tmp_path / "evidence" / "promotion.json").read_text())["moved"]
    code, _, error = fineline("promote", "--version", 2, "--out", tmp_path / "evidence")
    assert code == 2
    assert "evidence exists already" in error
    code, out, _ = fineline("promote")  # the challenger
    assert code == 0
    assert champion(name) == 3
    assert lines(name) == [(None, 1, "promote"), (1, 2, "promote"), (2, 3, "promote")]


def test_promote_refuses_what_is_not_better_unless_forced(fineline, name) -> None:
    ledger.move(connection.client(), name, model_versions.CHAMPION, 3, verdict="promote", reason="")
    code, out, error = fineline("promote", "--version", 2)
    assert code == 5
    assert "evidence: run" in out
    assert "version 2 is not promoted; hold: " in error
    assert champion(name) == 3
    code, _, error = fineline("promote", "--version", 2, "--force")
    assert code == 2
    assert "--force needs --reason" in error
    code, out, _ = fineline("promote", "--version", 2, "--force", "--reason", "3 is too large")
    assert code == 0
    assert out.splitlines()[-1].startswith("forced, the verdict was hold: ")
    assert champion(name) == 2
    line = ledger.read(connection.client(), name)[-1]
    assert (line["from"], line["to"], line["verdict"]) == (3, 2, "forced")
    assert line["reason"].startswith("3 is too large (verdict hold: ")


@pytest.mark.parametrize("force", [(), ("--force", "--reason", "urgent")])
def test_a_version_that_was_damaged_is_not_promoted(force, fineline, name, bundles, tmp_path) -> None:
    version = connection.client().get_model_version(name, "2")
    damaged = tmp_path / "model.onnx"
    damaged.write_bytes((bundles[0]["better"] / "model.onnx").read_bytes() + b"x")
    connection.client().log_model_artifact(version.source.removeprefix("models:/"), str(damaged), "artifacts/bundle")
    code, _, error = fineline("promote", "--version", 2, *force)
    assert code in (2, 4)
    assert "model.onnx" in error
    assert champion(name) == 1


def waits_for_approval(name: str, version: int = 2) -> None:
    said = {"when": "2026-01-01T00:00:00+00:00", "verdict": "promote", "reason": "superior", "champion": 1}
    model_versions.note(
        connection.client(), name, version, model_versions.WAITS, {**said, "evidence": {"run": "r", "path": "p"}}
    )


def test_approve_moves_what_waits(fineline, name) -> None:
    waits_for_approval(name)
    assert "fineline approve 2 --reason ..." in fineline("status")[1]
    code, out, error = fineline("approve", 2, "--reason", "read the lost rows")
    assert (code, error) == (0, "")
    assert out == f"models:/{name}/2 is champion, before it 1\n"
    assert lines(name)[-1] == (1, 2, "approved")
    assert ledger.read(connection.client(), name)[-1]["evidence"] == {"run": "r", "path": "p"}
    code, _, error = fineline("approve", 2, "--reason", "again")
    assert code == 2
    assert "waits for nothing" in error


def test_an_approval_does_not_outlive_the_champion_it_was_about(fineline, name) -> None:
    waits_for_approval(name)
    ledger.move(connection.client(), name, model_versions.CHAMPION, 3, verdict="promote", reason="")
    code, _, error = fineline("approve", 2, "--reason", "late")
    assert code == 2
    assert "was compared with champion 1, the champion is 3 now" in error
    assert "fineline promote --version 2" in error
    assert champion(name) == 3


def test_reject_keeps_a_version_out_until_a_person_asks(fineline, name) -> None:
    waits_for_approval(name)
    assert fineline("reject", 2, "--reason", "rude")[0] == 0
    status = fineline("status")[1]
    assert "rejected    version 2 by " in status
    assert "waits" not in status
    assert fineline("approve", 2, "--reason", "no")[0] == 2
    code, _, error = fineline("reject", 1, "--reason", "no")
    assert code == 2
    assert "serves" in error
    assert fineline("promote", "--version", 2)[0] == 0
    assert "rejected" not in fineline("status")[1]


def test_rollback_returns_to_the_champion_before_and_further(fineline, name) -> None:
    server = connection.client()
    for version in (2, 3):
        ledger.move(server, name, model_versions.CHAMPION, version, verdict="promote", reason="")
    code, out, error = fineline("rollback", "--reason", "complaints")
    assert (code, error) == (0, "")
    assert out == f"models:/{name}/2 is champion again, before it 3; it passed its self-test\n"
    assert fineline("rollback", "--reason", "more complaints")[0] == 0
    assert champion(name) == 1  # not back to 3, which was left for a reason
    assert ledger.rejection(server, name, 3)["reason"] == "complaints"
    code, _, error = fineline("rollback", "--reason", "still")
    assert code == 2
    assert "had no champion before this one" in error
    assert fineline("rollback", "--to", 3, "--reason", "it was the network")[0] == 0
    assert lines(name)[-3:] == [(3, 2, "rollback"), (2, 1, "rollback"), (1, 3, "rollback")]
    assert fineline("rollback", "--to", 3, "--reason", "again")[0] == 2


def test_rollback_proves_the_target_first(fineline, name, bundles, tmp_path) -> None:
    server = connection.client()
    ledger.move(server, name, model_versions.CHAMPION, 3, verdict="promote", reason="")
    config = json.loads((bundles[0]["better"] / "bundle.json").read_text())
    sick = tmp_path / "bundle.json"
    sick.write_text(json.dumps({**config, "labels": config["labels"][::-1]}))
    model_id = server.get_model_version(name, "2").source.removeprefix("models:/")
    server.log_model_artifact(model_id, str(sick), "artifacts/bundle")
    code, _, error = fineline("rollback", "--to", 2, "--reason", "because")
    assert code in (2, 4)
    assert "bundle" in error
    assert champion(name) == 3
    code, _, error = fineline("rollback", "--to", 7, "--reason", "because")
    assert (code, "versions: 1, 2, 3" in error) == (2, True)


def test_an_alias_moved_by_hand_is_seen_and_settled(fineline, name) -> None:
    connection.client().set_registered_model_alias(name, model_versions.CHAMPION, "3")
    assert "astray      champion is at version 3, the ledger says 1" in fineline("status")[1]
    code, _, error = fineline("promote", "--version", 2)
    assert code == 2
    assert "moved outside fineline" in error
    assert fineline("rollback", "--to", 3, "--reason", "as it is")[0] == 0
    assert "astray" not in fineline("status")[1]
    assert lines(name)[-1] == (1, 3, "rollback")


def test_history_and_status_tell_it_all(fineline, name) -> None:
    fineline("promote", "--version", 3)
    out = fineline("history", "--alias", "champion")[1].splitlines()
    assert [line.split()[3:5] for line in out[1:]] == [["-", "1"], ["1", "3"]]
    shown = [json.loads(line) for line in fineline("history", "--json")[1].splitlines()]
    assert shown == ledger.read(connection.client(), name)
    status = fineline("status")[1]
    assert status.startswith("champion    version 3 since ")
    assert "promote: superior in accuracy" in status
    assert f"evidence: run {shown[-1]['evidence']['run']}, promote/3-against-1" in status
    assert "test set    200 rows since " in status
    found = json.loads(fineline("status", "--json")[1])
    assert (found["champion"]["version"], found["test_set"]["rows"], found["astray"]) == (3, 200, [])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("status", "--name", "nobody"), "no model nobody is registered"),
        (("promote", "--version", 9), "has no version 9"),
        (("promote", "--version", 0), "has no version 0"),
        (("approve", 9, "--reason", "x"), "has no version 9"),
        (("rollback", "--reason", "  "), "--reason is empty"),
        (("rollback", "--to", 0, "--reason", "x"), "--to 0 is no version"),
        (("repair", "--alias", "champion"), "--alias and --keep go together"),
        (("repair", "--alias", "nobody", "--keep", "ledger"), "has no alias nobody"),
        (("rollback", "--reason", "x" * 1001), "1,001 characters, 1,000 fit"),
    ],
)
def test_wrong_use(words, expected, fineline) -> None:
    code, _, error = fineline(*words)
    assert code == 2
    assert expected in error
    assert len(error.splitlines()) == 2


def kill_before(owner: Any, function: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's machine dies at the moment that `function` is called first."""
    original = getattr(owner, function)

    def dying(*arguments: Any, **named: Any) -> Any:
        server.kill()
        return original(*arguments, **named)

    monkeypatch.setattr(owner, function, dying)


PROMOTE = ("promote", "--version", 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "function", "written", "words"),
    [
        (promotion, "_log", 1, PROMOTE),
        (ledger, "append", 1, PROMOTE),
        (ledger, "set_alias", 2, PROMOTE),
        (ledger, "publish", 2, PROMOTE),
        (ledger, "set_alias", 2, ("rollback", "--to", 2, "--reason", "because")),
    ],
    ids=["after the scoring", "before the line", "between line and alias", "after the alias", "in a rollback"],
)
def test_a_server_that_dies_leaves_the_champion_and_the_same_command_ends_it(
    owner, function, written, words, fineline, name, mlflow_server, monkeypatch
) -> None:
    with monkeypatch.context() as patch:
        kill_before(owner, function, mlflow_server, patch)
        code, _, error = fineline(*words)
    mlflow_server.start()
    assert code == 4
    assert "does not answer" in error
    assert len(lines(name)) == written
    assert champion(name) == (2 if function == "publish" else 1)
    assert fineline(*words)[0] == 0
    assert champion(name) == 2
    assert [line[:2] for line in lines(name)] == [(None, 1), (1, 2)]
    assert "astray" not in fineline("status")[1]
