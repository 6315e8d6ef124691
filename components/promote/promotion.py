"""A challenger meets the champion, and takes its place if the verdict says so. For the step and for `fineline promote`."""

import datetime
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.promote import budget, page, test_set
from components.promote.meeting import Anchor, Meeting, meet
from components.promote.params import Params
from components.promote.verdict import HOLD, PROMOTE
from fineline.artifacts import folders
from fineline.bundles.bundle import open_bundle, self_test
from fineline.process.errors import ResourceError, UsageError
from fineline.registry import archive, fetch, ledger, model_versions, training_rows
from fineline.registry.ledger_state import ASTRAY, CHAMPION, DELETED, HALF_DONE
from fineline.rows.dataset import write_rows

if TYPE_CHECKING:
    import pandas as pd

FORCED = "forced"
JUDGED_ON = "test_set.digest"
"""Tag of a version: the state of the test set that it was judged on."""

_ATTEMPTS = 10


def promote(
    server: Any,
    params: Params,
    name: str,
    version: int,
    bundle: Path,
    folder: Path,
    rows: "pd.DataFrame | None" = None,
    force: str = "",
    asked: bool = False,
) -> dict[str, Any]:
    """Judges `version`, whose bundle lies in `bundle`, and moves the alias champion if it may; gives promotion.json's content.

    `rows` join the frozen test set first. Writes promotion.json, comparison.parquet and report.html into `folder` and logs
    them to the version's run before the alias moves. When another process moved it meanwhile, the challenger is judged
    again, against the new champion: a verdict is on two models. `force` (the reason) moves it whatever the verdict;
    `asked` says that a person did ask: a rejection does not count then. Raises ResourceError when the bundle fails its
    self-test or the champion keeps changing, UsageError when there is no test row to compare on.
    """
    self_test(open_bundle(bundle))
    frozen, state, counts = _test_rows(server, name, version, bundle, rows)
    for _attempt in range(_ATTEMPTS):
        champion = ledger.position(server, name, CHAMPION)
        content: dict[str, Any] = {
            "name": name,
            "version": version,
            "champion": champion,
            "test_set": {**state, **counts},
            "moved": False,
        }
        if champion == version:
            return _written(folder, {**content, **_plain(PROMOTE, "it is the champion already"), "waits": False})
        if not asked and (said := ledger.rejection(server, name, version)):
            why = f"rejected by {said['who']}: {said['reason']}"
            return _written(folder, {**content, **_plain(HOLD, why), "waits": False})
        content |= _judged(server, params, name, champion, version, bundle, frozen, content, folder)
        moves = content["verdict"] == PROMOTE or bool(force)
        content["waits"] = moves and not asked and params.mode == "manual"
        content["evidence"] = _log(server, name, content, folder)
        _note(server, name, version, content)
        if not moves or content["waits"]:
            return _written(folder, content)
        reason = f"{force} (verdict {content['verdict']}: {content['reason']})" if force else content["reason"]
        try:
            ledger.move(
                server,
                name,
                CHAMPION,
                version,
                expected=champion,
                verdict=FORCED if force else content["verdict"],
                reason=reason,
                evidence=content["evidence"],
                unless_rejected=not asked,
            )
        except ledger.Moved:
            continue
        return _written(folder, {**content, "moved": True})
    raise ResourceError(f"the champion of {name} changed {_ATTEMPTS} times while it was compared with", "run it again")


def foreseen(server: Any, params: Params, name: str, version: int, bundle: Path, force: str = "") -> str:
    """What `promote` of a person would do, in a line; nothing is written. The self-test is made, no answer is compared: a look at
    the verdict would be a question to the test set that its budget does not know of."""
    self_test(open_bundle(bundle))
    state = ledger.look(server, name)
    champion = state.at(CHAMPION)
    if state.standing(CHAMPION) == ASTRAY:
        raise ledger.astray(name, CHAMPION, state)
    ending = "finish the move of champion that was cut short, then " if state.standing(CHAMPION) == HALF_DONE else ""
    moves = f"make models:/{name}/{version} champion{f', before it {champion}' if champion else ''}"
    if champion == version:
        return (
            f"would {ending}do nothing more: models:/{name}/{version} is the champion"
            if ending
            else (f"would do nothing: models:/{name}/{version} is the champion already")
        )
    if champion is None:
        return f"would {moves}: there is no champion yet; it passed its self-test"
    if state.standing(CHAMPION) == DELETED:
        return f"would {moves if force else 'hold'}: the champion, version {champion}, was deleted"
    frozen, test_rows, _ = _test_rows(server, name, version, bundle, None)
    asked = _question(server, name, champion, version, test_rows["digest"])
    written = ledger.entries(server, state.run_id, budget.SERIES)
    level, known = budget.foreseen(written, params.alpha, asked, len(frozen))
    question = "the same question as before" if known else f"question {level.questions}"
    waits = "" if force else " if the verdict is promote"
    return (
        f"would {ending}compare version {version} with champion {champion} on {len(frozen):,} frozen test rows ({question}, "
        f"at level {level.now:.2g}) and {moves}{waits}; it passed its self-test"
    )


