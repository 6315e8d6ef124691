"""The whole DAG through real `dvc repro` on tiny rows and a tiny random BERT, in a git clone of its own."""

import json
from pathlib import Path

import pytest

from fineline.artifacts import folders
from fineline.artifacts.folders import read_manifest, verify
from fineline.sources import source_version
from tests.conftest import make_rows
from tests.project import TINY, make_project, run

pytestmark = pytest.mark.slow

ARTIFACTS = "source_version dataset clean quality splits augmented model onnx bundle report registration".split()
PARAMS = {
    **TINY,
    "pin": {"source": "data/tiny.csv"},
    "ingest": {"keep_columns": ["channel"], "columns": {"id": "id"}},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with tiny rows; `dvc repro` has run once."""
    folder = tmp_path_factory.mktemp("dag") / "project"
    (folder / "data").mkdir(parents=True)
    make_rows(240).to_csv(folder / "data" / "tiny.csv", index=False)
    make_project(folder, PARAMS)
    run(folder, "dvc", "repro")
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {name: read_manifest(folder / "artifacts" / name).digest for name in ARTIFACTS}


def test_every_artifact_is_whole_and_knows_its_ancestors(project: Path) -> None:
    for name in ARTIFACTS:
        verify(project / "artifacts" / name)
    bundle = read_manifest(project / "artifacts" / "bundle")
    assert [entry["step"] for entry in bundle.ancestors] == [
        *("pin", "ingest", "data_quality", "split", "augment", "train", "export_onnx")
    ]
    version = source_version.in_lineage(bundle.ancestors)["source"]
    assert version.removeprefix("sha256:") == folders.sha256_file(project / "data" / "tiny.csv")
    for page in ("MODEL_CARD.md", "report.html"):
        assert version in (project / "artifacts" / "report" / page).read_text(encoding="utf-8")
    assert str(project) not in (project / "artifacts" / "registration" / "manifest.json").read_text()


def test_second_repro_runs_nothing_but_pin(project: Path) -> None:
    output = run(project, "dvc", "repro")
    assert output.count("Running stage") == 1
    assert "Running stage 'pin'" in output


def test_checked_out_links_are_replaced_and_a_failed_pin_costs_no_stage(project: Path) -> None:
    before, source = digests(project), project / "data" / "tiny.csv"
    run(project, "dvc", "config", "cache.type", "symlink")
    run(project, "dvc", "checkout", "--relink")
    assert (project / "artifacts" / "source_version" / "version.json").is_symlink()
    source.rename(project / "away.csv")
    assert "does not exist" in run(project, "dvc", "repro", code=255)
    assert not (project / "artifacts" / "source_version").exists()
    (project / "away.csv").rename(source)
    assert run(project, "dvc", "repro").count("Running stage") == 1
    run(project, "dvc", "repro", "--force", "--single-item", "split")
    run(project, "dvc", "config", "--unset", "cache.type")
    assert digests(project) == before


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
    for expected in ("pin", "ingest", "register", "tiny", "artifacts/report/report.html", "fineline predict"):
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
