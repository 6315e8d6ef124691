"""Bearer tokens from a file, each on a line of its own, so that an old one may live on for a while beside the new one."""

import hmac
import logging
from pathlib import Path

from starlette.types import Scope

from fineline.process.errors import ResourceError, UsageError

OPEN = ("/v2/health/live", "/v2/health/ready")
"""What is answered to anyone: probes bring no token."""

log = logging.getLogger("fineline.serving")


class Tokens:
    """The tokens of `path`, read again when the file changes; while it cannot be read, or is empty, those read last count.

    Raises ResourceError or UsageError where there is no token to begin with.
    """

    def __init__(self, path: Path):
        self._path = path
        self._seen: tuple[int, ...] = ()
        try:
            self._seen, self._tokens = self._state(), _read(path)
        except OSError as error:
            raise ResourceError(
                f"--token-file {path} cannot be read: {error.strerror}", "give a file that this user may read"
            ) from None
        if not self._tokens:
            raise UsageError(f"--token-file {path} holds no token", "write one: openssl rand -hex 32 > FILE")

    def allow(self, scope: Scope) -> bool:
        """Whether a request may be answered: by its path, or by the token in its header Authorization."""
        if scope["path"] in OPEN:
            return True
        self._look()
        scheme, _, token = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
        found = [hmac.compare_digest(token.strip(), each) for each in self._tokens]  # all of them: time tells nothing
        return scheme.lower() == b"bearer" and any(found)

    def _look(self) -> None:
        tokens: list[bytes] = []
        try:
            state = self._state()
            if state != self._seen:
                tokens = _read(self._path)
        except OSError as error:
            state = (error.errno or 0,)
        if state == self._seen:
            return
        self._seen = state
        if tokens:
            self._tokens = tokens
            log.info("tokens read", extra={"fields": {"tokens": len(tokens)}})
        else:
            why = f"{self._path} is empty or cannot be read: those read last count"
            log.error("no tokens", extra={"fields": {"why": why}})

    def _state(self) -> tuple[int, ...]:
        found = self._path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path) -> list[bytes]:
    return [line.strip() for line in path.read_bytes().splitlines() if line.strip()]
