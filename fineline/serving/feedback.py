"""Texts with the labels that are right, as people tell them: JSON Lines that `monitor` and `ingest` read.

A line is {"time": when it was told, "text", "label"}. Every writer has a file of its own, named by the time it began.
"""

import datetime
import errno
import json
import os
import threading
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from fineline.serving.settings import check_writable


class Feedback:
    """Appends to a file in `folder`, which is made with the first line; what was added is on the disk.

    Raises ResourceError when the folder cannot be written.
    """

    def __init__(self, folder: Path, called: str):
        self._folder = folder
        self._file: BinaryIO | None = None
        self._lock = threading.Lock()
        check_writable(folder, called)

    def add(self, rows: Iterable[tuple[str, str]]) -> None:
        """Writes texts with their labels. Raises OSError when they cannot be written, on a full disk for one."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
        lines = [{"time": now, "text": text, "label": label} for text, label in rows]
        content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
        with self._lock:
            file = self._open()
            place = file.tell()
            try:
                if file.write(content) < len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(place)  # no half of a line
                file.seek(place)
                raise

    def _open(self) -> BinaryIO:
        if self._file is None or not Path(self._file.name).exists():  # someone may have tidied up
            self._folder.mkdir(parents=True, exist_ok=True)
            now = datetime.datetime.now(datetime.UTC)
            path = self._folder / f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:12]}.jsonl"
            self._file = path.open("xb", buffering=0)
        return self._file
