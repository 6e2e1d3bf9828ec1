"""Audit packages: each run has one number in one chain, whoever publishes it, and whatever else is published."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

from checker import Model, State


class Journal(NamedTuple):
    chain: tuple[int, ...] = ()  # the run of each number
    after: tuple[int, ...] = ()  # by run: how long the chain was when it was prepared; -1: it is not sealed
    put: frozenset[tuple[int, int]] = frozenset()  # (run, number) of checkpoints at the destination


class Publisher(NamedTuple):
    at: str
    run: int
    place: int = 0  # the number that it looks behind


class Chain(Model):
    """Several processes prepare, seal and publish runs of one export and tenant; some publish the same run."""

    mutants: ClassVar = {
        "chain_at_the_end": "creates behind the newest package, without looking for its own before",
        "place_at_publication": "takes the chain's length when it publishes, and not from the sealed commit",
        "chain_when_prepared": "takes a number before the seal",
        "chain_without_create": "puts the record, whatever stands there",
    }

    def __init__(self, mutant: str = "", *, runs: tuple[int, ...]) -> None:
        super().__init__(mutant)
        self.runs = runs
        self.name = f"packages: {len(runs)} processes"

    def starts(self) -> Iterator[State]:
        processes = tuple(sorted(Publisher("prepare", run) for run in self.runs))
        yield State(processes, Journal(after=(-1,) * (max(self.runs) + 1)))

    def prepare(self, me: Publisher, s: Journal) -> list[Any]:
        if self.mutant == "chain_when_prepared":
            s = s._replace(chain=(*s.chain, me.run))
        return [(me._replace(at="seal", place=len(s.chain)), s)]

    def seal(self, me: Publisher, s: Journal) -> list[Any]:
        """The first seal counts; who comes second publishes from the commit that it names."""
        if s.after[me.run] < 0:
            after = tuple(me.place if run == me.run else old for run, old in enumerate(s.after))
            s = s._replace(after=after)
        if self.mutant == "chain_when_prepared":
            return [(me._replace(at="put_"), s)]
        if self.mutant in ("chain_at_the_end", "place_at_publication"):
            return [(me._replace(at="listing"), s)]
        return [(me._replace(at="look", place=s.after[me.run]), s)]

    def listing(self, me: Publisher, s: Journal) -> list[Any]:
        at = "create" if self.mutant == "chain_at_the_end" else "look"
        return [(me._replace(at=at, place=len(s.chain)), s)]

    def look(self, me: Publisher, s: Journal) -> list[Any]:
        if len(s.chain) <= me.place:
            return [(me._replace(at="create"), s)]
        here = me._replace(place=me.place + 1)
        return [(here._replace(at="put_") if s.chain[me.place] == me.run else here, s)]

    def create(self, me: Publisher, s: Journal) -> list[Any]:
        if len(s.chain) <= me.place:
            return [(me._replace(at="put_", place=me.place + 1), s._replace(chain=(*s.chain, me.run)))]
        if self.mutant == "chain_without_create":
            chain = tuple(me.run if at == me.place else run for at, run in enumerate(s.chain))
            return [(me._replace(at="put_", place=me.place + 1), s._replace(chain=chain))]
        return [(me._replace(at="look"), s)]

    def put_(self, me: Publisher, s: Journal) -> list[Any]:
        return [(me._replace(at="finished"), s._replace(put=s.put | {(me.run, me.place)}))]

    def fault(self, state: State) -> str | None:
        s = state.stores
        if any(s.chain.count(run) > 1 for run in s.chain):
            return "chained_once"
        if any(s.chain[number - 1] != run for run, number in s.put):
            return "no_fork"
        return None

    def alone(self, before: State, process: Publisher, after: State, ended: Publisher) -> str | None:
        return None if ended.at == "finished" else "progress"
