"""fineline summary: what the pipeline made, read from its artifacts."""

import argparse
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import Any

from fineline.artifacts import folders
from fineline.process.errors import UsageError
from fineline.tracking import connection, mlflow_server
from pipelines.blocks import STEPS

_WIDEST = 120


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments: the artifacts folder."""
    parser.add_argument(
        "--artifacts", type=Path, default=Path("artifacts"), metavar="DIR", help="where the pipeline wrote (artifacts)"
    )
    parser.epilog = "example: fineline summary"


def run(flags: argparse.Namespace) -> int:
    """Prints the summary. Raises UsageError when the pipeline has made nothing here."""
    if not any((flags.artifacts / folder / folders.MANIFEST).is_file() for folder in STEPS.values()):
        raise UsageError(
            f"{flags.artifacts} holds nothing that the pipeline made",
            "run it: make run, or dvc repro; or name another folder with --artifacts",
        )
    for line in summary(flags.artifacts, width()):
        print(line)
    return 0


def width() -> int:
    """Columns to fill: the terminal's, 120 at most."""
    return min(_WIDEST, shutil.get_terminal_size((_WIDEST, 24)).columns)


def summary(folder: Path, width: int) -> Iterator[str]:
    """The lines: steps, gate, registered version, report, what to try."""
    yield from _steps(folder, width)
    yield ""
    yield from _gate(folder / STEPS["evaluate"])
    registration = _json(folder / STEPS["register"] / folders.REGISTRATION)
    promotion = _json(folder / STEPS["promote"] / folders.PROMOTION)
    yield f"model    {_registered(registration)}"
    yield f"verdict  {_promoted(promotion)}"
    report = folder / STEPS["evaluate"] / folders.REPORT
    yield f"report   {report if report.is_file() else 'none yet'}"
    yield ""
    yield "Try next:"
    yield from (f"  {command}" for command in next_commands(folder, registration, promotion))


def next_commands(folder: Path, registration: dict[str, Any], promotion: dict[str, Any]) -> list[str]:
    """Three commands to type here, with the folder of the programs where the shell would not find them."""
    programs = "" if shutil.which("fineline") else quote(os.path.relpath(Path(sys.executable).parent)) + os.sep
    model = folder / STEPS["quantize"]
    serves = promotion.get("moved") or promotion.get("champion")
    uri = f"models:/{promotion['name']}@champion" if serves else str(model)
    tracked = mlflow_server.shown(connection.tracking_uri())
    ui = f"{programs}mlflow ui --backend-store-uri {quote(tracked)}"
    use = f'fineline predict --model {quote(uri)} "where is my new card?"' if registration else "dvc repro"
    return [
        f"{programs}dvc plots show",
        f"{programs}{use}",
        f"open {quote(tracked)}" if tracked.startswith("http") else ui,
    ]


def _steps(folder: Path, width: int) -> Iterator[str]:
    names = max(map(len, STEPS))
    yield f"{'step':{names}}  {'seconds':>8}  result"
    indent = " " * (names + 12)
    total = 0.0
    for step, name in STEPS.items():
        if not (folder / name / folders.MANIFEST).is_file():
            yield f"{step:{names}}  {'-':>8}  not run yet"
            continue
        ran = folders.read_run(folder / name)
        seconds = ran.get("seconds", 0.0)
        total += seconds
        text = ran.get("line") or _figures(folder / name)
        yield from textwrap.wrap(
            text,
            width,
            initial_indent=f"{step:{names}}  {seconds:8.1f}  ",
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    yield f"{'total':{names}}  {total:8.1f}"


def _figures(folder: Path) -> str:
    """The plain figures of a manifest, for an artifact that was not made by the step's command line."""
    figures = folders.read_manifest(folder).figures
    plain = [f"{name} {value}" for name, value in figures.items() if isinstance(value, str | int | float)]
    return ", ".join(plain) or "made"


def _gate(report: Path) -> Iterator[str]:
    gate = _json(report / "gate.json")
    if not gate:
        yield "gate     no verdict yet"
        return
    yield f"gate     {'PASSED' if gate['passed'] else 'FAILED'}: {gate['summary']}"
    for rule in gate["rules"]:
        if not rule["passed"]:
            yield f"         no: {rule['rule']} is {rule['figure']:g}, bound {rule['bound']:g}"
    for rule in gate.get("not_judged", []):
        yield f"         not judged: {rule['rule']}, {rule['reason']}"


def _registered(registration: dict[str, Any]) -> str:
    if not registration:
        return "nothing registered yet"
    if not registration["registered"]:
        return "nothing registered: the gate said no (what serves stays as it is)"
    aliases = ", ".join(registration["aliases"]) or "no alias"
    return f"{registration['uri']} ({aliases})"


def _promoted(promotion: dict[str, Any]) -> str:
    if not promotion:
        return "not compared with the champion yet"
    said = f"{promotion['verdict']}: {promotion['reason']}"
    if promotion["waits"]:
        return f"{said}; waits: fineline approve {promotion['version']} --reason ..."
    return f"models:/{promotion['name']}/{promotion['version']} is champion; {said}" if promotion["moved"] else said


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UsageError(f"{path} is broken: {error}", "run the step that made it again (dvc repro -f)") from None
