"""promote: the registered model meets the champion on the frozen test set."""

import json
from pathlib import Path
from typing import Any

from components.promote.params import Params
from components.promote.verdict import HOLD
from fineline import artifacts, connection, registry, report
from fineline.dataset import read_splits
from fineline.errors import UsageError


def run(*, params: Params, bundle: Path, registration: Path, splits: Path, promotion: Path) -> str:
    """Judges the version of `registration`, made of `bundle`, and moves the alias champion if it may; gives the verdict.

    The test rows of `splits` join the frozen test set. When nothing was registered the verdict is hold. Raises UsageError
    when the inputs do not belong together, ResourceError when the server does not answer (the champion stays, and the same
    command goes on from there).
    """
    from components.promote import promotion as promoting

    connection.tracking_uri()
    registered = _registered(bundle, registration, splits)
    with artifacts.output(promotion) as folder:
        if registered["registered"]:
            with registry.server_errors():
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
            artifacts.write_json(folder / artifacts.PROMOTION, content)
        if not (folder / artifacts.REPORT).is_file():  # there was nothing to compare with
            html = report.page("Promotion", registered.get("name", ""), [], [], verdict=promoting.line(content))
            (folder / artifacts.REPORT).write_text(html, encoding="utf-8")
        artifacts.write_manifest(
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
    manifests = {name: artifacts.verify(path) for name, path in given.items()}
    for name, manifest in manifests.items():
        if manifest.kind != name:
            raise UsageError(f"{given[name]} is a {manifest.kind}, not a {name}", f"give the {name} folder to --{name}")
    for name in ("bundle", "splits"):
        if manifests["registration"].inputs.get(name) != manifests[name].digest:
            raise UsageError(
                f"{registration} is of another {name} than {given[name]}", f"give the --{name} that register was given"
            )
    return json.loads((registration / artifacts.REGISTRATION).read_text(encoding="utf-8"))
