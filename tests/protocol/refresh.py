"""Full refreshes: the pointer that only moves forward, and expiry behind it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

from checker import Model, State, put


class Delivery(NamedTuple):
    """A sealed full refresh: its records in the journal, its objects at the destination."""

    file: bool = True
    manifest: bool = False
    marker: bool = False
    published: bool = False
    expired: bool = False
    gone: bool = False

    @property
    def complete(self) -> bool:
        return self.file and self.manifest and self.marker


class Refreshes(NamedTuple):
    pointer: int  # the number of the delivery that it names, 0 before the first
    deliveries: tuple[Delivery, ...]


class Publisher(NamedTuple):
    at: str
    n: int = 1  # the delivery in hand; 0: a reader that found none
    old: int = 0  # the pointer as read
    calls: int = 1  # how often it is called yet


class Refresh(Model):
    """Two full refreshes, both sealed, published by slow processes; with ``keep: 1`` the first expires afterwards.

    A reader takes the pointer and then what that names. The lease enters as its promise: nobody who took the pointer
    before the successor was published still reads one lease after that.
    """

    mutants: ClassVar = {
        "pointer_put_without_swap": "reads the pointer, compares, and puts",
        "pointer_not_compared": "swaps whatever stands there",
        "pointer_before_marker": "moves the pointer before the delivery is complete",
    }
    expiring = False

    def __init__(self, mutant: str = "", *, publishers: int, readers: int) -> None:
        super().__init__(mutant)
        self.publishers, self.readers = publishers, readers
        told = "expiry" if self.expiring else "pointer"
        self.name = f"{told}: {publishers} publishers, {readers} reader{'s' * (readers != 1)}"

    def starts(self) -> Iterator[State]:
        calls = 3 if self.expiring else 1
        readers = [Publisher("take")] * self.readers
        for first in (1, 2):  # whoever was asked for the second alone need not know of the first
            callers = [Publisher("look", first if i == 0 else 1, 0, calls) for i in range(self.publishers)]
            yield State(tuple(sorted(callers + readers)), Refreshes(0, (Delivery(), Delivery())))

    # Publishing

    def look(self, me: Publisher, s: Refreshes) -> list[Any]:
        if me.n > len(s.deliveries):
            return [(self._called(me._replace(at="expire", n=1)), s)]
        if s.deliveries[me.n - 1].published:
            return [(me._replace(n=me.n + 1), s)]
        if self.mutant == "expire_unpublished_successor" and me.n == 2 and me.calls > 1:
            return [(me._replace(at="expire", n=1), s)]
        return [(me._replace(at="manifest"), s)]

    def _called(self, me: Publisher) -> Publisher:
        return me if self.expiring else me._replace(at="finished")

    def manifest(self, me: Publisher, s: Refreshes) -> list[Any]:
        at = "point" if self.mutant == "pointer_before_marker" else "glance"
        return [(me._replace(at=at), self._put(s, me.n, manifest=True))]

    def glance(self, me: Publisher, s: Refreshes) -> list[Any]:
        return [(me._replace(at="withdraw" if s.deliveries[me.n - 1].expired else "marker"), s)]

    def marker(self, me: Publisher, s: Refreshes) -> list[Any]:
        at = "glance_again"
        if self.mutant == "marker_without_second_look":
            at = "point"
        if self.mutant == "pointer_before_marker":
            at = "publish"
        return [(me._replace(at=at), self._put(s, me.n, marker=True))]

    def glance_again(self, me: Publisher, s: Refreshes) -> list[Any]:
        return [(me._replace(at="withdraw" if s.deliveries[me.n - 1].expired else "point"), s)]

    def withdraw(self, me: Publisher, s: Refreshes) -> list[Any]:
        return [(me._replace(at="withdraw_rest"), self._put(s, me.n, marker=False))]

    def withdraw_rest(self, me: Publisher, s: Refreshes) -> list[Any]:
        return [(me._replace(at="look", n=me.n + 1), self._put(s, me.n, manifest=False, file=False))]

    def point(self, me: Publisher, s: Refreshes) -> list[Any]:
        if s.pointer >= me.n and self.mutant != "pointer_not_compared":
            return [(self._pointed(me), s)]
        return [(me._replace(at="swap", old=s.pointer), s)]

    def swap(self, me: Publisher, s: Refreshes) -> list[Any]:
        if s.pointer != me.old and self.mutant != "pointer_put_without_swap":
            return [(me._replace(at="point", old=0), s)]
        return [(self._pointed(me), s._replace(pointer=me.n))]

    def _pointed(self, me: Publisher) -> Publisher:
        return me._replace(at="marker" if self.mutant == "pointer_before_marker" else "publish", old=0)

    def publish(self, me: Publisher, s: Refreshes) -> list[Any]:
        return [(me._replace(at="look", n=me.n + 1), self._put(s, me.n, published=True))]

    # Expiring the first, in calls that may come long after each other

    def expire(self, me: Publisher, s: Refreshes) -> list[Any]:
        first, second = s.deliveries
        superseded = first.published and (second.published or self.mutant == "expire_unpublished_successor")
        if not superseded or first.gone:
            return [(self._again(me), s)]
        return [(me._replace(at="wait", old=first.expired), s)]

    def wait(self, me: Publisher, s: Refreshes) -> list[Any]:
        return [(me._replace(at="unmark" if self.mutant == "expire_unannounced" else "announce"), s)]

    def announce(self, me: Publisher, s: Refreshes) -> list[Any]:
        return [(me._replace(at="list"), self._put(s, 1, expired=True))]

    def list(self, me: Publisher, s: Refreshes) -> list[Any]:
        first = s.deliveries[0]
        if me.old and not (first.file or first.manifest or first.marker):
            return [(me._replace(at="close"), s)]
        return [(me._replace(at="strip" if self.mutant == "files_before_marker" else "unmark"), s)]

    def unmark(self, me: Publisher, s: Refreshes) -> list[Any]:
        after = self._put(s, 1, marker=False)
        return [(self._again(me) if self.mutant == "files_before_marker" else me._replace(at="strip"), after)]

    def strip(self, me: Publisher, s: Refreshes) -> list[Any]:
        after = self._put(s, 1, manifest=False, file=False)
        if self.mutant == "files_before_marker":
            return [(me._replace(at="unmark"), after)]
        return [(me._replace(at="close") if self.mutant == "gone_at_once" else self._again(me), after)]

    def close(self, me: Publisher, s: Refreshes) -> list[Any]:
        return [(self._again(me), self._put(s, 1, gone=True))]

    def _again(self, me: Publisher) -> Publisher:
        """The end of one call; the next may follow."""
        if me.calls == 1:
            return me._replace(at="finished", old=0)
        return me._replace(at="look", n=1, old=0, calls=me.calls - 1)

    # A reader

    def take(self, me: Publisher, s: Refreshes) -> list[Any]:
        return [(me._replace(at="read" if s.pointer else "finished", n=s.pointer), s)]

    def read(self, me: Publisher, s: Refreshes) -> list[Any]:
        at = "fetch" if s.deliveries[me.n - 1].marker and s.deliveries[me.n - 1].manifest else "broken"
        return [(me._replace(at=at), s)]

    def fetch(self, me: Publisher, s: Refreshes) -> list[Any]:
        return [(me._replace(at="finished" if s.deliveries[me.n - 1].file else "broken"), s)]

    def next(self, state: State, index: int) -> list[tuple[State, int]]:
        """A lease has passed only when all who took the pointer to the first delivery have read it."""
        reading = any(p.at in ("read", "fetch") and p.n == 1 for p in state.processes)
        if state.processes[index].at == "wait" and reading and self.mutant != "expire_at_once":
            return []
        return super().next(state, index)

    # What must hold

    def _put(self, s: Refreshes, n: int, **change: bool) -> Refreshes:
        return s._replace(deliveries=put(s.deliveries, n - 1, **change))

    def fault(self, state: State) -> str | None:
        s = state.stores
        if s.pointer and (not s.deliveries[s.pointer - 1].complete or s.deliveries[s.pointer - 1].expired):
            return "pointer_complete"
        if any(process.at == "broken" for process in state.processes):
            return "reader_served"
        for n, delivery in enumerate(s.deliveries, 1):
            # A publisher that has just written its marker looks again, and takes it away.
            looks = any(p.at in ("glance_again", "withdraw") and p.n == n for p in state.processes)
            if delivery.marker and not delivery.complete and not looks:
                return "no_hollow_marker"
            if delivery.published and not delivery.complete and not delivery.expired:
                return "no_lie"
        return None

    def moved(self, before: State, after: State) -> str | None:
        return "pointer_forward" if after.stores.pointer < before.stores.pointer else None

    def alone(self, before: State, process: Publisher, after: State, ended: Publisher) -> str | None:
        if ended.at == "wait":
            return None  # for a reader that stands still: the lease cannot pass meanwhile
        if ended.at != "finished":
            return "progress"
        first = after.stores.deliveries[0]
        # Who sleeps until a later call has found nothing more, wakes up, and dies before its second look: too late.
        closed = before.stores.deliveries[0].gone or any(p.at == "close" for p in before.processes)
        if process.calls > 1 and first.marker and not first.complete and not closed:
            return "no_hollow_marker"
        return None


class Expiry(Refresh):
    __doc__ = Refresh.__doc__
    expiring = True
    mutants: ClassVar = {
        "expire_at_once": "does not wait for the lease",
        "marker_without_second_look": "looks for `expired` before the marker only",
        "expire_unannounced": "deletes without a record in the journal",
        "expire_unpublished_successor": "expires when the successor is sealed, not published",
        "files_before_marker": "deletes the files first",
        "gone_at_once": "notes that all is gone in the call that deleted, not in a later one that found nothing",
    }
