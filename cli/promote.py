"""fineline promote: compare a registered version with the champion now, and put it in its place if it is better."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from cli import registered
from fineline.process.errors import GateRejected, UsageError
from fineline.registry.ledger_state import ASTRAY, CHALLENGER, DELETED


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("--version", type=int, metavar="N", help="the version to promote (default: the challenger)")
    parser.add_argument("--force", action="store_true", help="move the alias whatever the verdict; needs --reason")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="keep promotion.json, comparison.parquet, report.html in this new folder",
    )
    registered.add_reason(parser, required=False)
    registered.add_dry_run(parser)
    registered.add_name(parser)
    parser.epilog = (
        "examples: fineline promote --version 4\n"
        "          fineline promote --version 4 --force --reason 'the champion answers in the wrong language'\n"
        "          fineline promote --version 4 --dry-run\n\n"
        "Both are scored on the frozen test set, by the parameters of the block promote. The bundle must pass its self-test,\n"
        "also with --force. The evidence is logged to the version's run. Exit code 5: the verdict is not promote. --dry-run\n"
        "checks all but the verdict: that is a question to the test set, which spends of its budget and is written down."
    )


def run(flags: argparse.Namespace) -> int:
    """Promotes, or raises GateRejected with the verdict."""
    from components.promote.params import Params
    from components.promote.promotion import fetched, foreseen, line, promote
    from fineline.registry import model_versions
    from fineline.steps.params import load_params

    if flags.force and not flags.reason:
        raise UsageError("--force needs --reason", "say why the verdict does not count; it is kept in the ledger")
    if flags.out and flags.out.exists() and not (flags.out.is_dir() and not any(flags.out.iterdir())):
        raise UsageError(f"--out {flags.out} exists already", "give --out a folder that does not")
    reason = registered.reason(flags) if flags.force else ""
    params = load_params(Params, "promote", flags.params) if Path(flags.params).is_file() else Params.model_validate({})
    with model_versions.server_errors():
        server, name = registered.opened(flags)
        version = _challenger(server, name) if flags.version is None else flags.version
        with tempfile.TemporaryDirectory(prefix="fineline-") as temporary:
            bundle = fetched(server, name, version, Path(temporary) / "bundle")
            if flags.dry_run:
                print(foreseen(server, params, name, version, bundle, force=reason))
                return 0
            out = flags.out or Path(temporary) / "promotion"
            out.mkdir(parents=True, exist_ok=True)
            content = promote(server, params, name, version, bundle, out, force=reason, asked=True)
    if evidence := content.get("evidence"):
        print(f"evidence: run {evidence['run']}, {evidence['path']}")
    if content["verdict"] != "promote" and not content["moved"]:
        raise GateRejected(
            f"version {version} is not promoted; {line(content)}",
            "read the report in that run; --force --reason ... moves it all the same",
        )
    print(line(content))
    return 0


def _challenger(server: Any, name: str) -> int:
    """The version that is challenger by the ledger. Raises UsageError where it is not clear which one is."""
    from fineline.registry import ledger

    state = ledger.look(server, name)
    standing, version = state.standing(CHALLENGER), state.at(CHALLENGER)
    if standing == ASTRAY:
        raise ledger.astray(name, CHALLENGER, state)
    if standing == DELETED:
        raise UsageError(f"the challenger of {name}, version {version}, was deleted", "name another one: --version N")
    if not version:
        raise UsageError(f"{name} has no challenger", "name a version: --version N")
    return version
