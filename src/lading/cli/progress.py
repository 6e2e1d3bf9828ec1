"""Progress of a run on stderr: bars where it is a terminal, else a line a minute; and warnings in any case."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lading.cli.console import day, plain, say, size
from lading.cli.failures import trace
from lading.errors import counted, sentence
from lading.events import (
    CheckWarned,
    DeliveredBefore,
    Event,
    Noticed,
    Resting,
    RowsRead,
    SweepDone,
    SweepFailed,
    SweepsDue,
    SweepStarted,
    Unexpected,
    Waiting,
)
from lading.export.identity import instant

if TYPE_CHECKING:
    from rich.progress import Progress


EVERY = 60.0
"""Seconds from one line of progress to the next."""


@contextmanager
def watching(*, as_json: bool) -> Iterator[Watch]:
    """What a run is given as ``on_event``. Who wants JSON gets no lines of progress."""
    if not sys.stderr.isatty():
        yield Watch(lines=not as_json)
        return
    with _bars() as bars:
        yield Watch(bars)


class Watch:
    """Takes events from any thread. One bar: sweeps come one after another, their rows from many threads."""

    def __init__(
        self,
        bars: Progress | None = None,
        *,
        lines: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bars, self._lines, self._clock = bars, lines, clock
        self._lock = threading.Lock()
        self._told = clock()
        self._due = self._ended = self._rows = 0
        self._sweep = ""  # the one under way, for people
        self._noticed: set[str] = set()
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
        elif isinstance(event, Noticed):
            if event.notice not in self._noticed:  # each pass of a continuous export says it again
                self._noticed.add(event.notice)
                self._line(f"notice: {event.export}: {event.notice}")
        elif isinstance(event, DeliveredBefore):
            self.before = event.runs
        elif isinstance(event, Resting):
            self._rest(event)
        elif isinstance(event, Unexpected):
            trace(event.error)
        else:
            with self._lock:
                self._count(event)
                if self._bars is not None:
                    self._draw(self._bars, event)
                elif self._lines and self._clock() - self._told >= EVERY:
                    self._told = self._clock()
                    rows = counted(self._rows, "row")
                    self._line(
                        f"progress: {self._sweep}, {rows} read" if self._sweep else f"progress: {rows} read"
                    )

    def _count(self, event: Event) -> None:
        if isinstance(event, SweepsDue):
            self._due, self._ended, self._rows = event.sweeps, 0, 0
        elif isinstance(event, SweepStarted):
            number = self._ended + 1
            place = (
                f"interval {number:,} of {self._due:,}" if number <= self._due else f"{self._ended:,} done"
            )
            self._sweep = f"{event.export} {day(instant(event.start))} ({place})"
        elif isinstance(event, RowsRead):
            self._rows += event.rows
        elif isinstance(event, SweepDone | SweepFailed):
            self._ended += 1

    def _rest(self, event: Resting) -> None:
        self.failing = event.error is not None
        if event.error is not None:
            self._line(
                f"warning: {event.export}: {sentence(event.error)} Trying again in {event.seconds:.0f} s."
            )
        if self._bars is not None:
            with self._lock:
                _clear(self._bars)

    def _line(self, text: str) -> None:
        if self._bars is None:
            say(text)
        else:
            self._bars.console.print(plain(text), markup=False, highlight=False, soft_wrap=True)

    def _draw(self, bars: Progress, event: Event) -> None:
        if isinstance(event, SweepStarted):
            _clear(bars)
            bars.add_task(plain(self._sweep), total=event.rows, bytes=0)
        elif isinstance(event, RowsRead) and bars.tasks:
            task = bars.tasks[-1]
            rows = task.completed + event.rows
            total = None if task.total is None else max(task.total, rows)  # it was an estimate
            bars.update(task.id, completed=rows, total=total, bytes=task.fields["bytes"] + event.bytes)


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
