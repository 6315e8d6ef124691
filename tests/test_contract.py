"""One name, every place: each step has its folder, parameters, stage and test, and keeps the layers apart."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from docs.generate import steps
from tests.conftest import PROJECT

STEPS = "pin ingest data_quality split augment train export_onnx quantize evaluate register promote".split()
OUTSIDE = ["monitor", "decide"]
"""Steps that only retraining runs: they read what serves, so the DAG of one training has no stage for them."""
HEAVY = (
    "torch",
    "transformers",
    "great_expectations",
    "mlflow",
    "onnxruntime",
    "pandas",
    "datasets",
    "sklearn",
    "peft",
)


def test_every_place_names_the_same_steps() -> None:
    folders = {path.parent.name for path in (PROJECT / "components").glob("*/__main__.py")}
    tests = {path.stem.removeprefix("test_") for path in (PROJECT / "tests" / "components").glob("test_*.py")}
    blocks = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    assert steps() == STEPS
    assert folders == {*STEPS, *OUTSIDE}
    images = re.findall(r"^FROM \S+ AS (\w+)$", (PROJECT / "docker" / "Dockerfile").read_text(encoding="utf-8"), re.M)
    assert set(blocks) == {*STEPS, *OUTSIDE, "cluster"}
    assert {*STEPS, *OUTSIDE} <= set(images)
    assert {*STEPS, *OUTSIDE} <= tests
    for name in [*STEPS, *OUTSIDE]:
        files = {path.name for path in (PROJECT / "components" / name).glob("*.py")}
        assert {"__init__.py", "__main__.py", "params.py", "step.py", "component.py"} <= files, name


@pytest.mark.parametrize("name", STEPS)
def test_stage_runs_the_step_with_its_flags_its_block_and_its_code(name: str) -> None:
    stage = yaml.safe_load((PROJECT / "dvc.yaml").read_text(encoding="utf-8"))["stages"][name]
    spec = __import__(f"components.{name}.__main__", fromlist=["STEP"]).STEP
    words = stage["cmd"].split()
    given = dict(zip(words[3::2], words[4::2], strict=True))
    assert words[:3] == ["${python}", "-m", f"components.{name}"]
    assert spec.name == name
    assert set(given) - {f"--{flag}" for flag in spec.optional} == {
        *(f"--{flag}" for flag in [*spec.documents, *spec.inputs, *spec.outputs]),
        "--params",
    }
    assert stage["params"] == [name]
    files = {dep for dep in stage["deps"] if not dep.startswith(f"${{{name}.")}  # the rest are named by parameters
    assert files == {
        f"components/{name}",
        "fineline",
        *(given[f"--{flag}"] for flag in [*spec.documents, *spec.inputs]),
    }
    assert {out if isinstance(out, str) else next(iter(out)) for out in stage["outs"]} == {
        given[f"--{flag}"] for flag in spec.outputs
    }


@pytest.mark.parametrize("name", [*STEPS, *OUTSIDE])
def test_params_yaml_holds_every_parameter_of_the_step_and_is_valid(name: str) -> None:
    model = __import__(f"components.{name}.params", fromlist=["Params"]).Params
    block = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))[name]
    assert set(block) == set(model.model_fields)
    model.model_validate(block)
    for field, info in model.model_fields.items():
        assert info.description, f"{name}.{field} has no description"


@pytest.mark.parametrize("name", [*STEPS, *OUTSIDE])
def test_help_imports_nothing_heavy_and_shows_an_example(name: str) -> None:
    code = (
        "import sys; sys.argv=['x','--help']\n"
        f"from components.{name}.__main__ import STEP; from fineline.steps.command_line import main\n"
        "try:\n main(STEP)\nexcept SystemExit: pass\n"
        "print('LOADED', *sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=True)
    text, _, loaded = done.stdout.partition("LOADED")
    assert not set(loaded.split()) & {*HEAVY, "pydantic", "numpy"}
    assert f"example: python -m components.{name} --" in text
    assert "--params" in text


def test_parameters_are_checked_where_no_step_can_run() -> None:
    """The image `client` has none of these."""
    script = (
        "import importlib.abc, sys\n"
        "class Refuse(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('pyarrow', 'pandas', 'torch', 'transformers', 'onnxruntime', 'mlflow', 'sklearn', 'scipy'):\n"
        "            raise ImportError(f'{name} is not to be imported')\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "from pipelines import blocks, compiler; compiler.package(*blocks.read())"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_imports_keep_the_layers_apart() -> None:
    modules = [path for top in ("fineline", "components") for path in (PROJECT / top).rglob("*.py")]
    assert len(modules) > 30
    for path in modules:
        relative = path.relative_to(PROJECT)
        own = ".".join(relative.parts[:2]) if relative.parts[0] == "components" else "fineline"
        for name in imported(path):
            top = name.split(".")[0]
            assert top not in ("pipelines", "tests"), f"{relative} imports {name}"
            if path.name == "component.py":
                assert name in ("kfp", "components._image"), f"{relative} imports {name}: images hold no kfp"
                continue
            assert top != "kfp", f"{relative} imports {name}: images hold no kfp"
            if top == "components":
                assert name.startswith(own), f"{relative} imports {name}: steps share code through fineline only"


def test_only_the_tasks_know_which_task_it_is() -> None:
    for path in (PROJECT / "components").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.name != "params.py":
            assert "single_label" not in text, f"{path.relative_to(PROJECT)} asks which task it is"


def test_generated_docs_are_up_to_date() -> None:
    done = subprocess.run([sys.executable, "docs/generate.py", "--check"], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def imported(path: Path) -> set[str]:
    """Names of all modules that a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names
