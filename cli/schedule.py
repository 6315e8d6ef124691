"""fineline schedule: recurring runs on a Kubeflow Pipelines server.

The server cannot change a recurring run (kubeflow/pipelines#3789) and makes a second one for a second request. So a digest of
all that makes a schedule stands in the description of its recurring run; `apply` compares it, and replaces what differs.
"""

import argparse
import datetime
import difflib
import hashlib
import json
import re
from shlex import quote
from typing import Any

from fineline.process.errors import UsageError
from pipelines import client, packages
from pipelines.client import Server, ServerError

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_DIGEST = re.compile(r"\(fineline schedule ([0-9a-f]{16})\)$")
_LIST = "RecurringRunServiceApi.recurring_run_service_list_recurring_runs"
_TIME_ZONE = "Times are UTC, unless ml-pipeline-scheduledworkflow was given another zone (CRON_SCHEDULE_TIMEZONE)."


def configure(parser: argparse.ArgumentParser) -> None:
    """The actions and their arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, does in {
        "apply": "make the schedule as said, or leave it when it is so already",
        "list": "show the schedules and when each runs next",
        "pause": "start no more runs; those that run go on",
        "resume": "start runs again; what was missed is not made up for",
        "delete": "remove the schedule; its runs stay",
    }.items():
        action = actions.add_parser(
            name,
            help=does,
            description=f"{does[0].upper()}{does[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        client.add_arguments(action)
        if name != "list":
            action.add_argument("name", metavar="NAME", help="name of the schedule: small letters, digits, '-'")
        if name == "apply":
            action.add_argument(
                "--cron",
                required=True,
                metavar="'M H D M W'",
                help="when: five fields as in crontab, or @daily and such",
            )
            packages.add_arguments(action)
            action.set_defaults(pipeline="")
            action.epilog = (
                "example: fineline schedule apply nightly --cron '0 3 * * *' --set train.epochs=5\n"
                "fineline schedule apply retraining --cron ... takes the pipeline of that name without --pipeline.\n"
                f"{packages.RULE}\n"
                "A schedule that differs is replaced by one that runs, also when it was paused; one that is paused and does not\n"
                "differ stays paused. One run at a time; runs that were missed are not made up for.\n"
                f"{_TIME_ZONE}"
            )
    parser.epilog = f"example: fineline schedule apply nightly --cron '0 3 * * *'\n{_TIME_ZONE}"


def run(flags: argparse.Namespace) -> int:
    """Does the action."""
    return {"apply": _apply, "list": _list, "pause": _pause, "resume": _resume, "delete": _delete}[flags.action](flags)


def six_fields(cron: str) -> str:
    """A crontab line's five fields, or @daily and such, as Kubeflow Pipelines takes them: six, seconds first, all numbers.

    Lists are written out because robfig/cron, which the server uses, knows no 7 for Sunday, no ranges over a week's end, and
    takes five fields for seconds to months. Raises UsageError.
    """
    from croniter import CroniterError, croniter

    if not cron.startswith("@") and len(cron.split()) != 5:
        raise UsageError(
            f"--cron '{cron}' has {len(cron.split())} fields, not 5",
            "minute hour day month weekday: --cron '0 3 * * *'",
        )
    try:
        fields, nth_weekdays = croniter.expand(cron)
        croniter(cron, datetime.datetime.now(datetime.UTC)).get_next()
    except CroniterError as error:
        raise UsageError(
            f"--cron '{cron}' is no schedule: {error}", "for instance '0 3 * * *', '*/30 * * * 1-5'"
        ) from None
    values = [value for field in fields for value in field]
    if nth_weekdays or any(value != "*" and not isinstance(value, int) for value in values):
        raise UsageError(f"--cron '{cron}': Kubeflow Pipelines knows no L and no #", "name days and weekdays by number")
    return " ".join(["0", *(",".join(map(str, field)) for field in fields)])


def _apply(flags: argparse.Namespace) -> int:
    from kfp_server_api import V2beta1CronSchedule, V2beta1RecurringRun, V2beta1Trigger

    if not _NAME.fullmatch(flags.name):
        raise UsageError(
            f"'{flags.name}' cannot name a schedule", "1 to 63 small letters, digits and '-', none at the ends"
        )
    cron = six_fields(flags.cron)
    pipeline = flags.pipeline or (flags.name if flags.name in packages.PIPELINES else "training")
    content = packages.prepare(pipeline, flags.overrides, flags.params, cached=not flags.no_cache)
    server = client.connect(flags.host, flags.namespace)
    existing = _found(server, flags.name)
    parts = [cron, content.pipeline, content.version, content.arguments, content.service_account, flags.experiment]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
    same = [job for job in existing if _digest(job) == digest]
    others = [job for job in existing if _digest(job) != digest]
    for job in others:  # before the new one starts runs
        _call(server, "disable", job)
    if not same:
        version, _ = packages.upload(server, content)
        body = V2beta1RecurringRun(
            display_name=flags.name,
            description=f"{flags.cron}: {content.pipeline} {content.version} (fineline schedule {digest})",
            experiment_id=packages.experiment(server, flags.experiment),
            trigger=V2beta1Trigger(cron_schedule=V2beta1CronSchedule(cron=cron)),
            mode="ENABLE",
            max_concurrency=1,
            no_catchup=True,
            **packages.references(version, content),
        )
        server.call("RecurringRunServiceApi.recurring_run_service_create_recurring_run", body)
        same = [job for job in _found(server, flags.name) if _digest(job) == digest]
        verdict = "replaced" if others else "created"
    else:
        verdict = "unchanged"
    kept, *twice = sorted(same, key=lambda job: (job.status != "ENABLED", job.created_at, job.recurring_run_id))
    if others and kept.status == "DISABLED":  # the others were to replace it, and the apply was cut off
        _call(server, "enable", kept)
        kept.status = "ENABLED"
    for job in [*others, *twice]:
        _remove(server, job)
    leftovers = len(twice) + (len(others) if verdict == "unchanged" else 0)
    removed = f"; {leftovers} left over from an apply that was cut off, removed" if leftovers else ""
    paused = f", paused: fineline schedule resume {quote(flags.name)}" if kept.status == "DISABLED" else ""
    print(f"{flags.name}: {verdict}{paused}{removed}")
    print(f"  {content.pipeline} {content.version}, arguments: {', '.join(sorted(content.arguments)) or 'none'}")
    print(f"  {flags.cron} ({cron} in Kubeflow); next: {', '.join(_next(cron, 3))}")
    print(f"  {_TIME_ZONE}")
    return 0


def _list(flags: argparse.Namespace) -> int:
    server = client.connect(flags.host, flags.namespace)
    jobs = sorted(_all(server), key=lambda job: job.display_name)
    rows = [("NAME", "STATE", "NEXT", "WHAT")]
    for job in jobs:
        coming = _next(job.trigger.cron_schedule.cron, 1)[0] if job.status == "ENABLED" else "-"
        state = {"ENABLED": "active", "DISABLED": "paused"}.get(job.status, "broken")
        rows.append((job.display_name, state, coming, _DIGEST.sub("", job.description).strip()))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]))
    print(_TIME_ZONE)
    return 0


def _pause(flags: argparse.Namespace) -> int:
    server = client.connect(flags.host, flags.namespace)
    for job in _existing(server, flags.name):
        _call(server, "disable", job)
    print(f"{flags.name}: paused")
    return 0


def _resume(flags: argparse.Namespace) -> int:
    server = client.connect(flags.host, flags.namespace)
    *leftovers, newest = sorted(_existing(server, flags.name), key=lambda job: job.created_at)
    for job in leftovers:
        _call(server, "disable", job)
    _call(server, "enable", newest)
    print(f"{flags.name}: active, next: {', '.join(_next(newest.trigger.cron_schedule.cron, 3))}")
    print(f"  {_TIME_ZONE}")
    return 0


def _delete(flags: argparse.Namespace) -> int:
    server = client.connect(flags.host, flags.namespace)
    for job in _existing(server, flags.name):
        _remove(server, job)
    print(f"{flags.name}: deleted")
    return 0


def _existing(server: Server, name: str) -> list[Any]:
    """The schedule's recurring runs: one, or more after an apply that was cut off. Raises UsageError when there is none."""
    if jobs := _found(server, name):
        return jobs
    names = sorted({job.display_name for job in _all(server)})
    close = difflib.get_close_matches(name, names, n=1)
    raise UsageError(
        f"there is no schedule '{name}'" + (f", did you mean {close[0]}?" if close else ""),
        f"schedules are: {', '.join(names) or 'none yet'}",
    )


