"""The ids seen so far, on disk: memory stays flat however many rows there are."""

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path


class Seen:
    """How often each key was counted, and where it was first met."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def count(self, key: bytes, place: str = "") -> tuple[int, str]:
        """Counts `key` once more; gives how often it was counted, this time included, and its first `place`."""
        return self._connection.execute(
            "INSERT INTO seen VALUES (?, 1, ?) ON CONFLICT DO UPDATE SET times = times + 1 RETURNING times, place",
            (key, place),
        ).fetchone()


@contextlib.contextmanager
def open_seen(path: Path) -> Iterator[Seen]:
    """A new table at `path`, removed at the end. Raises OSError (ENOSPC) when the disk is full."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        # Nothing here has to outlive the process, so nothing is journalled or synced. Memory: 16 MB of pages.
        connection.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -16000;"
            "CREATE TABLE seen (key BLOB PRIMARY KEY, times INTEGER, place TEXT) WITHOUT ROWID;"
            "BEGIN"
        )
        yield Seen(connection)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    finally:
        connection.close()
        path.unlink(missing_ok=True)
