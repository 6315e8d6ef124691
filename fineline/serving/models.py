"""The versions that serve, and the watch over the alias that decides which one it is."""

import dataclasses
import logging
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from fineline.artifacts import folders
from fineline.process.errors import FinelineError, UsageError
from fineline.registry import fetch

if TYPE_CHECKING:
    from fineline.bundles.bundle import Bundle
    from fineline.serving.metrics import Metrics
    from fineline.serving.settings import Settings

LOOKS_UNTIL_AGAIN = 10
MODEL, SHADOW = "model", "shadow"
"""The roles of a version: the model that answers, and the one beside it (fineline/serving/shadow.py)."""

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


def load(model: str, name: str, max_batch: int) -> Served:
    """The version that `model` names, served as `name`, '' as what it is called. A folder's version is the first 12 digits of
    its digest.

    Raises UsageError when it is not there or not what was registered, ResourceError when the registry does not answer or
    the bundle fails its self-test.
    """
    if fetch.registered(model):
        version = fetch.find(model)
        return _registered(version, name or version.name, max_batch)
    folder = Path(model)
    digest = folders.verify(folder).digest.removeprefix("sha256:")
    return _served(name or folder.absolute().name, digest[:12], digest, folder, max_batch)


class Watch:
    """Asks every `settings.poll_seconds` where the alias of `model` points; `found` is replaced by what has passed every check.

    A version that is refused is not tried again before ten more looks: its files may have been out of reach. Whatever fails,
    what served goes on serving. Only a shadow may be missing, `found` is then None: as long as its alias points nowhere.
    """

    def __init__(self, settings: "Settings", metrics: "Metrics", model: str, role: str = MODEL):
        self.found: Served | None = None
        self._model, self._role = model, role
        self._settings, self._metrics = settings, metrics
        self._refused: fetch.Version | None = None
        self._problem = ""
        self._passes = 0
        self._stop = threading.Event()
        follows = bool(fetch.alias(model))
        if role == SHADOW and follows:
            self._look()
        else:
            self._serve(load(model, settings.name, settings.max_batch), "serving")
        if follows and settings.poll_seconds:
            threading.Thread(target=self._look_repeatedly, name=f"watch-{role}", daemon=True).start()

    @property
    def served(self) -> Served:
        """The version that answers."""
        assert self.found
        return self.found

    def stop(self) -> None:
        """Looks no more."""
        self._stop.set()

    def _look_repeatedly(self) -> None:
        while not self._stop.wait(self._settings.poll_seconds):
            try:
                self._look()
            except Exception:  # a bug here must not end the watch: it is logged with its traceback
                log.exception("reload failed")
                self._metrics.reloads.labels(self._role, "failed").inc()

    def _look(self) -> None:
        try:
            found = fetch.find(self._model)
        except FinelineError as error:
            if self._role == SHADOW and isinstance(error, UsageError):  # the alias was removed: it serves no more
                self._gone(error)
            else:
                self._failed("failed", error)
            return
        # A registry that was made anew has other versions by the same numbers.
        if self.found and (found.version, found.sha256) == (self.found.version, self.found.sha256):
            self._refused, self._problem = None, ""
        elif found == self._refused and self._passes:
            self._passes -= 1
        else:
            self._load(found)

    def _load(self, version: fetch.Version) -> None:
        name = self._settings.name or (self.found.name if self.found else version.name)
        try:
            loaded = _registered(version, name, self._settings.max_batch)
        except FinelineError as error:
            self._refused, self._passes = version, LOOKS_UNTIL_AGAIN
            self._failed("refused", error, refused=version.version)
            return
        self._refused, self._problem = None, ""
        self._metrics.reloads.labels(self._role, "loaded").inc()
        self._serve(loaded, "reloaded")

    def _gone(self, error: FinelineError) -> None:
        if self.found or not self._problem:
            self.found, self._refused, self._problem = None, None, error.what
            self._metrics.serves(self._role, None)
            log.warning("no shadow", extra={"fields": {"why": error.what}})

    def _failed(self, result: str, error: FinelineError, **fields: str) -> None:
        self._metrics.reloads.labels(self._role, result).inc()
        problem = error.what.partition(" (")[0]  # a server that goes refuses each look in other words
        if problem != self._problem:  # said once, not at every look
            self._problem = problem
            fields |= {"role": self._role, "serving": self.found.version if self.found else "", "why": error.what}
            log.error(f"reload {result}", extra={"fields": fields})

    def _serve(self, served: Served, event: str) -> None:
        self.found = served
        self._metrics.serves(self._role, served)
        fields = {"role": self._role, "model": served.name, "version": served.version, "bundle_sha256": served.sha256}
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
