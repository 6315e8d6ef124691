"""Connections: how long one may take to ask for something, and how many there may be."""

import asyncio
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from fineline.serving.settings import Settings

CROWDED = "crowded"
"""In the state of a request: it came by a connection above --max-connections, by which only probes are answered."""
FOR_PROBES = 64
"""Connections above --max-connections that are taken for a moment, so that probes and /metrics are still answered."""

_SECONDS_OF_A_PROBE = 1.0


class Connection(H11Protocol):
    """uvicorn's connection, closed where a request's head does not come in time, or nothing reads what was answered.

    uvicorn itself only closes a connection on which nothing at all comes after an answer.
    """

    def __init__(self, settings: "Settings", *args: Any, **options: Any):
        super().__init__(*args, **options)
        self._most, self._seconds = settings.max_connections, settings.head_seconds
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for a head; drops a connection that is one too many."""
        super().connection_made(transport)
        count = len(self.connections)
        if count > self._most + FOR_PROBES:
            transport.abort()
            return
        if count > self._most:
            self.app_state = {**self.app_state, CROWDED: True}
            self._seconds = min(self._seconds, _SECONDS_OF_A_PROBE)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Stops waiting when a head is whole; what comes after an answer begins another."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._wait()
        else:
            self._stop()

    def on_response_complete(self) -> None:
        """Waits for the rest of a head that began to come before the answer was sent."""
        super().on_response_complete()
        if self.cycle.response_complete and self.conn.trailing_data[0]:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the deadline."""
        self._stop()
        super().connection_lost(exc)

    def timeout_keep_alive_handler(self) -> None:
        """Ends the connection at once: close() waits for a client to read what it was sent."""
        self.transport.abort()

    def _wait(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self._seconds, self.transport.abort)

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