def _found(server: Server, name: str) -> list[Any]:
    """The recurring runs of that name. Raises UsageError for one that was not made here: it is somebody's own."""
    jobs = server.named(_LIST, name, namespace=server.namespace)
    if any(not _digest(job) for job in jobs):
        raise UsageError(
            f"there is a recurring run '{name}' that fineline did not make", "choose another name, or delete it by hand"
        )
    return jobs


def _all(server: Server) -> list[Any]:
    return [job for job in server.listed(_LIST, namespace=server.namespace) if _digest(job)]


def _digest(job: Any) -> str:
    found = _DIGEST.search(job.description or "")
    return found[1] if found else ""


def _call(server: Server, action: str, job: Any) -> None:
    server.call(f"RecurringRunServiceApi.recurring_run_service_{action}_recurring_run", job.recurring_run_id)


def _remove(server: Server, job: Any) -> None:
    try:
        _call(server, "delete", job)
    except ServerError as error:
        if error.status != 404:  # 404: another process removed it
            raise


def _next(cron: str, count: int) -> list[str]:
    """The next times of Kubeflow's six fields, in UTC."""
    from croniter import croniter

    times = croniter(cron.partition(" ")[2], datetime.datetime.now(datetime.UTC))
    return [f"{times.get_next(datetime.datetime):%Y-%m-%d %H:%M} UTC" for _ in range(count)]
