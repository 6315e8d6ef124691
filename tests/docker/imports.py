"""What a step imports, in its own modules and in those of fineline that they reach, in functions too: read from the code."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import PROJECT

OURS = ("fineline", "components", "pipelines", "cli")
TASKS = [
    f"fineline.tasks.{path.parent.name}.{path.stem}" for path in sorted((PROJECT / "fineline" / "tasks").glob("*/*.py"))
]
"""The modules of every task, which the table imports by their names."""

_OF_REPORTS = ("cleanlab", "jinja2", "matplotlib")

NOT_CALLED = {
    "data": {"torch", "transformers", "safetensors"},
    "onnx": {
        "torch",
        "transformers",
        "safetensors",
        "huggingface_hub",
        "mlflow",
        "sqlalchemy",
        "urllib3",
        "datasketch",
        *_OF_REPORTS,
    },
    "registry": {
        *("torch", "transformers", "safetensors", "huggingface_hub", "sklearn", "scipy", "datasketch"),
        *_OF_REPORTS,
    },
    "promotion": {
        "torch",
        "transformers",
        "safetensors",
        "datasketch",
        "datasets",
        "dvc",
        "huggingface_hub",
        "cleanlab",
    },
    "client": {
        *("torch", "transformers", "safetensors", "huggingface_hub", "mlflow", "sqlalchemy", "pyarrow", "sklearn"),
        *("scipy", "filelock", "datasketch", "tqdm"),
        *_OF_REPORTS,
    },
    "torch": {"cleanlab"},
}
"""Environment to the packages that what it runs reaches only in functions of fineline that they do not call: to make a model, to
send a journal, to judge answers, to draw a report, to doubt labels, to find near-duplicates, to write an artifact; and to read
recent texts from where labelled rows may lie too, which says what is not installed."""


def modules(name: str) -> dict[str, Path]:
    """Dotted name to file of the modules of a step (not component.py), of serve or of client, and of all they import of ours."""
    if name == "serve":
        waiting = ["cli.__main__", "cli.serve"]
    elif name == "client":
        blocks = (PROJECT / "components").glob("*/params.py")  # imported by their names
        waiting = [f"cli.{command}" for command in ("__main__", "compile", "submit", "schedule")]
        waiting += [f"components.{path.parent.name}.params" for path in blocks]
    else:
        files = (PROJECT / "components" / name).glob("*.py")
        waiting = [f"components.{name}.{path.stem}" for path in files if path.stem != "component"]
    assert waiting, f"{name} has no code"
    found: dict[str, Path] = {}
    while waiting:
        module = waiting.pop()
        file = _file(module)
        if module not in found and file:
            found[module] = file
            waiting += [imported for imported in _imports(file) if imported.partition(".")[0] in OURS]
            waiting += TASKS if module == "fineline.tasks" else []
    return found


def packages(name: str) -> set[str]:
    """Dotted names of what a step or serve imports from outside the project and the standard library."""
    found = {imported for file in modules(name).values() for imported in _imports(file)}
    return {imported for imported in found if imported.partition(".")[0] not in {*OURS, *sys.stdlib_module_names}}


def _imports(file: Path) -> set[str]:
    names = set()
    for node in _nodes(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names if _file(node.module))}
    return names


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker sees."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            yield node
            yield from _nodes(node)


def _file(module: str) -> Path | None:
    path = PROJECT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
