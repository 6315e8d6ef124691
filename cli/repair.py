"""fineline repair: every alias against the ledger; and, asked per alias, which of the two is right."""

import argparse
import sys
from typing import Any

from cli import registered
from fineline.process.errors import UsageError
from fineline.registry.ledger_state import AGREES, ASTRAY, DELETED, HALF_DONE, OUTSIDE, REPAIRED

LEDGER, SERVER = "ledger", "server"


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("--alias", metavar="NAME", help="the alias to repair, such as champion; needs --keep")
    parser.add_argument(
        "--keep",
        choices=(LEDGER, SERVER),
        help="which is right: the ledger (the alias is put there) or the server (the ledger records where the alias is)",
    )
    registered.add_reason(parser, required=False)
    registered.add_name(parser)
    parser.epilog = (
        "examples: fineline repair\n"
        "          fineline repair --alias challenger --keep ledger\n"
        "          fineline repair --alias champion --keep server --reason 'moved by hand, MLflow was the only way in'\n\n"
        "Without --alias it moves none. Where the run that holds the ledger was deleted, it is restored, or made again from\n"
        "the tags of the registered model, which hold the same lines."
    )


def run(flags: argparse.Namespace) -> int:
    """Shows, or repairs one alias."""
    from fineline.registry import ledger, ledger_copies, model_versions

    if bool(flags.alias) != bool(flags.keep):
        raise UsageError("--alias and --keep go together", "fineline repair --alias champion --keep ledger|server")
    with model_versions.server_errors():
        server, name = registered.opened(flags)
        if mended := ledger_copies.mend(server, name):
            print(mended, file=sys.stderr)
        if flags.alias:
            print(_repaired(server, name, flags))
            return 0
        state = ledger.look(server, name)
    print(f"{'alias':10}  {'ledger':>6}  {'server':>6}  standing")
    for alias in state.names:
        said = (state.at(alias) or "-") if state.newest(alias) else ""
        print(f"{alias:10}  {said:>6}  {state.aliases.get(alias, '-'):>6}  {registered.standing(state, alias)}")
    return 0


def _repaired(server: Any, name: str, flags: argparse.Namespace) -> str:
    """Repairs one alias; gives a line that says what was done."""
    from fineline.registry import ledger

    alias = flags.alias
    state = ledger.look(server, name)
    standing, said, here = state.standing(alias), state.at(alias), state.aliases.get(alias)
    if alias not in state.names:
        raise UsageError(f"{name} has no alias {alias}", f"aliases: {', '.join(state.names) or 'none'}")
    if standing == AGREES:
        return f"{alias} is at version {here}, by the ledger and on the server: nothing to repair"
    if standing == DELETED:
        raise UsageError(f"{alias}: {registered.standing(state, alias)}", registered.remedy(state, alias))
    if standing == HALF_DONE and flags.keep == LEDGER:
        ledger.settle(server, name, alias)
        return f"{alias} is at version {said}: the move that was cut short is finished"
    target = said if flags.keep == LEDGER else here
    verdict = OUTSIDE if standing == ASTRAY and flags.keep == SERVER else REPAIRED
    reason = registered.reason(flags) if flags.reason else f"the {flags.keep} is right"
    try:
        ledger.move(server, name, alias, target, expected=said, verdict=verdict, reason=reason, mend=True)
    except ledger.Moved as moved:
        raise UsageError(
            f"another process moved {alias} to version {moved.now} meanwhile", "look again: fineline repair"
        ) from None
    place = f"version {target}" if target else "no version"
    was = f"before, the ledger said {said or 'none'}, the server {here or 'none'}"
    return f"{alias} is at {place}, by the ledger and on the server; {was}"
