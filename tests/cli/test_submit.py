"""fineline submit against a real HTTP server that answers as Kubeflow Pipelines does: what is uploaded, and what a run gets."""

import json
import threading
from pathlib import Path

import pytest
import yaml

from cli.__main__ import main
from fineline.process.errors import UsageError
from pipelines import blocks, client, packages
from pipelines.compiler import package, version_name
from tests.conftest import PROJECT
from tests.pipelines.kubeflow_server import KubeflowServer

UPLOAD = "POST pipelines/upload_version"


def submit(server: KubeflowServer, *flags: str) -> int:
    return main(["submit", "--host", server.url, *flags])


def arguments(server: KubeflowServer) -> dict:
    """The arguments of the newest run."""
    return list(server.runs.values())[-1]["runtime_config"]["parameters"]


def test_the_first_submission_makes_pipeline_version_experiment_and_run(
    server: KubeflowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(server, "--experiment", "team") == 0
    assert server.changes == ["POST pipelines", UPLOAD, "POST experiments", "POST runs"]
    (pipeline,), (version,), (run,) = (list(kept.values()) for kept in (server.pipelines, server.versions, server.runs))
    assert pipeline["display_name"] == "fineline-training"
    assert version["display_name"] == version_name(package(*blocks.read()))
    assert next(iter(server.experiments.values()))["display_name"] == "team"
    assert run["runtime_config"]["parameters"] == {}
    assert run["display_name"].startswith("fineline-training 2")
    output = capsys.readouterr().out
    assert f"{server.url}/#/runs/details/{run['run_id']}" in output
    assert f"{version['display_name']}, uploaded now" in output


def test_the_second_submission_uses_what_is_there(server: KubeflowServer, capsys: pytest.CaptureFixture[str]) -> None:
    submit(server)
    server.requests.clear()
    assert submit(server) == 0
    assert server.changes == ["POST runs"]
    assert "on the server already" in capsys.readouterr().out


def test_what_set_changes_of_the_inputs_is_the_runs_and_uploads_nothing(server: KubeflowServer) -> None:
    submit(server)
    assert submit(server, "--set", "train.epochs=2", "--set", "cluster.gpu_type=amd.com/gpu") == 0
    assert len(server.versions) == 1
    given = arguments(server)
    assert set(given) == {"train_params", "gpu_type"}
    usual = blocks.read()[0]["train"]
    assert given["train_params"] == {**json.loads(json.dumps(usual)), "epochs": 2}
    assert given["gpu_type"] == "amd.com/gpu"


def test_what_set_changes_otherwise_is_a_version_of_its_own(server: KubeflowServer) -> None:
    submit(server)
    assert submit(server, "--set", "cluster.retries=5", "--set", "train.epochs=2") == 0
    assert set(arguments(server)) == {"train_params"}
    assert submit(server, "--set", "cluster.retries=5", "--set", "train.epochs=3") == 0
    assert submit(server, "--set", "cluster.retries=5") == 0
    assert len(server.versions) == 2
    assert server.changes.count(UPLOAD) == 2
    specifications = [version["pipeline_spec"] for version in server.versions.values()]
    inputs = [specification["root"]["inputDefinitions"] for specification in specifications]
    assert inputs[0] == inputs[1]


def test_no_cache_reaches_every_task_also_in_nested_pipelines(server: KubeflowServer) -> None:
    assert submit(server) == 0
    assert submit(server, "--no-cache") == 0
    usual, uncached = (version["pipeline_spec"] for version in server.versions.values())
    assert "enableCache: true" in yaml.dump(usual)
    assert "enableCache: true" not in yaml.dump(uncached)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--set", "trian.epochs=2"], "did you mean train?"),
        (["--set", "train.epoch=2", "--set", "split.test_share=7"], "split.test_share = 7"),
        (["--set", "cluster.gpu_count=-1"], "cluster.gpu_count"),
        (["--set", f"train.model={'x' * 115_000}"], "train_params alone 115,"),
        (["--set", f"pin.source={'<' * 20_000}"], "pin_params alone 120,0"),
        (["--set", "train.epochs"], "not BLOCK.NAME=VALUE"),
        (["--params", "missing.yaml"], "missing.yaml does not exist"),
    ],
)
def test_nothing_wrong_reaches_the_server(
    server: KubeflowServer, capsys: pytest.CaptureFixture[str], flags: list[str], expected: str
) -> None:
    assert submit(server, *flags) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert "Traceback" not in error
    assert server.requests == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"epochs": 1}, "no input epochs"),
        ({"gpu_count": 2}, "gpu_count of the pipeline is of type STRING"),
        ({"train_params": "{}"}, "train_params of the pipeline is of type STRUCT"),
        ({"train_params": True}, "train_params"),
    ],
)
def test_arguments_are_checked_against_the_compiled_inputs(given: dict, expected: str) -> None:
    inputs = next(yaml.safe_load_all(package(*blocks.read(file=PROJECT / "params.yaml"))))["root"]["inputDefinitions"]
    with pytest.raises(UsageError, match=expected):
        packages.check(given, inputs["parameters"])
    packages.check({"gpu_count": "2", "train_params": {}}, inputs["parameters"])


def test_the_service_account_is_the_runs(server: KubeflowServer) -> None:
    for account in ("fineline-steps", "default-editor", "''"):
        assert submit(server, "--set", f"cluster.service_account={account}") == 0
    assert len(server.versions) == 1
    assert [run.get("service_account") for run in server.runs.values()] == [
        "fineline-steps",
        "default-editor",
        "pipeline-runner",
    ]


def test_several_at_once_make_one_version(server: KubeflowServer) -> None:
    content = packages.prepare("training", [], Path("params.yaml"))
    connections = [client.connect(server.url, None) for _ in range(6)]
    start = threading.Barrier(len(connections))
    made: list[tuple[str, bool, str]] = []

    def work(connection: client.Server) -> None:
        start.wait()
        version, is_new = packages.upload(connection, content)
        made.append((version.pipeline_version_id, is_new, packages.experiment(connection, "team")))

    threads = [threading.Thread(target=work, args=(connection,)) for connection in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 6
    assert len({(version, experiment) for version, _, experiment in made}) == 1
    assert sum(is_new for _, is_new, _ in made) == 1
    assert [len(kept) for kept in (server.pipelines, server.versions, server.experiments)] == [1, 1, 1]


def test_a_multi_user_server_needs_the_namespace(server: KubeflowServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.multi_user = True
    assert submit(server) == 2
    assert "--namespace NS" in capsys.readouterr().err
    assert server.changes == []
    assert submit(server, "--namespace", "team-a") == 0
    assert {kept["namespace"] for kept in (*server.pipelines.values(), *server.experiments.values())} == {"team-a"}
    server.multi_user = False
    assert submit(server, "--namespace", "team-a") == 2
    assert "single-user" in capsys.readouterr().err


def test_what_the_server_refuses_is_one_line(server: KubeflowServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.trouble = {"POST runs": [400]}
    assert submit(server) == 4
    error = capsys.readouterr().err
    assert "answers 400: no healthy upstream" in error
    assert "Traceback" not in error
