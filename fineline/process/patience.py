"""What may pass by itself, and trying it again: a server that does not answer now, a connection that broke, a 503."""

import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from fineline.process.errors import ResourceError, Unavailable

T = TypeVar("T")

WAITS = (20.0, 60.0, 180.0)
"""Seconds before each further try: enough for a pod that starts again, too little to hide that something is down."""

_STATUSES = {408, 425, 429, 500, 502, 503, 504}  # those that urllib3 and botocore try again too
_KINDS = {  # by name: a library that was not imported cannot have raised one
    "requests.exceptions": {"ConnectionError", "Timeout", "RetryError", "ChunkedEncodingError"},
    "urllib3.exceptions": {"ProtocolError", "TimeoutError", "MaxRetryError"},
    "aiohttp.client_exceptions": {"ClientConnectionError", "ClientPayloadError"},
    "botocore.exceptions": {"ConnectionError", "HTTPClientError"},
    "httpx": {"TransportError"},
    "httpx2": {"TransportError"},
    "huggingface_hub.errors": {"OfflineModeIsEnabled"},
}
_WORDS = re.compile(
    r"connection (was )?(refused|reset|aborted|closed|timed out)|timed? ?out|network is unreachable|no route to host|"
    r"(could not|couldn't|failed to) (resolve|translate) host|name or service not known|"
    r"temporary failure in name resolution|server closed the connection|the database system is|"
    r"too many (408|425|429|500|502|503|504) error responses|\b(429|50[0234]) (client|server) error|"
    r"failed with error code (429|50[0234])",
    re.IGNORECASE,
)
_NEVER = re.compile(r"certificate|CERTIFICATE_VERIFY_FAILED", re.IGNORECASE)


def patient(work: Callable[[], T], program: str, waits: Sequence[float] | None = None) -> T:
    """What `work` gives. When it raises Unavailable it is called again after each of `waits` (WAITS), and stderr says so."""
    waits = WAITS if waits is None else waits
    for number, seconds in enumerate(waits, 1):
        try:
            return work()
        except Unavailable as error:
            again = f"trying again in {seconds:.0f} s, {number} of {len(waits)}"
            print(f"{program}: {error.what}; {again}", file=sys.stderr, flush=True)
        time.sleep(seconds)
    return work()


def may_pass(error: BaseException) -> bool:
    """Whether `error`, or what it came from, is one that may pass by itself: no connection, no answer in time, HTTP 503.

    A refused credential, a missing file, a full disk and a certificate that is not trusted do not.
    """
    chain = list(origins(error))
    if any(_NEVER.search(str(each)) for each in chain):
        return False
    return any(_passes(each) for each in chain)


def kind_of(error: BaseException) -> type[ResourceError]:
    """The error to raise for what a server or a driver of one raised: Unavailable for what may pass, else ResourceError."""
    return Unavailable if may_pass(error) else ResourceError


def origins(error: BaseException) -> Iterator[BaseException]:
    """`error` and all that it came from: causes, contexts, and exceptions wrapped as arguments or reasons."""
    seen: dict[int, BaseException] = {}
    left: list[object] = [error]
    while left:
        each = left.pop()
        if isinstance(each, BaseException) and id(each) not in seen:
            seen[id(each)] = each
            yield each
            left += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]


def status_of(error: BaseException) -> int:
    """The HTTP status in an exception of requests, httpx, aiohttp, the hub, botocore or gcsfs; 0 when there is none."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    for found in (getattr(response, "status_code", None), getattr(error, "status", None), getattr(error, "code", None)):
        if isinstance(found, int) and 100 <= found < 600:
            return found
    return 0


def _passes(error: BaseException) -> bool:
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    if status := status_of(error):
        return status in _STATUSES
    kinds = ((kind.__module__, kind.__name__) for kind in type(error).__mro__)
    return any(name in _KINDS.get(module, ()) for module, name in kinds) or bool(_WORDS.search(str(error)))
