"""fineline approve: let a version serve that waits for a person's word (promote.mode: manual)."""

import argparse
import tempfile
from pathlib import Path

from cli import registered
from fineline.process.errors import UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument(
        "version", type=int, metavar="VERSION", help="the version that waits ('fineline status' lists them)"
    )
    registered.add_reason(parser)
    registered.add_name(parser)
    parser.epilog = "example: fineline approve 4 --reason 'read the lost rows, they are labelled wrong'"


def run(flags: argparse.Namespace) -> int:
    """Moves the alias champion to the version, if the champion is still the one that it was compared with."""
    from components.promote.promotion import fetched
    from fineline.bundles.bundle import open_bundle, self_test
    from fineline.registry import ledger, model_versions

    reason = registered.reason(flags)
    with model_versions.server_errors():
        server, name = registered.opened(flags)
        waits = model_versions.noted(server, name, flags.version, model_versions.WAITS)
        champion = ledger.position(server, name, model_versions.CHAMPION)
        if not waits:
            raise UsageError(
                f"version {flags.version} of {name} waits for nothing",
                "'fineline status' shows what waits; fineline promote compares",
            )
        if champion not in (waits["champion"], flags.version):
            raise _other_champion(flags.version, waits["champion"], champion)
        with tempfile.TemporaryDirectory(prefix="fineline-") as temporary:
            self_test(open_bundle(fetched(server, name, flags.version, Path(temporary))))
        try:
            ledger.move(
                server,
                name,
                model_versions.CHAMPION,
                flags.version,
                expected=waits["champion"],
                verdict="approved",
                reason=f"{reason} (verdict {waits['verdict']}: {waits['reason']})",
                evidence=waits["evidence"],
            )
        except ledger.Moved as moved:
            raise _other_champion(flags.version, waits["champion"], moved.now) from None
        model_versions.note(server, name, flags.version, model_versions.WAITS, None)
    print(f"models:/{name}/{flags.version} is champion, before it {waits['champion'] or 'none'}")
    return 0


def _other_champion(version: int, judged: int | None, now: int | None) -> UsageError:
    return UsageError(
        f"version {version} was compared with champion {judged or 'none'}, the champion is {now} now",
        f"'fineline promote --version {version}' compares it with that one",
    )
