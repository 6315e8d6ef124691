"""Every command has its module, a help with an example, and a page that tells of it."""

import importlib

import pytest

from cli.__main__ import COMMANDS, main
from tests.conftest import PROJECT

PAGES = [PROJECT / "README.md", *(PROJECT / "docs").glob("*.md")]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(f"cli.{command}")
    assert (module.__doc__ or "").startswith(f"fineline {command}: ")
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert f"usage: fineline {command}" in said
    assert f"fineline {command}" in said.partition("example")[2], "an example shows how it is called"
    assert [page for page in PAGES if f"fineline {command}" in page.read_text(encoding="utf-8")], "no page tells of it"
