"""fineline schedule against a real HTTP server that answers as Kubeflow Pipelines does: one schedule, whatever happens."""

import copy
from typing import Any

import pytest

from cli.__main__ import main
from cli.schedule import six_fields
from fineline.process.errors import UsageError
from tests.pipelines.kubeflow_server import KubeflowServer

CREATE = "POST recurringruns"
DELETE = "DELETE recurringruns/.*"


def schedule(server: KubeflowServer, action: str, *flags: str) -> int:
    return main(["schedule", action, *flags, "--host", server.url])


def apply(server: KubeflowServer, cron: str = "0 3 * * *", *flags: str) -> int:
    return schedule(server, "apply", "nightly", "--cron", cron, *flags)


def the_only(server: KubeflowServer) -> dict[str, Any]:
    (job,) = server.recurring.values()
    return job


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 3 * * *", "0 0 3 * * *"),
        ("  0   3 * * * ", "0 0 3 * * *"),
        ("*/20 * * * *", "0 0,20,40 * * * *"),
        ("0 3 * * 7", "0 0 3 * * 0"),
        ("0 3 * * 5-7", "0 0 3 * * 0,5,6"),
        ("0 3 * * sat-mon", "0 0 3 * * 0,1,6"),
        ("30 4 1,15 JAN-mar *", "0 30 4 1,15 1,2,3 *"),
        ("0 3 ? * *", "0 0 3 * * *"),
        ("@daily", "0 0 0 * * *"),
        ("@weekly", "0 0 0 * * 0"),
        ("@hourly", "0 0 * * * *"),
    ],
)
def test_cron_as_people_write_it_becomes_what_kubeflow_takes(cron: str, expected: str) -> None:
    assert six_fields(cron) == expected


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 0 3 * * *", "has 6 fields, not 5"),
        ("3 *", "has 2 fields, not 5"),
        ("61 3 * * *", "is no schedule"),
        ("0 3 * * mon-never", "is no schedule"),
        ("0 3 31 2 *", "is no schedule"),
        ("0 3 L * *", "knows no L and no #"),
        ("0 3 * * 1#2", "knows no L and no #"),
        ("@reboot", "is no schedule"),
        ("@every 5m", "is no schedule"),
    ],
)
def test_cron_that_is_none(cron: str, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        six_fields(cron)


def test_apply_creates_once_and_then_leaves_it(server: KubeflowServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert apply(server, "0 3 * * 1-5", "--set", "train.epochs=2", "--experiment", "team") == 0
    job = the_only(server)
    assert job["display_name"] == "nightly"
    assert job["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * 1,2,3,4,5"}}
    assert (job["max_concurrency"], job["no_catchup"], job["status"]) == ("1", True, "ENABLED")
    assert job["runtime_config"]["parameters"]["train_params"]["epochs"] == 2
    assert server.experiments[job["experiment_id"]]["display_name"] == "team"
    output = capsys.readouterr().out
    assert "nightly: created" in output
    assert output.count("03:00 UTC") == 3
    assert "CRON_SCHEDULE_TIMEZONE" in output
    server.requests.clear()
    assert apply(server, "0 3 * * 1-5", "--set", "train.epochs=2", "--experiment", "team") == 0
    assert server.changes == []
    assert "nightly: unchanged\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("cron", "flags"),
    [
        ("0 4 * * *", []),
        ("0 3 * * *", ["--set", "train.epochs=3"]),
        ("0 3 * * *", ["--set", "cluster.retries=7"]),
        ("0 3 * * *", ["--experiment", "other"]),
        ("0 3 * * *", ["--no-cache"]),
    ],
)
def test_apply_replaces_what_differs_without_two_at_a_time(
    server: KubeflowServer, capsys: pytest.CaptureFixture[str], cron: str, flags: list[str]
) -> None:
    apply(server)
    old = the_only(server)["recurring_run_id"]
    server.requests.clear()
    assert apply(server, cron, *flags) == 0
    assert "nightly: replaced\n" in capsys.readouterr().out
    job = the_only(server)
    assert job["recurring_run_id"] != old
    assert job["status"] == "ENABLED"
    of_schedules = [change for change in server.changes if "recurringruns" in change]
    assert of_schedules == [f"POST recurringruns/{old}:disable", CREATE, f"DELETE recurringruns/{old}"]


