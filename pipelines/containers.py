"""A step's container on this machine: how it is started, what it sees, and that it is not left behind."""

import csv
import io
import os
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

LOST = 125
"""Exit code of `docker run` when Docker itself failed, the engine that went away included; the program's own codes are others."""

_RESTRICTED = "--read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges"
_START = f"docker run --rm --init --network host {_RESTRICTED}".split()
_SECONDS_TO_REMOVE = 30.0
_SECONDS_TO_ANSWER = 10.0


def mount(source: Path, target: Path | None = None, read_only: bool = False) -> str:
    """What `docker run --mount` takes for a file or folder of this machine, at `target` or where it is here.

    Docker reads it as a line of CSV, so that names may hold what they like; `-v` would end a name at its first colon.
    """
    line = io.StringIO()
    fields = ["type=bind", f"source={source}", f"target={target or source}", *(["readonly"] if read_only else [])]
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()


def command(
    container: str, image: str, program: Sequence[str], variables: Iterable[str], mounts: Iterable[str]
) -> list[str]:
    """What runs `program` in a container of that name, with these environment variables (by name) and `mounts` (of `mount`)."""
    user = f"{os.getuid()}:{os.getgid()}"  # whose files the parameters name, and whose the outputs will be
    given = [part for name in variables for part in ("--env", name)]  # by name: values stay out of `ps`
    mounted = [part for value in mounts for part in ("--mount", value)]
    return [*_START, "--name", container, "--user", user, *given, *mounted, image, *program]


def remove(container: str) -> str:
    """Ends and removes a container that `docker run` lost sight of; gives a line for the log that says how that went.

    An engine that does not answer is asked for 30 seconds: one that is started again takes so long.
    """
    deadline = time.monotonic() + _SECONDS_TO_REMOVE
    while True:
        try:
            done = subprocess.run(
                ["docker", "rm", "--force", container], capture_output=True, text=True, timeout=_SECONDS_TO_ANSWER
            )
            if done.returncode == 0 or "No such container" in done.stderr:
                return f"no container is left: {container} was removed, or never started\n"
        except subprocess.TimeoutExpired:
            pass
        if time.monotonic() > deadline:
            return f"the container may still run: docker rm --force {container}, once the engine answers\n"
        time.sleep(1)
