"""python -m components.monitor.watch --name fineline --source recent.csv --drift artifacts/drift --params params.yaml

monitor on the champion as the registry has it now. Where nothing can be compared (no source, no champion, one without a
reference) the artifact says so, and is no failure: a first retraining has no champion.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from components.monitor.__main__ import STEP
from fineline.kubeflow import delivery
from fineline.process.patience import patient
from fineline.steps.command_line import guarded, main, quiet_libraries

NOT_WATCHED = "not watched"


def configured() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m components.monitor.watch", description=str(__doc__).splitlines()[2]
    )
    parser.add_argument("--name", required=True, help="the registered model")
    parser.add_argument("--source", default="", metavar="TEXT", help="where the recent texts are; '' = nobody looks")
    parser.add_argument("--drift", required=True, type=Path, metavar="DIR", help="output: what monitor writes")
    parser.add_argument("--params", required=True, metavar="FILE_OR_JSON", help="parameters of monitor")
    parser.add_argument("--executor-input", default="", metavar="JSON", help="on Kubeflow: {{$}}")
    return parser


def watch(argv: list[str] | None = None) -> int:
    """Runs the command line; gives the exit code."""
    flags = configured().parse_args(argv)
    quiet_libraries()
    if flags.executor_input:  # --source and --params are decoded where they are read, by monitor
        flags.name = delivery.decoded(flags.name)
    with tempfile.TemporaryDirectory(prefix="fineline-") as temporary:
        code, found = guarded(
            lambda: patient(lambda: _champion(flags.name, flags.source, Path(temporary)), STEP.name), STEP.name
        )
        if code:
            return code
        if isinstance(found, Path):
            asked = ["--executor-input", flags.executor_input] if flags.executor_input else []
            compared = ["--bundle", str(found), "--source", flags.source, "--drift", str(flags.drift)]
            return main(STEP, [*compared, "--params", flags.params, *asked])
    code, _ = guarded(lambda: _not_watched(found, flags), STEP.name)
    return code


def _champion(name: str, source: str, folder: Path) -> Path | str:
    """The bundle of the champion, downloaded into `folder`, or why there is nothing to compare."""
    from fineline.artifacts import folders
    from fineline.bundles import reference
    from fineline.registry import fetch, ledger, model_versions
    from fineline.tracking import connection

    if not source:
        return "no source of recent texts is set"
    with model_versions.server_errors():
        server = connection.client()
        version = (
            ledger.aliases(server, name).get(model_versions.CHAMPION) if model_versions.exists(server, name) else None
        )
    if version is None:
        return f"{name} has no champion yet"
    bundle = fetch.download(fetch.find(f"models:/{name}/{version}"), folder)
    if reference.ROWS not in folders.read_manifest(bundle).files:
        return f"version {version} of {name} keeps no reference to compare with"
    return bundle


def _not_watched(why: str, flags: Any) -> None:
    from fineline.artifacts import folders
    from fineline.kubeflow import executor
    from fineline.reports import html_page

    asked = executor.parse(flags.executor_input) if flags.executor_input else None
    figures = {"verdict": NOT_WATCHED, "drifted": False, "enough": False, "p": 1.0, "rows": 0, "reason": why}
    with folders.output(flags.drift) as folder:
        folders.write_json(folder / "drift.json", figures)
        page = html_page.page("Drift", flags.name, [], [], verdict=f"{NOT_WATCHED}: {why}", tone="warn")
        (folder / folders.REPORT).write_text(page, encoding="utf-8")
        folders.write_manifest(folder, step=STEP.name, kind="drift", params={}, inputs={}, figures=figures)
    if asked:
        executor.write_output(asked, {"drift": flags.drift})
    print(f"{STEP.name}: {NOT_WATCHED}: {why}", flush=True)


if __name__ == "__main__":
    sys.exit(watch())
