"""A continuous export: one pass after the other. What a pass does is the story of a run; this only says when.

- With a schedule a pass begins when the bound has reached the next tick, without one `PAUSE` seconds after the last.
- After one that failed and that a retry may help, the next one begins after a second, then two, four, up to a minute.
- After any other failure it ends: what the pass raised is raised, or what it returned was the last.

Nothing is kept from pass to pass but seals, which never change: a process that is killed here leaves what any run does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from lading.errors import InProgress, Retryable
from lading.events import Resting
from lading.plan import Asked, Clock
from lading.run.job import Job, Result
from lading.run.story import clock_of, run

PAUSE = 60.0
"""Seconds from the end of a pass to the next one, where the export has no schedule."""
LONGEST_RETRY = 60.0
LONGEST_REST = 600.0
"""Seconds after which the clock is read again: a machine may have slept meanwhile, and its timers with it."""

Pause = Callable[[float], bool]
"""Waits for so many seconds, or less: True to end. `threading.Event().wait` is one."""


def follow(
    job: Job,
    asked: Asked,
    *,
    pause: Pause,
    tick_after: Callable[[datetime], datetime] | None = None,
    wait: bool = True,
) -> Iterator[list[Result]]:
    """The results of each pass, until ``pause`` says so, or a failure that a retry will not help.

    ``tick_after``: the export's schedule. Raises what makes a pass impossible and is not Retryable, and InProgress
    without ``wait``.
    """
    failures, tick = 0, None
    while True:
        why: str | None = None
        seconds = PAUSE
        try:
            clock = clock_of(job)
            if tick is None or tick <= clock.bound:
                results = run(job, asked, wait=wait)
                yield results
                failed = [result for result in results if result.status == "failed"]
                if any(result.exit_code != Retryable.exit_code for result in failed):
                    return
                why = next((result.error for result in failed), None)
                tick = tick_after(clock.bound) if tick_after is not None and not failed else None
            if tick is not None:
                seconds = _until(tick, clock)
        except Retryable as error:
            if isinstance(error, InProgress) and not wait:
                raise
            why = str(error)
        failures = failures + 1 if why is not None else 0
        if why is not None:
            seconds = min(2.0 ** (failures - 1), LONGEST_RETRY)
        job.on_event(Resting(job.export, seconds, why))
        if pause(seconds):
            return


def _until(tick: datetime, clock: Clock) -> float:
    """Seconds until the bound may have reached the tick. Where something holds it back, as long again as it already
    has, so that what is held for long is not asked about all the time."""
    ahead = (tick - clock.now).total_seconds()
    held = (clock.now - clock.bound).total_seconds()
    return min(max(ahead, min(max(held, 1.0), PAUSE)), LONGEST_REST)
