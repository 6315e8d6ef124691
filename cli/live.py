"""The table of steps that `fineline run` and `fineline submit --wait` keep up to date: state, time, main figure."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.table import Table as RichTable

_STYLES = {"running": "bold", "waits": "yellow", "done": "green", "cached": "green", "failed": "bold red"}


class Shown(Protocol):
    """What a row needs."""

    name: str
    state: str
    seconds: float
    line: str


class Table:
    """On a terminal a table that changes in place; elsewhere one line whenever a step starts or ends."""

    def __init__(self, steps: Sequence[str]) -> None:
        from rich.console import Console
        from rich.live import Live

        self._steps = list(steps)
        self._rows: dict[str, Shown] = {}
        self._since: dict[str, float] = {}
        self._states: dict[str, str] = {}
        self._out = sys.stdout  # kfp's own words are kept from there while the table is shown
        self._console = Console(file=self._out, highlight=False)
        self._live = (
            Live(console=self._console, get_renderable=self._table, refresh_per_second=2)
            if (self._console.is_terminal)
            else None
        )

    def __enter__(self) -> "Table":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._live:
            self._live.stop()

    def show(self, row: Shown) -> None:
        """Takes a step's new state. One that has not begun ('waiting') is told by its absence; one whose pod 'waits' is no
        line of its own, since most do for seconds."""
        if row.state == "waiting":
            self._rows.pop(row.name, None)
            return
        self._rows[row.name] = row
        if self._states.get(row.name) == row.state:
            return
        self._since[row.name] = time.monotonic()
        self._states[row.name] = row.state
        if self._live is None and row.state != "waits":
            seconds = f" {row.seconds:.1f} s" if row.state != "running" else ""
            line = f"  {row.line}" if row.line else ""
            print(f"{row.name:<12} {row.state}{seconds}{line}", file=self._out, flush=True)

    def say(self, text: str) -> None:
        """Shows a line that stays."""
        if self._live:
            self._console.print(text, markup=False, soft_wrap=True)
        else:
            print(text, file=self._out, flush=True)

    def _table(self) -> "RichTable":
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(box=None, padding=(0, 2, 0, 0))
        # Rich narrows the columns that may wrap first: only the result may, and its cells are cut instead.
        for name in ("step", "state"):
            table.add_column(name, no_wrap=True)
        table.add_column("seconds", justify="right", no_wrap=True)
        table.add_column("result", ratio=1)
        for name in [*self._steps, *(name for name in self._rows if name not in self._steps)]:
            row = self._rows.get(name)
            state = row.state if row else "waiting"
            seconds = "" if row is None else f"{row.seconds:.1f}"
            if row and state in ("running", "waits"):
                seconds = f"{time.monotonic() - self._since[name]:.1f}"
            result = Text(row.line if row else "", no_wrap=True, overflow="ellipsis")
            table.add_row(name, Text(state, _STYLES.get(state, "dim")), seconds, result)
        return table
