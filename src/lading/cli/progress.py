"""Progress of a run on stderr: bars where it is a terminal, and warnings as lines in any case."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lading.cli.console import day, plain, say, size
from lading.errors import counted
from lading.events import (
    CheckWarned,
    DeliveredBefore,
    Event,
    Resting,
    RowsRead,
    SweepDone,
    SweepStarted,
    Waiting,
)
from lading.export.identity import instant

if TYPE_CHECKING:
    from rich.progress import Progress


@contextmanager
def watching() -> Iterator[Watch]:
    """What a run is given as ``on_event``."""
    if not sys.stderr.isatty():
        yield Watch()
        return
    with _bars() as bars:
        yield Watch(bars)


class Watch:
    """Takes events from any thread. One bar: sweeps come one after another, their rows from many threads."""

    def __init__(self, bars: Progress | None = None) -> None:
        self._bars = bars
        self._lock = threading.Lock()
        self._done = 0
        self.failing = False
        """Whether the last pass of a continuous export failed."""
        self.before = 0
        """Runs that were delivered before, and are not among the results."""

    def __call__(self, event: Event) -> None:
        if isinstance(event, CheckWarned):
            self._line(
                f"warning: {event.export}: {event.check}: {counted(event.violations, 'violation')}: {event.detail}"
            )
        elif isinstance(event, Waiting):
            self._line(f"waiting: {event.export} {day(instant(event.start))}: {event.owner} is at work on it")
        elif isinstance(event, DeliveredBefore):
            self.before = event.runs
        elif isinstance(event, Resting):
            self._rest(event)
        elif self._bars is not None:
            self._draw(self._bars, event)

    def _rest(self, event: Resting) -> None:
        self.failing = event.error is not None
        if event.error is not None:
            self._line(f"warning: {event.export}: {event.error} Trying again in {event.seconds:.0f} s.")
        if self._bars is not None:
            with self._lock:
                _clear(self._bars)

    def _line(self, text: str) -> None:
        if self._bars is None:
            say(text)
        else:
            self._bars.console.print(plain(text), markup=False, highlight=False, soft_wrap=True)

    def _draw(self, bars: Progress, event: Event) -> None:
        with self._lock:
            if isinstance(event, SweepStarted):
                _clear(bars)
                name = plain(f"{event.export} {day(instant(event.start))}")
                bars.add_task(f"{name} ({self._done} done)", total=event.rows, bytes=0)
            elif isinstance(event, RowsRead) and bars.tasks:
                task = bars.tasks[-1]
                rows = task.completed + event.rows
                total = None if task.total is None else max(task.total, rows)  # it was an estimate
                bars.update(task.id, completed=rows, total=total, bytes=task.fields["bytes"] + event.bytes)
            elif isinstance(event, SweepDone):
                self._done += 1


def _clear(bars: Progress) -> None:
    for done in bars.task_ids:
        bars.remove_task(done)


def _bars() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Numbers(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = f"{task.speed:,.0f} rows/s" if task.speed else ""
            read: Any = task.fields["bytes"]
            return Text(f"{int(task.completed):,} rows  {size(read)}  {speed}")

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        Numbers(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