def test_an_apply_that_is_cut_off_before_the_new_one(
    server: KubeflowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    apply(server)
    server.trouble = {CREATE: [500]}
    assert apply(server, "0 4 * * *") == 4
    assert the_only(server)["status"] == "DISABLED"
    assert apply(server, "0 4 * * *") == 0
    assert "nightly: replaced" in capsys.readouterr().out
    job = the_only(server)
    assert (job["trigger"]["cron_schedule"]["cron"], job["status"]) == ("0 0 4 * * *", "ENABLED")


@pytest.mark.parametrize("again", ["0 4 * * *", "0 3 * * *"])
def test_an_apply_that_is_cut_off_before_the_old_one_is_gone(
    server: KubeflowServer, capsys: pytest.CaptureFixture[str], again: str
) -> None:
    apply(server)
    server.trouble = {DELETE: [500]}
    assert apply(server, "0 4 * * *") == 4
    assert sorted(job["status"] for job in server.recurring.values()) == ["DISABLED", "ENABLED"]
    assert apply(server, again) == 0
    output = capsys.readouterr().out
    assert "nightly: unchanged; 1 left over from an apply that was cut off, removed" in output
    job = the_only(server)
    assert (job["trigger"]["cron_schedule"]["cron"], job["status"]) == (f"0 {again}", "ENABLED")


def test_two_of_the_same_become_one(server: KubeflowServer) -> None:
    apply(server)
    twin = copy.deepcopy(the_only(server)) | {"recurring_run_id": "twin"}
    server.recurring["twin"] = twin
    assert apply(server) == 0
    assert the_only(server)["recurring_run_id"] != "twin"


def test_pause_and_resume(server: KubeflowServer, capsys: pytest.CaptureFixture[str]) -> None:
    apply(server)
    assert schedule(server, "pause", "nightly") == 0
    assert the_only(server)["status"] == "DISABLED"
    assert apply(server) == 0
    assert "nightly: unchanged, paused: fineline schedule resume nightly" in capsys.readouterr().out
    assert the_only(server)["status"] == "DISABLED"
    assert schedule(server, "resume", "nightly") == 0
    assert the_only(server)["status"] == "ENABLED"
    assert "nightly: active, next: 2" in capsys.readouterr().out


def test_list_shows_all_pages_and_only_ours(server: KubeflowServer, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("c", "a", "b"):
        assert schedule(server, "apply", name, "--cron", "@daily") == 0
    schedule(server, "pause", "b")
    job = copy.deepcopy(next(iter(server.recurring.values())))
    server.recurring["foreign"] = job | {"recurring_run_id": "foreign", "display_name": "foreign", "description": ""}
    server.page_size = 2
    capsys.readouterr()
    assert schedule(server, "list") == 0
    head, *rows, _ = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAME", "STATE", "NEXT", "WHAT"]
    assert [row.split()[:2] for row in rows] == [["a", "active"], ["b", "paused"], ["c", "active"]]
    assert "00:00 UTC  @daily: fineline-training 0.1.0-" in rows[0]


def test_delete(server: KubeflowServer, capsys: pytest.CaptureFixture[str]) -> None:
    apply(server)
    assert schedule(server, "delete", "nigthly") == 2
    assert "there is no schedule 'nigthly', did you mean nightly?" in capsys.readouterr().err
    assert schedule(server, "delete", "nightly") == 0
    assert server.recurring == {}
    assert schedule(server, "delete", "nightly") == 2
    assert "schedules are: none yet" in capsys.readouterr().err


def test_somebody_elses_recurring_run_is_left_alone(server: KubeflowServer, capsys: pytest.CaptureFixture[str]) -> None:
    apply(server)
    the_only(server)["description"] = "made by hand"
    server.requests.clear()
    assert apply(server, "0 4 * * *") == 2
    assert schedule(server, "delete", "nightly") == 2
    assert "that fineline did not make" in capsys.readouterr().err
    assert server.changes == []


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["Nightly!", "--cron", "@daily"], "cannot name a schedule"),
        (["nightly", "--cron", "0 0 3 * * *"], "has 6 fields, not 5"),
        (["nightly", "--cron", "@daily", "--set", "train.epochs=-1"], "train.epochs"),
    ],
)
def test_nothing_wrong_reaches_the_server(
    server: KubeflowServer, capsys: pytest.CaptureFixture[str], flags: list[str], expected: str
) -> None:
    assert schedule(server, "apply", *flags) == 2
    assert expected in capsys.readouterr().err
    assert server.requests == []
