"""What a library says when memory or disk runs out, as an error that says what to change."""

import contextlib
from collections.abc import Iterator

from components.train.params import Params
from fineline.process.errors import ResourceError, out_of_memory

_NO_DISK = (
    *("No space left on device", "Disk quota exceeded"),
    *("PytorchStreamWriter failed", "file write failed", "unexpected pos", "iostream error"),  # torch.save
)


def disk_is_full(error: BaseException) -> bool:
    """Whether torch (RuntimeError) or safetensors (an error of its own) raised `error` for want of disk."""
    from safetensors import SafetensorError

    return isinstance(error, RuntimeError | SafetensorError) and any(words in str(error) for words in _NO_DISK)


@contextlib.contextmanager
def exhaustion_explained(params: Params) -> Iterator[None]:
    """Raises ResourceError for what torch (RuntimeError) and safetensors (an error of their own) raise without memory or disk."""
    from safetensors import SafetensorError

    try:
        yield
    except (MemoryError, RuntimeError, SafetensorError) as error:
        if out_of_memory(error):
            raise ResourceError(
                f"memory ran out with train.batch_size = {params.batch_size} and train.max_length = {params.max_length}",
                f"halve batch_size and double gradient_accumulation (now {params.gradient_accumulation}), "
                "or set gradient_checkpointing: true, or a smaller eval_batch_size",
            ) from error
        if disk_is_full(error):
            raise ResourceError(
                "the disk is full while a checkpoint or the model is written",
                "free space and run again: four times the model's size for each of two or three checkpoints",
            ) from error
        raise
