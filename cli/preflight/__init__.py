"""fineline doctor --cluster: all that a run needs on the cluster, asked before anything is started. Nothing is changed there."""

import argparse
from collections.abc import Callable, Iterator
from functools import partial

from cli.doctor import Finding
from cli.preflight import api, images, kubeflow, mlflow, namespace, objects, room
from cli.preflight.api import Unseen, View
from fineline.process.errors import FinelineError, UsageError
from pipelines import blocks, packages
from pipelines.client import INSTALLED_IN
from pipelines.compiler import PIPELINES

Check = Callable[[View], Iterator[Finding]]

OF_KUBERNETES: tuple[Check, ...] = (
    namespace.there,
    namespace.service_account,
    namespace.rights,
    objects.tracking_secret,
    objects.source_secret,
    objects.kubeflows_secret,
    objects.config_map,
    objects.checkpoints_claim,
    objects.hub_cache_claim,
    room.quota,
    room.limits,
    room.nodes,
    images.names,
    images.pull_secret,
    images.pullable,
    kubeflow.retries,
    mlflow.service,
)


def examine(flags: argparse.Namespace) -> Iterator[Finding]:
    """All findings, as they are found. Raises UsageError for parameters that are wrong, as submit does."""
    steps, cluster = blocks.read(flags.overrides, flags.params)
    yield from deliverable(flags)
    where = flags.namespace or INSTALLED_IN
    try:
        view = View(api.connect(), where, cluster)
        yield Finding("ok", f"Kubernetes {api.version(view)} at {view.api.configuration.host}")
    except (FinelineError, Unseen) as error:
        command = error.hint if isinstance(error, FinelineError) else error.command
        yield Finding("missing", f"{error.what}: nothing in the cluster was looked at", command)
        view = View(None, where, cluster)
    else:
        checks: list[Check] = [*OF_KUBERNETES, partial(mlflow.permissions, model=str(steps["register"]["name"]))]
        for check in checks:
            yield from _seen(check, view)
    yield from kubeflow.server(view, flags.host)


def _seen(check: Check, view: View) -> Iterator[Finding]:
    """The findings of a check; what it may not see is one too."""
    try:
        yield from check(view)
    except Unseen as error:
        yield Finding("cannot see", error.what, error.command)


def deliverable(flags: argparse.Namespace) -> Iterator[Finding]:
    """Whether both pipelines compile and their parameters reach the steps as they are."""
    for pipeline in PIPELINES:
        try:
            content = packages.prepare(pipeline, flags.overrides, flags.params)
        except UsageError as error:
            yield Finding("missing", f"{pipeline} pipeline: {error.what}", error.hint)
        else:
            yield Finding("ok", f"{pipeline} pipeline: {len(content.steps)} steps, all parameters can be delivered")
