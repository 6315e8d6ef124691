"""The store of a project without a server: mlflow.db, and its artifacts in mlruns/ beside it, wherever the folder is now.

MLflow writes absolute addresses of artifacts into the database. So a project that was moved does not find its models, and a copy
writes into the folder that it was copied from. And it reads an address without a scheme as encoded: a `%` in the path leads it
elsewhere.
"""

import contextlib
import re
import sqlite3
from pathlib import Path
from urllib.parse import unquote, urlsplit

ARTIFACTS = "mlruns"

_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
)
_SECONDS = 10.0


def settle(file: Path) -> None:
    """Points every address of artifacts in the database `file` to mlruns/ in its folder, if that is where they are or are to go.

    What lies in another folder's mlruns/ and is not here stays as it is. Raises sqlite3.Error when the file cannot be written.
    """
    if not file.is_file():
        return
    home = file.absolute().parent
    with contextlib.closing(sqlite3.connect(file, timeout=_SECONDS)) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "logged_models" not in tables or not _moved(database, "experiments", "artifact_location", home):
            return
        with database:
            for table, column in _COLUMNS:
                changes = _moved(database, table, column, home)
                database.executemany(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", changes)


def _moved(database: sqlite3.Connection, table: str, column: str, home: Path) -> list[tuple[str, str]]:
    """(where it is, what the database says) of each address that is not right."""
    found = database.execute(f"SELECT DISTINCT {column} FROM {table} WHERE {column} LIKE '%/{ARTIFACTS}/%'")
    return [(here, address) for (address,) in found if (here := _here(address, home)) != address]


def _here(address: str, home: Path) -> str:
    """The address of an artifact in the mlruns/ of `home`, or `address` where it lies elsewhere."""
    scheme = urlsplit(address).scheme
    if scheme not in ("", "file"):
        return address
    path = unquote(urlsplit(address).path) if scheme else address
    there = Path(unquote(path) if not scheme else path)  # where MLflow looks
    inside = path.rpartition(f"/{ARTIFACTS}/")[2]
    here = home / ARTIFACTS / inside
    if there.exists() and not here.exists():
        return address
    return here.as_uri() if re.search(r"[%#?]", str(home)) else str(here)
