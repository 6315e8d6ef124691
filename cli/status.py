"""fineline status: what serves, since when, on what evidence, and what waits."""

import argparse
import datetime
import json
from collections.abc import Iterator
from typing import Any

from cli import registered
from fineline.registry.ledger_state import AGREES


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("--json", action="store_true", help="one JSON object")
    registered.add_name(parser)
    parser.epilog = "example: fineline status"


def run(flags: argparse.Namespace) -> int:
    """Prints the status. It changes nothing in the registry."""
    from fineline.registry import model_versions

    with model_versions.server_errors():
        server, name = registered.opened(flags)
        found = status(server, name)
    if flags.json:
        print(json.dumps(found, indent=2, sort_keys=True, ensure_ascii=False))
    else:
        for line in _lines(found):
            print(line)
    return 0


def status(server: Any, name: str) -> dict[str, Any]:
    """{name, champion, challenger, waits, rejected, test_set, astray, ledger_deleted}, JSON values.

    `champion` and `challenger` are {version, line, judged, since, tags} or None: `judged` is the newest verdict on it, `since`
    its figures on test rows that joined after it was promoted, from the newest comparison with it. `waits` maps versions to what
    was noted on them, `rejected` to the ledger's line that says so; `astray` lists aliases that are not where the ledger says.
    """
    from components.promote import test_set
    from fineline.registry import ledger, model_versions

    state = ledger.look(server, name)
    versions = {int(found.version): found for found in server.search_model_versions(f"name='{name}'")}
    kept = ("bundle_sha256", "data_digest", "data_revision", "git_commit", "git_dirty", "gate", "test_set.digest")

    judged = {version: model_versions.read_note(made, model_versions.VERDICT) for version, made in versions.items()}
    newest_first = sorted(filter(None, judged.values()), key=lambda said: said["when"], reverse=True)
    waits = {
        version: model_versions.read_note(made, model_versions.WAITS) for version, made in sorted(versions.items())
    }

    def held(alias: str) -> dict[str, Any] | None:
        version = state.aliases.get(alias)
        if version not in versions:
            return None
        tags = versions[version].tags
        line = state.newest(alias)
        return {
            "version": version,
            "line": line if line and line["to"] == version else None,
            "judged": judged[version],
            "since": next(
                (said["since"] for said in newest_first if said["champion"] == version and said.get("since")), {}
            ),
            "tags": {key: tags[key] for key in kept if key in tags},
        }

    return {
        "name": name,
        "champion": held(model_versions.CHAMPION),
        "challenger": held(model_versions.CHALLENGER),
        "waits": {version: said for version, said in waits.items() if said},
        "rejected": state.rejected(),
        "test_set": test_set.newest(server, name),
        "ledger_deleted": not model_versions.has_run(server, state.run_id),
        "astray": [
            {
                "alias": alias,
                "registry": state.aliases.get(alias),
                "ledger": state.at(alias),
                "standing": registered.standing(state, alias),
                "remedy": registered.remedy(state, alias),
            }
            for alias in state.names
            if state.standing(alias) != AGREES
        ],
    }


def _lines(found: dict[str, Any]) -> Iterator[str]:
    champion, challenger = found["champion"], found["challenger"]
    if champion is None:
        yield "champion    none: nothing serves yet"
    else:
        yield from _champion(champion)
    if challenger and (champion is None or challenger["version"] != champion["version"]):
        judged = challenger["judged"]
        yield f"challenger  version {challenger['version']}: {_said(judged) if judged else 'not compared yet'}"
    for version, waits in found["waits"].items():
        yield f"waits       version {version}: {_said(waits)}, against champion {waits['champion'] or 'none'}"
        yield f"            fineline approve {version} --reason ... or fineline reject {version} --reason ..."
    for version, said in found["rejected"].items():
        yield f"rejected    version {version} by {said['who']}, {_date(said['when'])}: {said['reason']}"
    if state := found["test_set"]:
        yield f"test set    {state['rows']:,} rows since {_date(state['when'])}, sha256 {state['digest'][:12]}"
    for entry in found["astray"]:
        now = f"at version {entry['registry']}" if entry["registry"] else "nowhere"
        yield f"astray      {entry['alias']} is {now}, the ledger says {entry['ledger'] or 'none'}: {entry['standing']}"
        yield f"            {entry['remedy']}"
    if found["ledger_deleted"]:
        yield "ledger      its run was deleted, so nothing can be written: 'fineline repair' restores it"


def _champion(champion: dict[str, Any]) -> Iterator[str]:
    line, tags = champion["line"], champion["tags"]
    if line is None:
        yield f"champion    version {champion['version']}, moved outside the ledger"
    else:
        days = (datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(line["when"])).days
        yield f"champion    version {champion['version']} since {_date(line['when'])} ({days} days), by {line['who']}"
        yield f"            {line['verdict']}: {line['reason']}"
        if run := line["evidence"].get("run"):
            yield f"            evidence: run {run}, {line['evidence']['path']}"
    if gain := champion["judged"].get("corrected"):
        yield f"            gain in {gain['metric']} when promoted {_gain(gain)}, corrected for having been selected by it"
    if since := champion["since"]:
        figures = ", ".join(f"{name} {value:.4f}" for name, value in since.items() if name != "rows")
        yield f"            on {since.get('rows', 0):,} test rows that joined since: {figures}"
    dirty = ", with uncommitted changes" if tags.get("git_dirty") == "true" else ""
    yield (
        f"            bundle {tags.get('bundle_sha256', 'unknown')[:12]}, data {tags.get('data_digest', 'unknown')[:19]}, "
        f"code {tags.get('git_commit', 'unknown')[:12]}{dirty}"
    )


def _gain(gain: dict[str, Any]) -> str:
    return f"{gain['gain']:+.4f} ({gain['low']:+.4f} to {gain['high']:+.4f})"


def _said(judged: dict[str, Any]) -> str:
    return f"{judged['verdict']}: {judged['reason']}"


def _date(when: str) -> str:
    return f"{when[:16].replace('T', ' ')} UTC"
