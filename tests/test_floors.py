"""Who may import whom. Rooms and subjects lie on floors: each imports from those below it, so that there are no circles."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PROJECT

ROOMS = ("fineline", "components", "pipelines", "cli")
"""From the ground up."""
SUBJECTS = (
    ("process", "statistics"),
    ("artifacts", "reports", "texts"),
    ("kubeflow", "pretrained", "sources", "tracking"),
    ("tasks",),
    ("bundles", "rows"),
    ("registry", "steps"),
    ("runs", "serving"),
)
"""The subjects of fineline/ from the ground up; neighbours on a floor do not know each other."""
FLOOR = {subject: floor for floor, subjects in enumerate(SUBJECTS) for subject in subjects}


def imported(node: ast.AST) -> Iterator[str]:
    """The modules of the project that a file imports, but for those that only a type checker reads."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        names = [alias.name for alias in child.names] if isinstance(child, ast.Import | ast.ImportFrom) else []
        if isinstance(child, ast.ImportFrom) and child.module:
            names = [f"{child.module}.{name}" for name in names]
        yield from (name for name in names if name.split(".")[0] in ROOMS)
        yield from imported(child)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_nothing_from_above(room: str) -> None:
    files = list((PROJECT / room).rglob("*.py"))
    assert files
    above = ROOMS[ROOMS.index(room) + 1 :]
    found = {(str(file.relative_to(PROJECT)), name) for file in files for name in imported(tree(file))}
    assert not [(file, name) for file, name in found if name.split(".")[0] in above]


def test_every_subject_has_a_floor_and_says_who_uses_it() -> None:
    subjects = {path.parent.name: path for path in (PROJECT / "fineline").glob("*/__init__.py")}
    assert set(subjects) == set(FLOOR)
    assert {path.name for path in (PROJECT / "fineline").glob("*.py")} == {"__init__.py"}
    assert all(ast.get_docstring(tree(path)) for path in subjects.values())


@pytest.mark.parametrize("subject", FLOOR)
def test_a_subject_imports_only_from_the_floors_below_it(subject: str) -> None:
    wrong = []
    for file in (PROJECT / "fineline" / subject).rglob("*.py"):
        for name in imported(tree(file)):
            other = name.split(".")[1] if name.count(".") and name.split(".")[0] == "fineline" else subject
            if other in FLOOR and other != subject and FLOOR[other] >= FLOOR[subject]:
                wrong.append(f"{file.name} imports {name}")
    assert not wrong


def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))
