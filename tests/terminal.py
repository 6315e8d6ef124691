"""A terminal of a chosen size that records what a program shows on it."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Sequence
from pathlib import Path

import pyte

_CHUNK = 65_536


def shown(command: Sequence[str], columns: int, lines: int = 40, cwd: Path | None = None) -> list[str]:
    """The lines that stand on a terminal of `columns` x `lines` when `command`, which must succeed, has ended on it."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd, env={**environment, "TERM": "xterm-256color"}
    )
    os.close(theirs)
    screen = pyte.Screen(columns, lines)
    stream = pyte.ByteStream(screen)
    try:
        while written := os.read(ours, _CHUNK):
            stream.feed(written)
    except OSError:  # EIO: Linux's way to say that nobody has the terminal open any more
        pass
    finally:
        os.close(ours)
    found = [line.rstrip() for line in screen.display]
    assert process.wait() == 0, "\n".join(found)
    return [line for line in found if line]
