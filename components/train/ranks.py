"""Several processes of one training, one per GPU, as `torchrun --standalone --nproc-per-node=N -m components.train` starts them.

All of them train; the first alone holds the locks, writes, tracks and talks. torchrun names a process by RANK and their
number by WORLD_SIZE (https://docs.pytorch.org/docs/stable/elastic/run.html#environment-variables).
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from fineline.process.errors import ResourceError, UsageError

_OF_LAUNCHERS = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL")


def first() -> bool:
    """Whether this is the process that writes; the only one, without torchrun."""
    return os.environ.get("RANK", "0") == "0"


def count() -> int:
    """Processes of this training."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def devices() -> int:
    """GPUs (or CPU processes) that share each step: one per process, or all that one process sees."""
    import torch

    return count() if count() > 1 else max(1, torch.cuda.device_count())


def check() -> None:
    """Raises UsageError for what a launcher set and left behind: this process would wait for others that nobody started."""
    left = [name for name in _OF_LAUNCHERS if os.environ.get(name)]
    if left and not os.environ.get("TORCHELASTIC_RUN_ID"):
        wanted = os.environ.get("WORLD_SIZE") or os.environ[left[0]]
        raise UsageError(
            f"{', '.join(f'{name}={os.environ[name]}' for name in left)} is set, but torchrun has not started this process: "
            f"it would wait for the others of {wanted}",
            f"unset {' '.join(left)}; or start it with torchrun --standalone --nproc-per-node=N -m components.train",
        )


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Joins the processes (NCCL between GPUs, gloo between CPUs); does nothing for one.

    Raises ResourceError in the first process when another one is lost; a later one then just ends.
    """
    if count() == 1:
        yield
        return
    import torch
    from accelerate import PartialState

    PartialState(cpu=not torch.cuda.is_available())
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.distributed.DistError) and not any(words in str(error) for words in _LOST):
            raise
        if not first():
            raise SystemExit(ResourceError.code) from None
        reason = str(error).strip().splitlines()[0][:200]
        raise ResourceError(
            f"another process of this training ended or does not answer ({reason})",
            "see above why, then run the same command again to go on",
        ) from error
    finally:
        torch.distributed.destroy_process_group()


def from_first(value: Any) -> Any:
    """What the first process gave as `value`, in every process."""
    if count() == 1:
        return value
    import torch

    values = [value]
    torch.distributed.broadcast_object_list(values, src=0)
    return values[0]


def largest(number: int, device: Any) -> int:
    """The largest `number` of all processes, the same answer in each."""
    if count() == 1:
        return number
    import torch

    numbers = torch.tensor(number, device=device)
    torch.distributed.all_reduce(numbers, torch.distributed.ReduceOp.MAX)
    return int(numbers.item())


def gathered(value: Any) -> list[Any]:
    """What each process gave as `value`, by rank, in every process."""
    if count() == 1:
        return [value]
    import torch

    values: list[Any] = [None] * count()
    torch.distributed.all_gather_object(values, value)
    return values


def wait() -> None:
    """Goes on when every process has come here."""
    if count() > 1:
        import torch

        torch.distributed.barrier()
