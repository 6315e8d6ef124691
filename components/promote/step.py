"""promote: the registered model meets the champion on the frozen test set."""

import json
from pathlib import Path
from typing import Any

from components.promote.params import Params
from components.promote.verdict import HOLD
from fineline.artifacts import folders
from fineline.process.errors import UsageError
from fineline.registry import model_versions
from fineline.reports import html_page
from fineline.rows.dataset import read_splits
from fineline.tracking import connection


def run(*, params: Params, bundle: Path, registration: Path, splits: Path, promotion: Path) -> str:
    """Judges the version of `registration`, made of `bundle`, and moves the alias champion if it may; gives the verdict.

    The test rows of `splits` join the frozen test set. When nothing was registered the verdict is hold. Raises UsageError
    when the inputs do not belong together, ResourceError when the server does not answer (the champion stays, and the same
    command goes on from there).
    """
    from components.promote import promotion as promoting

    connection.tracking_uri()
    registered = _registered(bundle, registration, splits)
    with folders.output(promotion) as folder:
        if registered["registered"]:
            with model_versions.server_errors():
                rows = read_splits(splits)["test"]
                name, version = registered["name"], registered["version"]
                content = promoting.promote(connection.client(), params, name, version, bundle, folder, rows)
        else:
            content = {
                "verdict": HOLD,
                "reason": f"nothing was registered: {registered['why']}",
                "moved": False,
                "waits": False,
            }
            folders.write_json(folder / folders.PROMOTION, content)
        if not (folder / folders.REPORT).is_file():  # there was nothing to compare with
            html = html_page.page("Promotion", registered.get("name", ""), [], [], verdict=promoting.line(content))
            (folder / folders.REPORT).write_text(html, encoding="utf-8")
        folders.write_manifest(
            folder,
            step="promote",
            kind="promotion",
            params=params.recorded(),
            inputs={"bundle": bundle, "registration": registration, "splits": splits},
            figures={key: content[key] for key in ("verdict", "moved", "waits")},
            run_id=registered.get("run_id", ""),
        )
    return promoting.line(content)


def _registered(bundle: Path, registration: Path, splits: Path) -> dict[str, Any]:
    """registration.json, of inputs that belong together."""
    given = {"bundle": bundle, "registration": registration, "splits": splits}
    manifests = {name: folders.verify(path) for name, path in given.items()}
    for name, manifest in manifests.items():
        if manifest.kind != name:
            raise UsageError(f"{given[name]} is a {manifest.kind}, not a {name}", f"give the {name} folder to --{name}")
    for name in ("bundle", "splits"):
        if manifests["registration"].inputs.get(name) != manifests[name].digest:
            raise UsageError(
                f"{registration} is of another {name} than {given[name]}", f"give the --{name} that register was given"
            )
    return json.loads((registration / folders.REGISTRATION).read_text(encoding="utf-8"))
