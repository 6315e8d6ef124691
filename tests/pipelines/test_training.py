"""The compiled pipeline: every change of it shows in the golden file, and what Kubeflow reads is what the steps are."""

import functools
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.__main__ import main
from fineline.process.errors import UsageError
from pipelines import blocks
from pipelines.blocks import STEPS
from pipelines.compiler import package, version_name
from tests.conftest import PROJECT

GOLDEN = Path(__file__).with_name("training.golden.yaml")


@functools.cache
def compiled(*overrides: str) -> str:
    return package(*blocks.read(overrides, PROJECT / "params.yaml"))


def documents(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The pipeline and its Kubernetes settings by executor."""
    pipeline, platform = yaml.safe_load_all(text)
    return pipeline, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def executors(text: str) -> dict[str, dict[str, Any]]:
    found = documents(text)[0]["deploymentSpec"]["executors"]
    return {name.removeprefix("exec-").replace("-", "_"): entry["container"] for name, entry in found.items()}


def tasks(text: str) -> dict[str, dict[str, Any]]:
    """All tasks of the pipeline and of the pipelines in it, by name."""
    pipeline, _ = documents(text)
    dags = [pipeline["root"]["dag"], *(c["dag"] for c in pipeline["components"].values() if "dag" in c)]
    return {name.replace("-", "_"): task for dag in dags for name, task in dag["tasks"].items()}


def test_golden_file() -> None:
    """To take a change over: UPDATE_GOLDEN=1 pytest tests/pipelines/test_training.py, then read the difference."""
    text = compiled()
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_same_parameters_give_the_same_bytes_and_others_another_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(PROJECT)
    outputs = [tmp_path / "a.yaml", tmp_path / "deep" / "b.yaml", tmp_path / "c.yaml"]
    for out, extra in zip(outputs, ([], [], ["--set", "train.epochs=9"]), strict=True):
        assert main(["compile", "--out", str(out), *extra]) == 0
    first, second, third = (out.read_text() for out in outputs)
    assert first == second != third
    assert version_name(first) in capsys.readouterr().out
    assert version_name(first) != version_name(third)


def test_only_a_compiled_pipeline_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(PROJECT)
    mine, link = tmp_path / "mine.yaml", tmp_path / "link.yaml"
    mine.write_text("pipelineInfo: mine\n")
    link.symlink_to(mine)
    for out in (mine, link, tmp_path):
        assert main(["compile", "--out", str(out)]) == 2
        assert "is no compiled pipeline" in capsys.readouterr().err
    assert mine.read_text() == "pipelineInfo: mine\n"
    mine.write_text("")
    assert [main(["compile", "--out", str(mine)]) for _ in range(2)] == [0, 0]


@pytest.mark.parametrize("step", STEPS)
def test_task_gives_the_step_its_flags_in_its_image(step: str) -> None:
    spec = __import__(f"components.{step}.__main__", fromlist=["STEP"]).STEP
    container = executors(compiled())[step]
    assert container["command"][:3] == ["python", "-m", f"components.{step}"]
    flags = dict(zip(container["command"][3::2], container["command"][4::2], strict=True))
    assert set(flags) == {
        *(f"--{name}" for name in [*spec.documents, *spec.inputs, *spec.outputs, *spec.optional, *spec.overrides]),
        "--params",
        "--executor-input",
    }
    assert container["image"] == f"{{{{$.inputs.parameters['pipelinechannel--{step}_image']}}}}"
    assert flags["--executor-input"] == "{{$}}"


def test_tasks_are_wired_as_dvc_wires_the_stages() -> None:
    stages = yaml.safe_load((PROJECT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    found = tasks(compiled())
    made = {}
    for step, stage in stages.items():
        words = stage["cmd"].split()
        given = dict(zip(words[3::2], words[4::2], strict=True))
        spec = __import__(f"components.{step}.__main__", fromlist=["STEP"]).STEP
        made |= {given[f"--{name}"]: (step, name) for name in spec.outputs}
        for name in spec.inputs:
            source = found[step]["inputs"]["artifacts"][name]
            if "taskOutputArtifact" in source:
                from_task = source["taskOutputArtifact"]
                origin = from_task["producerTask"].replace("-", "_"), from_task["outputArtifactKey"]
                assert origin == made[given[f"--{name}"]]
            else:
                assert source["componentInputArtifact"].startswith("pipelinechannel--")


def test_inputs_hold_the_parameters_of_params_yaml_and_their_changes() -> None:
    inputs = documents(compiled("train.epochs=3", "cluster.gpu_count=4", "cluster.images.train=r/t@sha256:1"))[0][
        "root"
    ]["inputDefinitions"]["parameters"]
    blocks_of_file = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    for step in STEPS:
        assert inputs[f"{step}_params"]["defaultValue"] == {
            **blocks_of_file[step],
            **({"epochs": 3} if step == "train" else {}),
        }
    assert inputs["gpu_count"] == {"defaultValue": "4", "isOptional": True, "parameterType": "STRING"}
    assert inputs["train_image"]["defaultValue"] == "r/t@sha256:1"


def test_every_input_that_a_task_names_reaches_it() -> None:
    """kfp 2.17 forgets those that only resources name; the task then fails when it starts."""
    pipeline, platform = documents(compiled())
    for dag in [pipeline["root"], *(c for c in pipeline["components"].values() if "dag" in c)]:
        known = set(dag.get("inputDefinitions", {}).get("parameters", {}))
        for task in dag["dag"]["tasks"].values():
            for name, given in task.get("inputs", {}).get("parameters", {}).items():
                if "componentInputParameter" in given:
                    assert given["componentInputParameter"] in known, name
    assert platform["exec-train"]["pvcMount"]


def test_caching_is_off_where_what_is_outside_may_have_changed() -> None:
    def cached(*overrides: str) -> set[str]:
        found = tasks(compiled(*overrides))
        return {name for name, task in found.items() if task.get("cachingOptions", {}).get("enableCache")} & {
            *STEPS,
            "finish",
        }

    pure = set(STEPS) - {"pin", "register", "promote"}
    assert cached() == cached("pin.source=dvc://https://host/repo@main:data.csv") == pure
    version, alias = (f"train.init_from=models:/fineline{which}" for which in ("/3", "@champion"))
    assert cached(version) == cached("train.model=owner/name", "train.revision=0123abc") == pure
    assert cached(alias) == cached("train.model=owner/name") == pure - {"train"}


def test_training_pod_has_gpu_shared_memory_volumes_retries_and_a_deadline() -> None:
    text = compiled("cluster.retries=3", "cluster.shm_size=8Gi", "cluster.train_timeout_hours=2")
    _, platform = documents(text)
    pod, container = platform["exec-train"], executors(text)["train"]
    assert container["resources"]["accelerator"]["resourceCount"].endswith("--gpu_count']}}")
    assert pod["emptyDirMounts"] == [
        {"medium": "Memory", "mountPath": "/dev/shm", "sizeLimit": "8Gi", "volumeName": "shm"}
    ]
    assert {mount["mountPath"] for mount in pod["pvcMount"]} == {"/checkpoints", "/hub"}
    assert pod["activeDeadlineSeconds"] == "7200"
    assert tasks(text)["train"]["retryPolicy"] == {
        "backoffDuration": "60s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": "29220s",  # 4 pods of 2 hours, and 1, 2 and 4 minutes between them
        "maxRetryCount": 3,
    }
    for name, settings in platform.items():
        assert settings["securityContext"] == {"runAsGroup": "65532", "runAsNonRoot": True, "runAsUser": "65532"}, name


def test_several_gpus_of_a_pod_are_trained_on_by_torchrun() -> None:
    launcher = [
        "python",
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=gpu",
        "-m",
        "components.train",
    ]
    assert executors(compiled("cluster.gpu_count=2"))["train"]["command"][:7] == launcher
    assert executors(compiled())["train"]["command"][:3] == ["python", "-m", "components.train"]


def test_without_gpu_volumes_and_secrets_nothing_asks_for_them() -> None:
    none = [f"cluster.{name}=" for name in ("checkpoints_claim", "hub_cache_claim", "tracking_secret", "source_secret")]
    text = compiled("cluster.gpu_count=0", *(f'{name}""' for name in none))
    pipeline, platform = documents(text)
    assert "accelerator" not in executors(text)["train"]["resources"]
    assert not any("pvcMount" in settings or "secretAsEnv" in settings for settings in platform.values())
    assert pipeline["root"]["inputDefinitions"]["parameters"]["checkpoints"]["defaultValue"] == "/tmp/checkpoints"


def test_registration_waits_for_the_gate_and_the_end_is_always_recorded() -> None:
    found = tasks(compiled())
    condition = found["condition_1"]["triggerPolicy"]["condition"]
    assert condition == "inputs.parameter_values['pipelinechannel--passed'] == true"
    assert found["finish"]["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["train.epochs=0", "split.test_share=2"], ["train.epochs = 0", "split.test_share = 2"]),
        (["train.epoch=3"], ["train.epoch: unknown parameter, did you mean epochs?"]),
        (["tran.epochs=3"], ["there is no block 'tran', did you mean train?"]),
        (["train.epochs"], ["--set train.epochs is not BLOCK.NAME=VALUE"]),
        (["epochs=3"], ["--set epochs=3 is not BLOCK.NAME=VALUE"]),
        (["cluster.memory=lots"], ["cluster.memory = 'lots': not a Kubernetes quantity"]),
        (["cluster.memory=1.5Gi", "cluster.cpu=2G"], ["memory = '1.5Gi': not a", "cpu = '2G': not a"]),
        (["train.epochs=[1"], ["--set train.epochs=[1: "]),
        (["train.epochs=0"], ["1 parameter is wrong in --set:"]),
        (["cluster.images={trian: r/t}"], ["there is no step trian, did you mean train?"]),
        (["cluster.tracking_uri=mlflow:5000"], ["cluster.tracking_uri = 'mlflow:5000': not an address"]),
        (["cluster.tracking_uri=http://me:secret@host"], ["holds a user name or password"]),
        (["cluster.tolerations=[{kay: gpu}]"], ["cluster.tolerations.0.kay: unknown parameter"]),
        (
            ["cluster.tolerations=[{key: a, operator: Is}]"],
            ["cluster.tolerations.0.operator = 'Is'", "'Exists' or 'Equal'"],
        ),
        (["cluster.tolerations=[{key: a, effect: NoRun}]"], ["tolerations.0.effect = 'NoRun'", "'NoSchedule'"]),
        (["cluster.tolerations=[{operator: Exists, value: a}]"], ["operator Exists takes no value"]),
        (["cluster.tolerations=[{value: a}]"], ["without a key the operator must be Exists"]),
        (["cluster.tolerations=[{key: a, tolerationSeconds: 9}]"], ["tolerationSeconds needs effect NoExecute"]),
        (["cluster.tolerations={key: a}"], ["should be a valid list"]),
        (["cluster.node_selector={a b: c}"], ["not the key of a Kubernetes label"]),
        (["cluster.node_selector={gpu: yes sir}"], ["not the value of a Kubernetes label"]),
        (["split.seed=9007199254740993"], ["split.seed: a whole number above 2**53"]),
    ],
)
def test_wrong_overrides_are_named_all_at_once(overrides: list[str], expected: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        compiled(*overrides)
    for part in expected:
        assert part in caught.value.what
    assert caught.value.hint


def test_compile_says_what_is_wrong_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compile"]) == 2
    assert "params.yaml does not exist" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
