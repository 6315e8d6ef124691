"""fineline history: every move of an alias, from the ledger."""

import argparse
import json
import sys
from typing import Any

from cli import registered
from fineline.registry.ledger_state import HALF_DONE, Line, State


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("--alias", metavar="NAME", help="only moves of this alias, such as champion")
    parser.add_argument("--json", action="store_true", help="one JSON object per line, with the evidence")
    registered.add_name(parser)
    parser.epilog = "examples: fineline history --alias champion\n          fineline history --json | jq .evidence"


def run(flags: argparse.Namespace) -> int:
    """Prints the ledger, oldest first."""
    from fineline.registry import ledger, model_versions

    with model_versions.server_errors():
        server, name = registered.opened(flags)
        state = ledger.look(server, name)
        lines = [line | _half_done(state, line) for line in state.lines]
    chosen = [line for line in lines if flags.alias in (None, line["alias"])]
    if flags.json:
        sys.stdout.writelines(json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n" for line in chosen)
        return 0
    print(f"{'when (UTC)':19}  {'alias':10}  {'from':>4}  {'to':>4}  {'who':10}  {'verdict':10}  reason")
    for line in chosen:
        print(_row(line))
    return 0


def _half_done(state: State, line: Line) -> dict[str, Any]:
    """{"half_done": true} for a move whose alias did not follow, nothing for all others."""
    alias = line["alias"]
    if alias and line == state.newest(alias) and state.standing(alias) == HALF_DONE:
        return {"half_done": True}
    return {}


def _row(line: dict[str, Any]) -> str:
    when = line["when"][:19].replace("T", " ")
    before, to = line["from"] or "-", line["to"] or "-"
    half = f" [half done: cut short before {line['alias']} moved]" if line.get("half_done") else ""
    verdict = line["verdict"]
    return f"{when}  {line['alias'] or '-':10}  {before:>4}  {to:>4}  {line['who']:10}  {verdict:10}  {line['reason']}{half}"
