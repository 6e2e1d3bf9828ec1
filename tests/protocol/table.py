"""A run is in its table once: publishers of one run, and of its revision, that race, are answered wrongly, or sleep."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

from checker import Model, State

A, R = 1, 2  # a run, and the revision that supersedes it


class Table(NamedTuple):
    head: int = 0  # the snapshot that a commit must find; expiry leaves it alone
    rows_of_a: int = 0  # how often a reader meets them
    rows_of_r: int = 0
    remembered: int = 0  # bit mask: runs in the properties
    snapshots: int = 0  # bit mask: runs whose snapshot has not expired
    marked: int = 0  # bit mask: runs with a success marker
    cleaned_a: int = 0  # how often all files of it were deleted that the table did not refer to then
    cleaned_r: int = 0
    lost: bool = False  # files that the table refers to were deleted


class Publisher(NamedTuple):
    at: str
    run: int
    head: int = -1  # the state that it builds on
    faults: int = 0  # wrong answers that it may yet get
    landed: bool = False  # what nobody told it: a commit of its own that was refused stands
    refused: bool = False
    cleaned: int = 0  # how often its run's files were, before it wrote its own


class Tables(Model):
    """Look for the run, build on what was looked at, commit on condition that it still stands; after any failure look
    again. `docs/snapshot.md`."""

    mutants: ClassVar = {
        "blind_retry": "commits again on the newest state without looking for the run",
        "snapshots_alone": "looks for the run in snapshots, which expire, and not in the properties",
        "no_condition": "commits whatever stands there by now",
        "delete_on_refusal": "deletes what it wrote when the catalogue says no, without looking",
        "clean_unlooked": "deletes what others have written for its run before it knows that the table has the run",
        "superseded_forgotten": "a revision does not note the runs that it takes the place of",
        "mark_first": "puts the success marker before the table has the run",
    }

    def __init__(self, mutant: str = "", *, publishers: int, revisers: int, faults: int = 1) -> None:
        super().__init__(mutant)
        self.publishers, self.revisers, self.faults = publishers, revisers, faults
        self.name = f"table: {publishers} publishers, {revisers} of a revision, expiry"

    def starts(self) -> Iterator[State]:
        first = "mark" if self.mutant == "mark_first" else "look"
        runs = [A] * self.publishers + [R] * self.revisers
        workers = [Publisher(first, run, faults=self.faults) for run in runs]
        yield State(tuple(sorted((*workers, Publisher("expire", 0)))), Table())

    def expire(self, me: Publisher, s: Table) -> list[Any]:
        return [(me._replace(at="finished"), s._replace(snapshots=0))]

    def look(self, me: Publisher, s: Table) -> list[Any]:
        there = s.snapshots if self.mutant == "snapshots_alone" else s.snapshots | s.remembered
        if there & me.run and not (self.mutant == "blind_retry" and me.head >= 0):
            return [(self._done(me), s)]
        # Only now is it certain that what was refused is nowhere.
        lost = s.lost or (me.refused and me.landed)
        after = s._replace(lost=lost)
        if self.mutant == "clean_unlooked":
            after = self._cleaned(me, after)
        writes = me._replace(at="commit", head=s.head, refused=False, cleaned=self._times_cleaned(me, after))
        return [(writes, after)]

    def commit(self, me: Publisher, s: Table) -> list[Any]:
        again = me._replace(at="look", faults=me.faults - 1, cleaned=0)
        if s.head != me.head and self.mutant != "no_condition":
            return [(self._refused(me._replace(at="look", cleaned=0)), s)]
        noted = me.run | (A if me.run == R and self.mutant != "superseded_forgotten" else 0)
        after = s._replace(
            head=s.head + 1,
            rows_of_a=s.rows_of_a + 1 if me.run == A else 0,
            rows_of_r=s.rows_of_r + (me.run == R),
            remembered=s.remembered | noted,
            snapshots=s.snapshots | me.run,
            lost=s.lost or self._times_cleaned(me, s) > me.cleaned,
        )
        outcomes = [(self._done(me), after)]
        if me.faults:
            # It landed and the answer is lost, or says no; or it never came.
            outcomes += [(again._replace(landed=True), after), (again, s)]
            deleted = after._replace(lost=self.mutant == "delete_on_refusal" or after.lost)
            outcomes += [(self._refused(again._replace(landed=True)), deleted)]
        return outcomes

    def clean(self, me: Publisher, s: Table) -> list[Any]:
        return [(me._replace(at="finished" if self.mutant == "mark_first" else "mark"), self._cleaned(me, s))]

    def mark(self, me: Publisher, s: Table) -> list[Any]:
        following = "look" if self.mutant == "mark_first" and me.head < 0 else "finished"
        return [(me._replace(at=following), s._replace(marked=s.marked | me.run))]

    def _refused(self, me: Publisher) -> Publisher:
        return me._replace(refused=True)

    def _done(self, me: Publisher) -> Publisher:
        return me._replace(at="clean", cleaned=0)

    def _cleaned(self, me: Publisher, s: Table) -> Table:
        return s._replace(cleaned_a=s.cleaned_a + 1, cleaned_r=s.cleaned_r + (me.run == R))

    def _times_cleaned(self, me: Publisher, s: Table) -> int:
        return s.cleaned_a if me.run == A else s.cleaned_r

    def fault(self, state: State) -> str | None:
        s = state.stores
        if s.rows_of_a + s.rows_of_r > 1:
            return "nothing_doubled"
        if s.lost:
            return "no_loss"
        if s.marked & A and not s.rows_of_a and not s.remembered & A:
            return "no_lie"
        if s.marked & R and not s.rows_of_r:
            return "no_lie"
        return None

    def alone(self, before: State, process: Publisher, after: State, ended: Publisher) -> str | None:
        if ended.at != "finished":
            return "progress"
        return "progress" if process.run and not after.stores.marked & process.run else None
