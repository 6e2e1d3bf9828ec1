"""A sealed run whose data file was lost before it was published: only a revision in its place passes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

from checker import Model, State

# One tenant's runs, as bits, in the order of publication: a first delivery, its revision, the revision of that, and the
# next interval.
R, V, W, S = 1, 2, 4, 8
ORDER = (R, V, W, S)
REVISES = {V: R, W: V}


class Stores(NamedTuple):
    sealed: int
    lost: int = 0  # runs of which a data file is not there
    marked: int = 0
    published: int = 0
    replaced: int = 0


class Caller(NamedTuple):
    at: str
    calls: int = 0  # that it makes yet
    revises: int = 0  # the revision that it is asked for
    seen: int = (
        0  # sealed runs that its listing shows as neither published nor replaced, and that it has not come to
    )
    run: int = 0  # in hand
    blocked: int = 0  # runs that it could not publish


class Lost(Model):
    """Calls publish in order what others have sealed, each after a look at its files, while files go and come back.
    A call may revise what it could not publish."""

    mutants: ClassVar = {
        "newer_passes": "publishes whatever has its files, though an older run is blocked",
        "revision_waits": "a revision waits behind the run that it takes the place of, too",
        "replaced_first": "notes a run as replaced before the revision is marked",
        "published_first": "notes the revision as published before the run that it replaces is noted",
        "directly_alone": "names in a revision the run that it revises, and not what that should have replaced",
    }

    def __init__(self, mutant: str = "", *, callers: int, revisions: int) -> None:
        super().__init__(mutant)
        self.callers, self.revisions = callers, revisions
        # V is not published when W is made, and tells no reader what it supersedes: W names both.
        self.takes = {V: R, W: V if mutant == "directly_alone" else V | R}
        self.name = f"lost files: {callers} callers, {revisions} revision{'s' * (revisions != 1)}"

    def starts(self) -> Iterator[State]:
        revisers = [Caller("list", 2, revises) for revises in (V, W)[: self.revisions]]
        callers = [Caller("list", 2)] * self.callers
        yield State(tuple(sorted((*callers, *revisers, Caller("lose", 1)))), Stores(sealed=R | S))

    # The world outside

    def lose(self, me: Caller, s: Stores) -> list[Any]:
        """Files of one or two runs that have no marker yet; later all may be found again."""
        left = me._replace(at="lose" if me.calls else "find", calls=me.calls - 1)
        runs = [run for run in ORDER if run & s.sealed & ~s.marked & ~s.lost]
        found = [(left, s._replace(lost=s.lost | run)) for run in runs]
        return [(me._replace(at="finished"), s), *found]

    def find(self, me: Caller, s: Stores) -> list[Any]:
        return [(me._replace(at="finished"), s), (me._replace(at="finished"), s._replace(lost=0))]

    # A call

    def list(self, me: Caller, s: Stores) -> list[Any]:
        open_ = s.sealed & ~s.published & ~s.replaced
        return [(self._next(me._replace(seen=open_, blocked=0, calls=me.calls - 1)), s)]

    def _next(self, me: Caller) -> Caller:
        """What takes no request: on to the next run that nothing stands before."""
        while me.seen:
            run = me.seen & -me.seen
            me = me._replace(seen=me.seen & ~run)
            if not self._in_the_way(run, me.blocked) or self.mutant == "newer_passes":
                return me._replace(at="look", run=run)
            me = me._replace(blocked=me.blocked | run)
        target = REVISES.get(me.revises, 0)
        if target and me.blocked & target:
            return me._replace(at="seal", run=me.revises, revises=0)
        return me._replace(at="list" if me.calls else "finished", run=0, blocked=0)

    def look(self, me: Caller, s: Stores) -> list[Any]:
        if me.run & s.lost:
            return [(self._next(me._replace(blocked=me.blocked | me.run)), s)]
        return [(me._replace(at=self._first(me)), s)]

    def seal(self, me: Caller, s: Stores) -> list[Any]:
        """The call that has sealed a run publishes it without a look, unless something else stands before it."""
        if s.sealed & me.run:
            return [(self._next(me), s)]
        after = s._replace(sealed=s.sealed | me.run)
        if self._in_the_way(me.run, me.blocked):
            return [(self._next(me), after)]
        return [(me._replace(at=self._first(me)), after)]

    def _in_the_way(self, run: int, blocked: int) -> int:
        """Runs of the same interval or an older one that are blocked and keep their place."""
        return blocked & (run - 1) & ~self._taken(run)

    def _taken(self, run: int) -> int:
        """Runs that this one takes the place of."""
        if self.mutant == "revision_waits":
            return 0
        return self.takes.get(run, 0)

    def _first(self, me: Caller) -> str:
        return "replace" if self.mutant == "replaced_first" and self._replaced(me) else "mark"

    def _replaced(self, me: Caller) -> int:
        """What is blocked of it."""
        return self._taken(me.run) & me.blocked

    def mark(self, me: Caller, s: Stores) -> list[Any]:
        after = s._replace(marked=s.marked | me.run)
        first = "publish" if self.mutant in ("published_first", "replaced_first") else "replace"
        return [(me._replace(at=first if self._replaced(me) else "publish"), after)]

    def replace(self, me: Caller, s: Stores) -> list[Any]:
        replaced = self._replaced(me)
        after = s._replace(replaced=s.replaced | replaced)
        if self.mutant == "replaced_first":
            return [(me._replace(at="mark"), after)]
        if self.mutant == "published_first":
            return [(self._next(me._replace(blocked=me.blocked & ~replaced)), after)]
        return [(me._replace(at="publish"), after)]

    def publish(self, me: Caller, s: Stores) -> list[Any]:
        after = s._replace(published=s.published | me.run)
        replaced = self._replaced(me)
        if self.mutant == "published_first" and replaced:
            return [(me._replace(at="replace"), after)]
        return [(self._next(me._replace(blocked=me.blocked & ~replaced)), after)]

    # What must hold

    def fault(self, state: State) -> str | None:
        s = state.stores
        if s.marked & S and not s.marked & (R | V | W):
            return "no_gap"
        # Readers leave out what a delivery says that it supersedes.
        gone = (self.takes[V] if s.marked & V else 0) | (self.takes[W] if s.marked & W else 0)
        if (s.marked & (R | V | W) & ~gone).bit_count() > 1:
            return "nothing_doubled"
        if s.published & ~s.marked or (s.replaced & R and not s.marked & (V | W)):
            return "no_lie"
        return "no_lie" if s.replaced & V and not s.marked & W else None

    def alone(self, before: State, process: Caller, after: State, ended: Caller) -> str | None:
        if ended.at != "finished":
            return "progress"
        s = after.stores
        # Whoever makes another call publishes all, unless the newest of an interval has lost its files.
        newest = max(run for run in (R, V, W) if run & s.sealed)
        if process.calls < 2 or s.lost & (newest | S):
            return None
        return "progress" if s.sealed & ~s.published & ~s.replaced else None