def line(content: Mapping[str, Any]) -> str:
    """One line for people: the verdict, and what it did."""
    if "version" not in content:
        return f"{content['verdict']}: {content['reason']}"
    if content["moved"]:
        done = f"models:/{content['name']}/{content['version']} is champion"
        before = f", before it {content['champion']}" if content["champion"] else ""
        verdict = "" if content["verdict"] == PROMOTE else f"{FORCED}, the verdict was "
        return f"{verdict}{content['verdict']}: {done}{before}; {content['reason']}"
    waits = f"; waits: fineline approve {content['version']} --reason ..." if content["waits"] else ""
    return f"{content['verdict']}: {content['reason']}{waits}"


def fetched(server: Any, name: str, version: int, folder: Path) -> Path:
    """The bundle of a version, downloaded into `folder` and checked against the version's sha256."""
    tags = model_versions.version_of(server, name, version).tags
    if model_versions.SHA256 not in tags:
        raise UsageError(f"models:/{name}/{version} was not registered by fineline", "give another version")
    return fetch.download(fetch.Version(name, str(version), tags[model_versions.SHA256]), folder)


def _test_rows(
    server: Any, name: str, version: int, bundle: Path, rows: "pd.DataFrame | None"
) -> "tuple[pd.DataFrame, dict[str, Any], dict[str, int]]":
    """The rows to judge on, the state of the test set, and how many joined."""
    if rows is not None:
        task = open_bundle(bundle).task
        frozen, state, counts = test_set.join(server, name, task, rows, _address(name, version))
        return test_set.active(frozen), state, counts
    newest = test_set.newest(server, name)
    if newest is None:
        raise UsageError(
            f"{name} has no frozen test set yet",
            "run the pipeline's promote step once (dvc repro): its test rows begin it",
        )
    return test_set.active(test_set.fetch(server, name, newest)), newest, {"joined": 0, "known": 0}


def _judged(
    server: Any,
    params: Params,
    name: str,
    champion: int | None,
    version: int,
    bundle: Path,
    frozen: "pd.DataFrame",
    content: dict[str, Any],
    folder: Path,
) -> dict[str, Any]:
    """The verdict and what it rests on, as promotion.json holds it; a comparison writes comparison.parquet and report.html.

    The question is written into the ledger before any answer to it is looked at.
    """
    if champion is None:
        return {**_plain(PROMOTE, "first: there is no champion yet"), "anchor": version}
    if not ledger.has_version(server, name, champion):
        gone = f"the champion, version {champion}, was deleted: nothing can be compared with it"
        verdict = _plain(HOLD, f"{gone} until 'fineline rollback --reason ...' returns to another one")
        return {**verdict, "anchor": anchor_of(ledger.read(server, name)) or champion}
    asked = _question(server, name, champion, version, content["test_set"]["digest"])
    anchor = asked["anchor"]
    level = budget.ask(server, name, params.alpha, asked, len(frozen))
    with tempfile.TemporaryDirectory(prefix="fineline-") as temporary:
        there = Path(temporary)
        bundles = {
            "champion": open_bundle(fetched(server, name, champion, there / "champion")),
            "challenger": open_bundle(bundle),
        }
        seen = {}
        for model, number in (("champion", champion), ("challenger", version)):
            (there / model).mkdir(exist_ok=True)
            seen[model] = training_rows.read(server, model_versions.version_of(server, name, number), there / model)
        old = test_set.others(frozen, _address(name, version))
        judged_on = model_versions.version_of(server, name, champion).tags.get(JUDGED_ON, "")
        since = test_set.joined_since(server, name, frozen, judged_on)
        compared = None if anchor == champion else _anchor(server, name, anchor, there / "anchor")
        meeting = meet(params, level, bundles, frozen, seen, old, since, compared)
    write_rows(meeting.answers, folder / folders.COMPARISON)
    added = _content(meeting)
    superior = params.require == "superior" and meeting.verdict["verdict"] == PROMOTE
    added |= {
        "anchor": version if superior else anchor,
        "question": {**asked, "number": level.questions, "level": level.now},
    }
    html = page.render({**content, **added}, meeting, frozen, params)
    (folder / folders.REPORT).write_text(html, encoding="utf-8")
    return added


