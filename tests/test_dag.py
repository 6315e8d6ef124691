"""The whole DAG through real `dvc repro` on tiny rows and a tiny random BERT, in a git clone of its own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fineline.artifacts import read_manifest, verify
from tests.conftest import PROJECT, make_rows, write_model

pytestmark = pytest.mark.slow

ARTIFACTS = "dataset clean quality splits augmented model onnx bundle report registration".split()
PARAMS = {
    "ingest": {"source": "data/tiny.csv", "keep_columns": ["channel"], "annotator_columns": [], "time_column": ""},
    "data_quality": {"model": "tiny", "max_length": 32},
    "train": {"model": "tiny", "max_length": 32, "epochs": 2, "batch_size": 16},
    "quantize": {"select": "smallest"},
    "evaluate": {"min_metric": 0.0, "min_gain_over_baseline": -1.0, "max_drop_shipped": 1.0, "min_label_f1": 0.0},
    "register": {"name": "tiny"},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with the project's files, tiny data, a tiny model and tiny parameters; `dvc repro` has run once."""
    folder = tmp_path_factory.mktemp("dag") / "project"
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.splitlines():
        if (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(PROJECT / name, folder / name)
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "dvc.lock").unlink(missing_ok=True)
    make_rows(240).to_csv(folder / "data" / "tiny.csv", index=False)
    write_model(folder / "tiny", head="none")
    params = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    for name, block in PARAMS.items():
        params[name] |= block
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    (folder / ".gitignore").write_text((folder / ".gitignore").read_text() + "/.venv\n")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "tiny"]):
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
        subprocess.run(["git", *identity, *words], cwd=folder, check=True)
    run(folder, "dvc", "repro")
    return folder


def run(folder: Path, *words: str, code: int = 0) -> str:
    """Runs a command of the environment in `folder`; gives its stdout and stderr."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "HF_HUB_OFFLINE": "1", "GIT_AUTHOR_NAME": "test"}
    environment |= {
        "GIT_AUTHOR_EMAIL": "t@example.com",
        "GIT_COMMITTER_NAME": "t",
        "GIT_COMMITTER_EMAIL": "t@example.com",
    }
    program = str(Path(sys.prefix) / "bin" / words[0])
    done = subprocess.run([program, *words[1:]], cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == code, (
        f"{' '.join(words)}: {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    )
    return done.stdout + done.stderr


def digests(folder: Path) -> dict[str, str]:
    return {name: read_manifest(folder / "artifacts" / name).digest for name in ARTIFACTS}


def test_every_artifact_is_whole_and_knows_its_ancestors(project: Path) -> None:
    for name in ARTIFACTS:
        verify(project / "artifacts" / name)
    bundle = read_manifest(project / "artifacts" / "bundle")
    assert [entry["step"] for entry in bundle.ancestors] == [
        *("ingest", "data_quality", "split", "augment", "train", "export_onnx")
    ]
    assert str(project) not in (project / "artifacts" / "registration" / "manifest.json").read_text()


def test_second_repro_runs_nothing_but_ingest(project: Path) -> None:
    output = run(project, "dvc", "repro")
    assert output.count("Running stage") == 1
    assert "Running stage 'ingest'" in output


def test_metrics_plots_and_summary_show_real_content(project: Path) -> None:
    shown = json.loads(run(project, "dvc", "metrics", "show", "--json"))
    metrics = json.loads((project / "artifacts" / "report" / "metrics.json").read_text())
    assert shown[""]["data"]["artifacts/report/metrics.json"]["data"] == metrics
    assert 0 <= metrics["shipped"]["macro_f1"] <= 1
    run(project, "dvc", "plots", "show", "--out", "dvc_plots")
    page = (project / "dvc_plots" / "index.html").read_text()
    assert "train_loss" in page
    assert "#Confusion" in page
    assert '"actual"' in page
    summary = run(project, "fineline", "summary")
    for expected in ("ingest", "register", "tiny", "artifacts/report/report.html", "fineline predict"):
        assert expected in summary


def test_registered_champion_predicts(project: Path) -> None:
    answer = run(project, "fineline", "predict", "--model", "models:/tiny@champion", "my card was declined")
    assert any(label in answer for label in ("card", "login", "transfer"))


def test_same_inputs_give_the_same_digests_again(project: Path) -> None:
    before = digests(project)
    run(project, "dvc", "repro", "--force")
    assert digests(project) == before


def test_experiment_with_another_parameter(project: Path) -> None:
    before = digests(project)
    run(project, "dvc", "exp", "run", "-S", "train.epochs=1", "--name", "short")
    after = digests(project)
    assert after["augmented"] == before["augmented"]
    assert after["model"] != before["model"]
    assert "short" in run(project, "dvc", "exp", "list")
