"""What keeps the code readable: short functions, short files."""

import ast

from tests.conftest import PROJECT

PROGRAMS = ("fineline", "components", "pipelines", "cli")
ALL = (*PROGRAMS, "tests", "benchmarks", "docker", "docs")
MOST_LINES_OF_A_FUNCTION = 60
MOST_LINES_OF_A_FILE = 400


def sources(folders: tuple[str, ...]) -> dict[str, str]:
    paths = (path for folder in folders for path in (PROJECT / folder).rglob("*.py"))
    return {str(path.relative_to(PROJECT)): path.read_text(encoding="utf-8") for path in paths}


def test_no_file_is_long() -> None:
    lengths = {name: text.count("\n") for name, text in sources(ALL).items()}
    assert not {name: lines for name, lines in lengths.items() if lines > MOST_LINES_OF_A_FILE}


def test_no_function_is_long() -> None:
    lengths = {
        f"{name}: {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for name, text in sources(PROGRAMS).items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    longer = {name: lines for name, lines in lengths.items() if lines > MOST_LINES_OF_A_FUNCTION}
    assert not longer, "tell it in phases, each a function of its own"
