"""fineline rollback: the last move of the champion is undone, once it is proven that the version before it still works."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from cli import registered
from fineline.process.errors import UsageError
from fineline.registry.ledger_state import ASTRAY, CHAMPION, HALF_DONE, OUTSIDE, REPAIRED, ROLLBACK, Line, State


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument(
        "--to", type=int, metavar="N", help="the version to return to (default: the champion before this one)"
    )
    registered.add_reason(parser)
    registered.add_dry_run(parser)
    registered.add_name(parser)
    parser.epilog = (
        "examples: fineline rollback --reason 'complaints about refunds since noon'\n"
        "          fineline rollback --to 2 --reason 'the last one that knew all labels'\n\n"
        "The alias moves only after the version was downloaded, matched its sha256 and passed its self-test. The version that\n"
        "is left counts as rejected: no pipeline promotes it again by itself. A rollback that was cut short is finished, a\n"
        "promotion that was cut short or made outside fineline is undone; neither goes a step further."
    )


def run(flags: argparse.Namespace) -> int:
    """Moves the alias champion back."""
    from components.promote.promotion import fetched
    from fineline.bundles.bundle import open_bundle, self_test
    from fineline.registry import ledger, model_versions

    reason = registered.reason(flags)
    if flags.to is not None and flags.to < 1:
        raise UsageError(f"--to {flags.to} is no version", "versions count from 1; 'fineline history' shows them")
    with model_versions.server_errors():
        server, name = registered.opened(flags)
        state = ledger.look(server, name)
        if _only_finishes(state, flags.to):
            return _finish(server, name, state, flags.dry_run)
        target = flags.to or before(state, name)
        rejects = rejects_of(state, target)
        if target == state.at(CHAMPION) == state.aliases.get(CHAMPION):
            raise UsageError(f"version {target} of {name} is the champion already", "give another version with --to")
        if not flags.to and not ledger.has_version(server, name, target):
            raise UsageError(
                f"version {target} of {name}, the champion before, was deleted", "name another one: --to N"
            )
        with tempfile.TemporaryDirectory(prefix="fineline-") as temporary:
            self_test(open_bundle(fetched(server, name, target, Path(temporary))))
        left = rejects or state.at(CHAMPION)
        if flags.dry_run:
            also = f"; version {rejects} would count as rejected" if rejects else ""
            print(f"would make models:/{name}/{target} champion again, before it {left}; it passed its self-test{also}")
            return 0
        _move(server, name, state, target, rejects, reason)
    print(
        f"models:/{name}/{target} is champion again, before it {left}; it passed its self-test{_noted(state, target)}"
    )
    return 0


def _move(server: Any, name: str, state: State, target: int, rejects: int | None, reason: str) -> None:
    from fineline.registry import ledger, model_versions

    sha256 = model_versions.version_of(server, name, target).tags[model_versions.SHA256]
    try:
        ledger.move(
            server,
            name,
            CHAMPION,
            target,
            expected=state.at(CHAMPION),
            verdict=ROLLBACK,
            reason=reason,
            evidence={"self_test": "passed", "bundle_sha256": sha256},
            mend=True,
            rejects=rejects,
        )
    except ledger.Moved as moved:
        raise UsageError(
            f"another process made version {moved.now} champion meanwhile",
            "look at 'fineline status', then decide again",
        ) from None


def before(state: State, name: str) -> int:
    """The version that undoing the last move leads to, complete or not, in the ledger or outside of it."""
    standing, line, here = state.standing(CHAMPION), state.newest(CHAMPION), state.aliases.get(CHAMPION)
    served = _served(state.lines)
    if standing == HALF_DONE:
        found = here
    elif standing == ASTRAY:  # put back by hand: that was the rollback; put forward: the ledger has the one before
        found = here if here in served[:-1] else state.at(CHAMPION)
    else:
        earlier = served if line and line["to"] is None else served[:-1]
        found = earlier[-1] if earlier else None
    if found is None:
        raise UsageError(f"{name} had no champion before this one", "name a version: --to N")
    return found


def _served(lines: list[Line]) -> list[int]:
    """The champions one after another, as far as they were not gone back from."""
    served: list[int] = []
    for line in lines:
        if line["alias"] != CHAMPION or line["to"] is None:
            continue
        if not served and line["from"]:  # from before the ledger
            served.append(line["from"])
        back = line["to"] if line["verdict"] in (ROLLBACK, REPAIRED, OUTSIDE) else None
        for version in (line["from"], back):  # what a cut short move was to never served
            if version in served:
                del served[len(served) - served[::-1].index(version) :]
        if served[-1:] != [line["to"]]:
            served.append(line["to"])
    return served


def rejects_of(state: State, target: int) -> int | None:
    """The version that counts as rejected once `target` is champion again: the one that is left."""
    left, here = state.at(CHAMPION), state.aliases.get(CHAMPION)
    if state.standing(CHAMPION) == ASTRAY and target == here and here not in _served(state.lines)[:-1]:
        return None  # a person let it serve, and this only records that
    rejects = left if target == here else here or left
    return rejects if rejects != target else None


def _only_finishes(state: State, to: int | None) -> bool:
    line = state.newest(CHAMPION)
    if not line or state.standing(CHAMPION) != HALF_DONE:
        return False
    return to == line["to"] or (to is None and line["verdict"] in (ROLLBACK, REPAIRED))


def _finish(server: Any, name: str, state: State, dry_run: bool) -> int:
    from fineline.registry import ledger

    target = state.at(CHAMPION)
    if dry_run:
        print(f"would finish the move to models:/{name}/{target} that was cut short, and go no further")
        return 0
    ledger.settle(server, name, CHAMPION)
    print(f"models:/{name}/{target} is champion: its move was cut short and is finished; nothing else moved")
    return 0


def _noted(state: State, target: int) -> str:
    standing = state.standing(CHAMPION)
    if standing == HALF_DONE and target == state.aliases.get(CHAMPION):
        return f"; the move to {state.at(CHAMPION)} was cut short and is undone, it never served"
    return "; the alias had been moved outside fineline" if standing == ASTRAY else ""
