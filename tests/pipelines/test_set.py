"""--set BLOCK.NAME=VALUE: a value arrives as it was meant, or is refused in one line; what is compiled is YAML always."""

from pathlib import Path

import pytest
import yaml

from cli.__main__ import main
from fineline.kubeflow import delivery
from tests.cli.test_submit import arguments, submit
from tests.pipelines.kubeflow_server import KubeflowServer

ARRIVES = [
    (r'"one\ntwo: three # four"', "one\ntwo: three # four"),
    ("|-\n one\n two", "one\ntwo"),
    (">-\n one\n two", "one two"),
    ("one\n", "one"),
    ('"{{one}}\\n- two"', "{{one}}\n- two"),
]
REFUSED = [
    *("one\ntwo", "one\n\ntwo", '"one\ntwo"', "'one\n two'", "one\r\ntwo", "one\x85two", "one\u2028two", "[one\n two]"),
    *("one\n- two: three", "one\ncluster:\n  cpu: 8", "one\x00", "one\x07", "one\udcff"),
]


@pytest.mark.parametrize(("value", "meant"), ARRIVES)
def test_a_line_break_that_is_meant_arrives(value: str, meant: str, server: KubeflowServer, tmp_path: Path) -> None:
    package = tmp_path / "package.yaml"
    assert main(["compile", "--out", str(package), "--set", f"pin.source={value}"]) == 0
    specification, _ = yaml.safe_load_all(package.read_text(encoding="utf-8"))
    default = specification["root"]["inputDefinitions"]["parameters"]["pin_params"]["defaultValue"]
    assert delivery.decoded(default["source"]) == meant
    assert submit(server, "--set", f"pin.source={value}") == 0
    assert delivery.decoded(arguments(server)["pin_params"]["source"]) == meant


@pytest.mark.parametrize("value", REFUSED)
def test_one_that_would_be_lost_is_refused(
    value: str, server: KubeflowServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "package.yaml"
    assert main(["compile", "--out", str(package), "--set", f"pin.source={value}"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 2, said
    assert submit(server, "--set", f"pin.source={value}") == 2
    assert not package.exists()
    assert not server.changes
