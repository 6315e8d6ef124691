"""The version that serves, and the watch over the alias that decides which one it is."""

import dataclasses
import logging
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from fineline.artifacts import folders
from fineline.process.errors import FinelineError
from fineline.registry import fetch

if TYPE_CHECKING:
    from fineline.bundles.bundle import Bundle
    from fineline.serving.metrics import Metrics
    from fineline.serving.settings import Settings

LOOKS_UNTIL_AGAIN = 10

log = logging.getLogger("fineline.serving")


@dataclasses.dataclass(frozen=True, eq=False)
class Served:
    """A version ready to answer: self-tested, with one thread for each run.

    `sha256` is the digest of its bundle (hex), `max_batch` how many texts may share a run.
    """

    name: str
    version: str
    sha256: str
    bundle: "Bundle"
    max_batch: int


def load(settings: "Settings") -> Served:
    """The version that `settings.model` names. A folder's version is the first 12 digits of its digest.

    Raises UsageError when it is not there or not what was registered, ResourceError when the registry does not answer or
    the bundle fails its self-test.
    """
    if fetch.registered(settings.model):
        version = fetch.find(settings.model)
        return _registered(version, settings.name or version.name, settings.max_batch)
    folder = Path(settings.model)
    digest = folders.verify(folder).digest.removeprefix("sha256:")
    return _served(settings.name or folder.absolute().name, digest[:12], digest, folder, settings.max_batch)


class Watch:
    """Asks every `settings.poll_seconds` where the alias points; `served` is replaced by what has passed every check.

    A version that is refused is not tried again before ten more looks: its files may have been out of reach. Whatever fails,
    what served goes on serving.
    """

    def __init__(self, settings: "Settings", metrics: "Metrics"):
        self.served = load(settings)
        self._settings, self._metrics = settings, metrics
        self._refused: fetch.Version | None = None
        self._problem = ""
        self._passes = 0
        self._stop = threading.Event()
        self._announce("serving")
        if fetch.alias(settings.model) and settings.poll_seconds:
            threading.Thread(target=self._look_repeatedly, name="watch", daemon=True).start()

    def stop(self) -> None:
        """Looks no more."""
        self._stop.set()

    def _look_repeatedly(self) -> None:
        while not self._stop.wait(self._settings.poll_seconds):
            try:
                self._look()
            except Exception:  # a bug here must not end the watch: it is logged with its traceback
                log.exception("reload failed")
                self._metrics.reloads.labels("failed").inc()

    def _look(self) -> None:
        try:
            found = fetch.find(self._settings.model)
        except FinelineError as error:
            self._failed("failed", error)
            return
        # A registry that was made anew has other versions by the same numbers.
        if (found.version, found.sha256) == (self.served.version, self.served.sha256):
            self._refused, self._problem = None, ""
        elif found == self._refused and self._passes:
            self._passes -= 1
        else:
            self._load(found)

    def _load(self, version: fetch.Version) -> None:
        try:
            self.served = _registered(version, self.served.name, self._settings.max_batch)
        except FinelineError as error:
            self._refused, self._passes = version, LOOKS_UNTIL_AGAIN
            self._failed("refused", error, refused=version.version)
            return
        self._refused, self._problem = None, ""
        self._metrics.reloads.labels("loaded").inc()
        self._announce("reloaded")

    def _failed(self, result: str, error: FinelineError, **fields: str) -> None:
        self._metrics.reloads.labels(result).inc()
        problem = error.what.partition(" (")[0]  # a server that goes refuses each look in other words
        if problem != self._problem:  # said once, not at every look
            self._problem = problem
            log.error(
                f"reload {result}", extra={"fields": {**fields, "serving": self.served.version, "why": error.what}}
            )

    def _announce(self, event: str) -> None:
        served = self.served
        self._metrics.serves(served.name, served.version, served.sha256)
        fields = {"model": served.name, "version": served.version, "bundle_sha256": served.sha256}
        log.info(event, extra={"fields": fields})


def _registered(version: fetch.Version, name: str, max_batch: int) -> Served:
    with tempfile.TemporaryDirectory(prefix="fineline-") as temporary:
        folder = fetch.download(version, Path(temporary))
        return _served(name, version.version, version.sha256, folder, max_batch)


def _served(name: str, version: str, digest: str, folder: Path, max_batch: int) -> Served:
    from fineline.bundles.bundle import open_bundle, self_test

    bundle = open_bundle(folder, threads=1)
    self_test(bundle)
    return Served(name, version, digest, bundle, 1 if bundle.alone else max_batch)
