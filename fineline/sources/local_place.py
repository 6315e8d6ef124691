"""Which file or folder of this machine a location names. Light: every step's parameters ask it."""

import re
from pathlib import Path

GLOB = re.compile(r"[*?\[]")
"""What makes a location a pattern."""


def local_place(location: str) -> Path | None:
    """The file or folder of this machine that a location names, of a pattern the folder it begins in; None when it names none."""
    path = Path(location.removeprefix("file://"))
    if wild := next((number for number, part in enumerate(path.parts) if GLOB.search(part)), 0):
        path = Path(*path.parts[:wild])
    return path if location and path.exists() else None
