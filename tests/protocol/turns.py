"""What is merged into a table is merged in the order of intervals, whoever revises one while the next is delivered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

from checker import Model, State

V, S = "revision", "next"
OPEN, SEALED, OVER = "open", "sealed", "over"  # of an attempt; "": it is not claimed


class Stores(NamedTuple):
    revision: str = ""
    next: str = ""
    merged: tuple[str, ...] = ()  # into the table, in this order


class Caller(NamedTuple):
    at: str
    run: str = ""  # its own
    found: str = ""  # of the other, what its listing showed


class Turns(Model):
    """A revision of the newest interval and the interval after it are claimed at once; other calls publish what they
    find sealed."""

    mutants: ClassVar = {
        "look_before_claim": "looks for the other before it has its claim",
        "revision_stays": "a revision gives way to what is sealed alone",
        "believes_unread": "a revision takes a newer interval's owner for dead and does not read what stands there",
        "interval_goes_on": "an interval does not wait for a revision that is under way",
        "seal_is_enough": "an interval waits for the revision's seal, and not until it is merged",
    }

    def __init__(self, mutant: str = "", *, others: int) -> None:
        super().__init__(mutant)
        self.others = others
        self.name = f"turns: a revision, an interval, {others} other{'s' * (others != 1)}"

    def starts(self) -> Iterator[State]:
        first = "look" if self.mutant == "look_before_claim" else "claim"
        callers = [Caller(first, V), Caller(first, S), *[Caller("list")] * self.others]
        yield State(tuple(sorted(callers)), Stores())

    # Both

    def claim(self, me: Caller, s: Stores) -> list[Any]:
        at = "decide" if self.mutant == "look_before_claim" else "look"
        return [self._on(me._replace(at=at), s._replace(**{me.run: OPEN}))]

    def look(self, me: Caller, s: Stores) -> list[Any]:
        me = me._replace(found=s.next if me.run == V else s.revision)
        if self.mutant == "look_before_claim":
            return [(me._replace(at="claim"), s)]
        return [self._on(me._replace(at="decide"), s)]

    def _on(self, me: Caller, s: Stores) -> tuple[Caller, Stores]:
        """What follows from a look takes no request."""
        if me.at != "decide":
            return me, s
        if me.run == V:
            met = me.found if self.mutant != "revision_stays" or me.found != OPEN else ""
            return me._replace(at={OPEN: "meet", SEALED: "give_way"}.get(met, "seal")), s
        if me.found == OPEN and self.mutant != "interval_goes_on":
            return me._replace(at="settle"), s
        if me.found == SEALED and self.mutant != "seal_is_enough":
            return me._replace(at="finish"), s
        return me._replace(at="seal"), s

    def meet(self, me: Caller, s: Stores) -> list[Any]:
        """Takes the newer interval's owner for dead, and reads what stands there then; or sees that it lives."""
        ended = s._replace(next=OVER) if s.next == OPEN else s
        stays = ended.next == OVER or self.mutant == "believes_unread"
        return [(me._replace(at="seal" if stays else "give_way"), ended), (me._replace(at="give_way"), s)]

    def give_way(self, me: Caller, s: Stores) -> list[Any]:
        return [(me._replace(at="finished"), s._replace(revision=OVER if s.revision == OPEN else s.revision))]

    def settle(self, me: Caller, s: Stores) -> list[Any]:
        """Waits for the revision's end, or takes its owner for dead; then reads what stands there."""
        ended = s._replace(revision=OVER) if s.revision == OPEN else s
        waits = [(me, s)] if s.revision == OPEN else []
        return [self._on(me._replace(at="decide", found=ended.revision), ended), *waits]

    def finish(self, me: Caller, s: Stores) -> list[Any]:
        return [(me._replace(at="seal"), self._merge(V, s))]

    def seal(self, me: Caller, s: Stores) -> list[Any]:
        if getattr(s, me.run) != OPEN:
            return [(me._replace(at="finished"), s)]
        return [(me._replace(at="merge"), s._replace(**{me.run: SEALED}))]

    def merge(self, me: Caller, s: Stores) -> list[Any]:
        return [(me._replace(at="finished"), self._merge(me.run, s))]

    def _merge(self, run: str, s: Stores) -> Stores:
        return s if run in s.merged else s._replace(merged=(*s.merged, run))

    # Others

    def list(self, me: Caller, s: Stores) -> list[Any]:
        """The owners of what is sealed have died, or seem to have."""
        found = [run for run in (V, S) if getattr(s, run) == SEALED]
        at = {(): "finished", (V,): "only_revision", (S,): "only_next", (V, S): "both"}[tuple(found)]
        return [(me._replace(at=at), s)]

    def both(self, me: Caller, s: Stores) -> list[Any]:
        return [(me._replace(at="only_next"), self._merge(V, s))]

    def only_revision(self, me: Caller, s: Stores) -> list[Any]:
        return [(me._replace(at="finished"), self._merge(V, s))]

    def only_next(self, me: Caller, s: Stores) -> list[Any]:
        return [(me._replace(at="finished"), self._merge(S, s))]

    def fault(self, state: State) -> str | None:
        return "newest_wins" if state.stores.merged == (S, V) else None

    def alone(self, before: State, process: Caller, after: State, ended: Caller) -> str | None:
        return None if ended.at == "finished" else "progress"
