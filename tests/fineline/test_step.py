"""A step that is stopped says so, with its exit code, whatever code it is in."""

import importlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fineline.steps.command_line import guarded
from tests.conftest import PROJECT

SWALLOWS_EVERYTHING = """
import sys, time
from fineline.steps.params import StepParams
from fineline.steps.command_line import Step, main

class Params(StepParams):
    pass

def run(*, params, thing):
    print("begun", flush=True)
    try:
        time.sleep(60)
    except Exception:  # as torch's exporter does
        return "went on"

sys.exit(main(Step(name="sleep", summary="sleeps", load=lambda: (Params, run), outputs={"thing": "nothing"})))
"""


@pytest.mark.parametrize(("number", "said"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")])
def test_a_signal_ends_it_where_a_library_catches_every_exception(number: int, said: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SWALLOWS_EVERYTHING, "--thing", str(tmp_path / "thing"), "--params", "{}"]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 143
    assert error == f"sleep: error: stopped by {said}\nsleep: to mend it: run the same command again to go on\n"


@pytest.mark.parametrize(
    ("module", "allocate", "size"),
    [
        *(("builtins", "bytearray", 1 << 60), ("numpy", "empty", 1 << 50)),
        *(("pyarrow", "allocate_buffer", 1 << 60), ("torch", "empty", 1 << 50)),
    ],
)
def test_memory_that_runs_out_ends_in_one_line(
    module: str, allocate: str, size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    function = getattr(importlib.import_module(module), allocate)
    assert guarded(lambda: function(size), "split") == (4, None)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "split: error: memory ran out"
    assert second.startswith("split: to mend it: give the program more of it")


def test_a_bug_keeps_its_traceback() -> None:
    def work() -> None:
        raise RuntimeError("the splits leak, which must not happen")

    with pytest.raises(RuntimeError, match="must not happen"):
        guarded(work, "split")
