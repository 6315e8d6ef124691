"""fineline reject: refuse a version; it waits no longer, and is not promoted without a person asking for it."""

import argparse

from cli import registered
from fineline.process.errors import UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("version", type=int, metavar="VERSION", help="the version to refuse")
    registered.add_reason(parser)
    registered.add_name(parser)
    parser.epilog = "example: fineline reject 4 --reason 'answers refunds as complaints'"


def run(flags: argparse.Namespace) -> int:
    """Writes the rejection into the ledger. No alias moves."""
    from fineline.registry import ledger, model_versions

    reason = registered.reason(flags)
    with model_versions.server_errors():
        server, name = registered.opened(flags)
        model_versions.version_of(server, name, flags.version)
        try:
            ledger.reject(server, name, flags.version, reason)
        except ledger.Moved:
            raise UsageError(
                f"version {flags.version} of {name} serves", "fineline rollback --reason ... takes it back"
            ) from None
        model_versions.note(server, name, flags.version, model_versions.WAITS, None)
    print(f"models:/{name}/{flags.version} is rejected; 'fineline promote --version {flags.version}' can lift that")
    return 0
