"""Late rows: what is noted as looked for was looked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

from checker import Model, State


class Intervals(NamedTuple):
    now: int  # the bound, which only grows. A row of each interval arrives at every moment
    sealed: tuple[
        int, int
    ]  # each interval's newest bound: it carries all that arrived before; -1: not sealed
    claimed: tuple[bool, bool] = (False, False)
    noted: int = -1  # late rows of all sealed intervals were looked for up to here


class Worker(NamedTuple):
    at: str
    interval: int = 0  # what it was asked for
    bound: int = 0
    known: int = 0  # bit mask: the intervals that it saw sealed
    still: bool = False  # it saw no attempt under way
    calls: int = 1


class Late(Model):
    """An interval on event time is delivered, late rows of all intervals are looked for, and the look is noted.

    Broken where an interval's newest bound is older than the note: nobody looks for what arrived in between.
    """

    mutants: ClassVar = {
        "bound_before_claim": "the bound of a sweep is the one that it was planned with",
        "note_despite_open": "notes although another attempt is under way",
        "look_before_clock": "reads the bound of the look after the listing",
    }

    def __init__(self, mutant: str = "", *, workers: int, calls: int) -> None:
        super().__init__(mutant)
        self.workers, self.calls = workers, calls
        self.name = f"late rows: {workers} processes"

    def starts(self) -> Iterator[State]:
        for first in (0, 1):
            workers = [Worker("plan", first if i == 0 else 1, calls=self.calls) for i in range(self.workers)]
            yield State(tuple(sorted((*workers, Worker("tick")))), Intervals(0, (0, -1)))

    def tick(self, me: Worker, s: Intervals) -> list[Any]:
        return [(me._replace(at="tick" if s.now < 2 else "finished"), s._replace(now=s.now + 1))]

    def plan(self, me: Worker, s: Intervals) -> list[Any]:
        due = s.sealed[me.interval] < 0
        return [(me._replace(at="claim" if due else "clock", bound=s.now), s)]

    def claim(self, me: Worker, s: Intervals) -> list[Any]:
        if s.claimed[me.interval]:
            return [(self._called(me), s)]
        claimed = tuple(c or i == me.interval for i, c in enumerate(s.claimed))
        return [(me._replace(at="seal" if self.mutant == "bound_before_claim" else "clock_of_sweep"),
                 s._replace(claimed=claimed))]  # fmt: skip

    def clock_of_sweep(self, me: Worker, s: Intervals) -> list[Any]:
        return [(me._replace(at="seal", bound=s.now), s)]

    def seal(self, me: Worker, s: Intervals) -> list[Any]:
        sealed = tuple(me.bound if i == me.interval else b for i, b in enumerate(s.sealed))
        return [(me._replace(at="clock"), s._replace(sealed=sealed))]

    def clock(self, me: Worker, s: Intervals) -> list[Any]:
        """The bound of a look for late rows, and only then what there is."""
        after = me._replace(bound=s.now)
        if self.mutant == "look_before_clock" and not me.still:
            return [(me._replace(at="listing"), s)]
        return [(after._replace(at="add" if self.mutant == "look_before_clock" else "listing"), s)]

    def listing(self, me: Worker, s: Intervals) -> list[Any]:
        known = sum(1 << i for i, bound in enumerate(s.sealed) if bound >= 0)
        open_ = any(claimed and bound < 0 for claimed, bound in zip(s.claimed, s.sealed, strict=True))
        still = not open_ or self.mutant == "note_despite_open"
        at = "clock" if self.mutant == "look_before_clock" and still else "add"
        return [(me._replace(at=at, known=known, still=still), s)]

    def add(self, me: Worker, s: Intervals) -> list[Any]:
        """Additions for what is behind the look's bound. Each is a sweep of its own: here one step."""
        for i, bound in enumerate(s.sealed):
            if me.known >> i & 1 and 0 <= bound < me.bound:
                return [
                    (me, s._replace(sealed=tuple(me.bound if j == i else b for j, b in enumerate(s.sealed))))
                ]
        return [(me._replace(at="note") if me.still else self._called(me), s)]

    def note(self, me: Worker, s: Intervals) -> list[Any]:
        return [(self._called(me), s._replace(noted=max(s.noted, me.bound)))]

    def _called(self, me: Worker) -> Worker:
        if me.calls == 1:
            return Worker("finished", me.interval, calls=1)
        return Worker("plan", me.interval, calls=me.calls - 1)

    def fault(self, state: State) -> str | None:
        s = state.stores
        return "no_late_row_lost" if any(0 <= bound < s.noted for bound in s.sealed) else None

    def alone(self, before: State, process: Worker, after: State, ended: Worker) -> str | None:
        return None if ended.at == "finished" else "progress"