def _question(server: Any, name: str, champion: int, version: int, digest: str) -> dict[str, Any]:
    anchor = anchor_of(ledger.read(server, name)) or champion
    return {"champion": champion, "challenger": version, "anchor": anchor, "test_set": digest}


def anchor_of(lines: list[dict[str, Any]]) -> int | None:
    """The last version that became champion because it was proven better (or was the first), by the ledger's `lines`; None
    when there is no champion. Going back to a version goes back to its anchor."""
    now: int | None = None
    of: dict[int, int] = {}
    for line in lines:
        if line["alias"] != CHAMPION:
            continue
        to, given = line["to"], line["evidence"].get("anchor")
        if given is not None:
            now = given
        elif to in of:
            now = of[to]
        elif now is None or line["verdict"] == PROMOTE:  # a line from before anchors were written
            now = to
        of[to] = now
    return now


def _anchor(server: Any, name: str, version: int, folder: Path) -> Anchor:
    """The anchor with its bundle, downloaded into `folder`."""
    if not ledger.has_version(server, name, version):
        return Anchor(version, None, missing="it was deleted; a person can move the alias all the same (--force)")
    folder.mkdir()
    seen = training_rows.read(server, model_versions.version_of(server, name, version), folder)
    return Anchor(version, open_bundle(fetched(server, name, version, folder / "bundle")), seen)


def _address(name: str, version: int) -> str:
    return f"models:/{name}/{version}"


def _content(meeting: Meeting) -> dict[str, Any]:
    return {
        **meeting.verdict,
        "rows": meeting.counts,
        "seen": meeting.seen,
        "comparison": meeting.found,
        "costs": meeting.costs,
        "labels": {"shared": len(meeting.shared), "changed": meeting.changed_labels},
    }


def _plain(verdict: str, reason: str) -> dict[str, Any]:
    return {"verdict": verdict, "reason": reason, "rules": [], "more_rows": 0, "corrected": {}}


def _log(server: Any, name: str, content: dict[str, Any], folder: Path) -> dict[str, str]:
    """Logs the evidence to the version's run, or (it was deleted) to the ledger's; gives where it lies: run, path, sha256 of
    promotion.json there."""
    run_id = model_versions.version_of(server, name, content["version"]).run_id
    if not model_versions.has_run(server, run_id):
        run_id = ledger.run_of(server, name)
    _written(folder, content)
    digest = folders.sha256_file(folder / folders.PROMOTION)
    # With the digest in its name no later comparison of the same two takes its place.
    path = f"promote/{content['version']}-against-{content['champion'] or 'none'}-{digest[:12]}"
    archive.keep(server, name, run_id, folder / folders.PROMOTION, path)
    for file in (folders.COMPARISON, folders.REPORT):
        if (folder / file).is_file():
            server.log_artifact(run_id, str(folder / file), path)
    return {"run": run_id, "path": path, "sha256": digest, "anchor": content["anchor"]}


def _note(server: Any, name: str, version: int, content: Mapping[str, Any]) -> None:
    """Says on the version itself what was judged, on which test set, and whether it waits for a person."""
    said = {
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **{key: content[key] for key in ("verdict", "reason", "champion", "evidence")},
        "corrected": content.get("corrected", {}),
        "since": content.get("comparison", {}).get("since", {}),
    }
    server.set_model_version_tag(name, str(version), JUDGED_ON, content["test_set"]["digest"])
    model_versions.note(server, name, version, model_versions.VERDICT, said)
    model_versions.note(server, name, version, model_versions.WAITS, said if content["waits"] else None)


def _written(folder: Path, content: dict[str, Any]) -> dict[str, Any]:
    folders.write_json(folder / folders.PROMOTION, content)
    return content
