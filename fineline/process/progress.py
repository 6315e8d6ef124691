"""Progress of long work: a bar on a terminal, a plain line with a rate every few seconds elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

_SECONDS_BETWEEN_LINES = 10.0


def _size(item: object) -> int:
    return len(item) if isinstance(item, list | tuple) else 1


def progress(
    items: Iterable[Item],
    what: str,
    total: int | None = None,
    unit: str = "rows",
    size: Callable[[Item], int] = _size,
) -> Iterator[Item]:
    """Yields `items` and shows how far it is on stderr. An item counts as `size` units, by default a batch as its length."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(total=total, desc=what, unit=f" {unit}", leave=False) as bar:
            for item in items:
                yield item
                bar.update(size(item))
        return
    done, started = 0, time.monotonic()
    shown = started
    for item in items:
        yield item
        done += size(item)
        now = time.monotonic()
        if now - shown >= _SECONDS_BETWEEN_LINES:
            shown = now
            print(
                f"{what}: {done:,}{f' of {total:,}' if total else ''} {unit}, {done / (now - started):,.0f}/s",
                file=sys.stderr,
            )
