"""What the commands about a registered model share: which model, and a server that has it."""

import argparse
from pathlib import Path
from typing import Any

from fineline.process.errors import UsageError
from fineline.registry import model_versions
from fineline.registry.ledger_state import AGREES, CHAMPION, DELETED, HALF_DONE, State
from fineline.tracking import connection

PARAMS = "params.yaml"


def add_name(parser: argparse.ArgumentParser) -> None:
    """Adds --name and --params."""
    parser.add_argument("--name", metavar="NAME", help="the registered model (register.name of the parameters file)")
    parser.add_argument(
        "--params",
        default=PARAMS,
        metavar="FILE",
        help=f"parameters file whose blocks register and promote count ({PARAMS})",
    )


def add_reason(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Adds --reason."""
    parser.add_argument("--reason", required=required, metavar="TEXT", help="why; it is kept in the ledger")


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    """Adds --dry-run."""
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and write nothing")


def opened(flags: argparse.Namespace) -> tuple[Any, str]:
    """(server, name of the registered model). Raises UsageError when there is none, ResourceError when there is no registry."""
    name = flags.name or _name(flags.params)
    connection.need_registry()
    server = connection.client()
    if not model_versions.exists(server, name):
        raise UsageError(
            f"no model {name} is registered in {connection.shown_registry()}",
            "run the pipeline (make run, or dvc repro), or give another --name",
        )
    return server, name


def reason(flags: argparse.Namespace) -> str:
    """The reason, which must say something and fit into the ledger."""
    from fineline.registry.ledger import LONGEST_REASON

    text = " ".join((flags.reason or "").split())
    if not text:
        raise UsageError("--reason is empty", "say why: the next person reads it in 'fineline history'")
    if len(text) > LONGEST_REASON:
        raise UsageError(
            f"--reason has {len(text):,} characters, {LONGEST_REASON:,} fit", "shorten it, and link to the rest"
        )
    return text


def standing(state: State, alias: str) -> str:
    """How an alias stands to the ledger, in words."""
    found, line = state.standing(alias), state.newest(alias)
    if line is None:
        return "not in the ledger"
    if found == AGREES:
        return AGREES
    if found == DELETED:
        return f"version {line['to']} was deleted"
    return f"the move to {line['to']} was cut short" if found == HALF_DONE else "moved outside fineline"


def remedy(state: State, alias: str) -> str:
    """What mends an alias that does not agree with the ledger."""
    found = state.standing(alias)
    if found == DELETED:
        if alias == CHAMPION:
            return "'fineline rollback --reason ...' returns to the champion before it, '--to N' to another one"
        return "the next version that is registered takes its place"
    does = ("finishes the move", "takes it back") if found == HALF_DONE else ("puts it back", "records where it is")
    return f"'fineline repair --alias {alias} --keep ledger' {does[0]}, '--keep server' {does[1]}"


def _name(params: str) -> str:
    """register.name of the parameters file; its default where the file does not exist."""
    from components.register.params import Params
    from fineline.steps.params import load_params

    return load_params(Params, "register", params).name if Path(params).is_file() else Params.model_validate({}).name
