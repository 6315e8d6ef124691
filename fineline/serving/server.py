"""The process: everything put together, started, and shut down without losing a request."""

import resource
import signal
import socket
import time
from functools import partial
from types import FrameType

import uvicorn
from fastapi import FastAPI

from fineline.process.errors import ResourceError, UsageError
from fineline.serving import tracing
from fineline.serving.app import Service, make_app
from fineline.serving.batching import Batcher
from fineline.serving.connections import FOR_PROBES, Connection
from fineline.serving.edge import QUIET
from fineline.serving.feedback import Feedback
from fineline.serving.logs import log_json
from fineline.serving.metrics import Metrics
from fineline.serving.models import SHADOW, Watch, log
from fineline.serving.sample_log import SampleLog
from fineline.serving.settings import Settings
from fineline.serving.shadow import Shadow
from fineline.serving.tokens import Tokens

KEEP_ALIVE_SECONDS = 75
"""Longer than nginx and AWS keep a connection to a server that does nothing, 60 s: else they send on one that was just closed."""

_OTHER_FILES = 128  # the model's, the logs', the threads' and those of connections above the limit


def serve(settings: Settings) -> None:
    """Serves until SIGTERM, SIGHUP or SIGINT, then answers what was accepted.

    Nothing listens before the model has passed its self-test. Raises UsageError for a model that is not there, ResourceError
    for one that fails its self-test, a registry that does not answer, a port that is taken or a log folder that cannot be
    written.
    """
    log_json()
    _allow_files(settings.max_connections + FOR_PROBES + _OTHER_FILES)
    metrics = Metrics()
    tokens = Tokens(settings.token_file) if settings.token_file else None
    feedback = Feedback(settings.feedback_folder, "--feedback-folder") if settings.feedback_folder else None
    sample_log = None
    if settings.log_folder:
        sample_log = SampleLog(settings.log_folder, settings.log_sample, settings.log_seconds, metrics)
    with _listen(settings) as listener:
        watches = [Watch(settings, metrics, settings.model)]
        batcher = Batcher(settings.threads, settings.max_wait_ms, settings.max_queue, metrics)
        shadow = None
        if settings.shadow:
            watches.append(Watch(settings, metrics, settings.shadow, SHADOW))
            shadow = Shadow(watches[1], settings.canary, batcher, metrics, sample_log)
        app = make_app(Service(settings, watches[0], batcher, metrics, sample_log, shadow, tokens, feedback))
        if traces := tracing.provider():
            app.add_middleware(tracing.Traces, provider=traces, quiet=QUIET)
        _run(app, settings, listener)
    for watch in watches:
        watch.stop()
    batcher.close(seconds=1)
    if sample_log:
        sample_log.close()
    if traces:
        tracing.close(traces, seconds=2)
    log.info("stopped")


def _run(app: FastAPI, settings: Settings, listener: socket.socket) -> None:
    """Answers at `listener` until a signal ends it."""
    config = uvicorn.Config(
        app,
        http=partial(Connection, settings),  # type: ignore[arg-type]  # it is called, as the class is
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
    host, port = listener.getsockname()[:2]
    log.info("listening", extra={"fields": {"host": host, "port": port}})
    server = _Server(config, settings.drain_seconds)
    signal.signal(
        signal.SIGHUP, server.handle_exit
    )  # of a terminal that is closed; uvicorn itself knows SIGTERM and SIGINT
    server.run(sockets=[listener])


class _Server(uvicorn.Server):
    """uvicorn's server, which first says for `drain` seconds that it is not ready, and whose end by a signal is no failure."""

    def __init__(self, config: uvicorn.Config, drain: float):
        super().__init__(config)
        self._drain = drain
        self._close_at = float("inf")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal starts the end, the second hastens it."""
        if self._close_at == float("inf"):
            self.config.app.state.ready = False  # type: ignore[union-attr]
            self._close_at = time.monotonic() + self._drain
            log.info("stopping", extra={"fields": {"signal": signal.Signals(sig).name}})
        else:
            self.should_exit = self.force_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Whether to end now; asked ten times a second."""
        if time.monotonic() >= self._close_at:
            self.should_exit = True
        return await super().on_tick(counter)


def _allow_files(needed: int) -> None:
    """Raises this process's limit of open files to `needed` where it is lower: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise UsageError(
            f"--max-connections needs {needed} open files, and this process may have {hard} (ulimit -n)",
            f"give --max-connections {max(1, hard - FOR_PROBES - _OTHER_FILES)} at most, or raise the limit",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _listen(settings: Settings) -> socket.socket:
    """A socket that is bound, so that a port in use is known before a model is loaded, and does not accept yet."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is named; without it every answer waits 40 ms for an acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise ResourceError(
            f"cannot listen at {settings.host} port {settings.port}: {error.strerror}",
            "free the port, or give another --port or --host",
        ) from None
    return listener
