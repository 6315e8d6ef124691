"""fineline submit: starts the pipeline on a Kubeflow Pipelines server, and follows it."""

import argparse
import datetime
from typing import Any

from cli.follow import address, follow
from pipelines import client, packages
from pipelines.client import Server


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments: the server, what to run, and whether to wait."""
    client.add_arguments(parser)
    packages.add_arguments(parser)
    parser.add_argument(
        "--wait",
        action="store_true",
        help="follow the run step by step to its end; Ctrl-C stops following, not the run",
    )
    parser.epilog = (
        "example: fineline submit --host http://localhost:8080 --set train.epochs=5 --wait\n"
        f"{packages.RULE}\n"
        "Credentials come from the environment: docs/cluster.md, 'Credentials of the client'.\n"
        "exit codes of --wait: 0 the run succeeded, 1 it failed, 143 it was canceled, 4 the server cannot be reached any more"
    )


def run(flags: argparse.Namespace) -> int:
    """Checks, uploads what is new, starts the run. With --wait the run's verdict is the exit code."""
    content = packages.prepare(flags.pipeline, flags.overrides, flags.params, cached=not flags.no_cache)
    server = client.connect(flags.host, flags.namespace)
    version, is_new = packages.upload(server, content)
    print(
        f"pipeline    {content.pipeline} {content.version}{', uploaded now' if is_new else ', on the server already'}"
    )
    print(f"arguments   {', '.join(sorted(content.arguments)) or 'none: the values of the version'}")
    started = _start(server, content, version, flags.experiment)
    print(f"run         {started.run_id}")
    print(f"            {address(server, started.run_id)}", flush=True)
    if flags.wait:
        follow(server, started.run_id, content.steps)
        print("the run succeeded")
    return 0


def _start(server: Server, content: packages.Package, version: Any, experiment: str) -> Any:
    from kfp_server_api import V2beta1Run

    name = f"{content.pipeline} {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"
    body = V2beta1Run(
        display_name=name,
        experiment_id=packages.experiment(server, experiment),
        **packages.references(version, content),
    )
    return server.call("RunServiceApi.run_service_create_run", body)
