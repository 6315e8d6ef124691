"""fineline rollback: the champion before this one serves again, once it is proven that it still works."""

import argparse
import datetime
import tempfile
from pathlib import Path
from typing import Any

from cli import registered
from fineline.process.errors import UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument(
        "--to", type=int, metavar="N", help="the version to return to (default: the champion before this one)"
    )
    registered.add_reason(parser)
    registered.add_name(parser)
    parser.epilog = (
        "examples: fineline rollback --reason 'complaints about refunds since noon'\n"
        "          fineline rollback --to 2 --reason 'the last one that knew all labels'\n\n"
        "The alias moves only after the version was downloaded, matched its sha256 and passed its self-test. The version that\n"
        "is left counts as rejected: no pipeline promotes it again by itself."
    )


def run(flags: argparse.Namespace) -> int:
    """Moves the alias champion back."""
    from components.promote.promotion import fetched
    from fineline.bundles.bundle import open_bundle, self_test
    from fineline.registry import ledger, model_versions

    reason = registered.reason(flags)
    with model_versions.server_errors():
        server, name = registered.opened(flags)
        state = ledger.settle(server, name, mend=True)
        left = state.at(model_versions.CHAMPION)
        target = flags.to or _before(state.lines, name)
        if target == left == state.aliases.get(model_versions.CHAMPION):
            raise UsageError(f"version {target} of {name} is the champion already", "give another version with --to")
        with tempfile.TemporaryDirectory(prefix="fineline-") as temporary:
            bundle = fetched(server, name, target, Path(temporary))
            self_test(open_bundle(bundle))
        evidence = {
            "self_test": "passed",
            "bundle_sha256": model_versions.version_of(server, name, target).tags[model_versions.SHA256],
        }
        try:
            ledger.move(
                server,
                name,
                model_versions.CHAMPION,
                target,
                expected=left,
                verdict="rollback",
                reason=reason,
                evidence=evidence,
                mend=True,
            )
        except ledger.Moved as moved:
            raise UsageError(
                f"another process made version {moved.now} champion meanwhile",
                "look at 'fineline status', then decide again",
            ) from None
        if left and left != target and ledger.has_version(server, name, left):
            when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            said = {"when": when, "who": ledger.who(), "reason": f"rolled back: {reason}"}
            model_versions.note(server, name, left, model_versions.REJECTED, said)
    print(f"models:/{name}/{target} is champion again, before it {left}; it passed its self-test")
    return 0


def _before(lines: list[dict[str, Any]], name: str) -> int:
    """The champion before this one: versions that were rolled back from do not count."""
    from fineline.registry.model_versions import CHAMPION

    served: list[int] = []
    for line in lines:
        if line["alias"] != CHAMPION:
            continue
        if line["to"] in served:
            del served[served.index(line["to"]) :]
        served.append(line["to"])
    if len(served) < 2:
        raise UsageError(f"{name} had no champion before this one", "name a version: --to N")
    return served[-2]
