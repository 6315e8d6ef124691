"""The errors a user can cause or mend, each with its exit code: one line what was wrong, one line what to do."""

_NO_MEMORY = (
    *("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory", "unable to allocate"),
    *("failed to allocate memory", "bad allocation", "bad_alloc", "memoryerror"),
)


class FinelineError(Exception):
    """A user's mistake or a missing resource; shown without a traceback.

    `what` says what was wrong and where, `hint` says what to do about it.
    """

    code = 1

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


class UsageError(FinelineError):
    """Wrong use or wrong parameters."""

    code = 2


class DataRejected(FinelineError):
    """The data does not pass: unreadable, or refused by a rule of severity `reject`."""

    code = 3


class ResourceError(FinelineError):
    """Input or output failed, or something the machine should offer is missing: disk, network, server, lock."""

    code = 4


def out_of_memory(error: BaseException) -> bool:
    """Whether `error` was raised for want of memory: by Python, numpy or Arrow (MemoryError), by torch or ONNX Runtime, or by
    Great Expectations, which tells of the error in words."""
    return isinstance(error, MemoryError) or (
        isinstance(error, Exception) and any(words in str(error).lower() for words in _NO_MEMORY)
    )


class Unavailable(ResourceError):
    """What does not answer now, and may by itself in a while: MLflow, an object store, a hub, git. A step tries it again."""


class GateRejected(FinelineError):
    """A gate said no where it was asked to stop."""

    code = 5


class Preempted(FinelineError):
    """SIGTERM arrived; what was done is kept, the same command goes on from there."""

    code = 143
