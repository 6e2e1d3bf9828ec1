"""Explores every state that a few processes can reach. See model.py for what a state and a step are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple


class State(NamedTuple):
    processes: tuple[Any, ...]  # sorted: they are interchangeable
    stores: Any


class Found(NamedTuple):
    fault: str | None
    states: int
    trace: tuple[State, ...]  # from a start to the fault


class Model:
    """What is checked. ``at`` is the name of the method that makes a process's next step.

    A step method gets (process, stores) and returns what may come of it, ordinary outcome first: (process, stores)
    pairs; nothing for a process that stands still for good.
    """

    name: str
    mutants: ClassVar[dict[str, str]] = {}

    def __init__(self, mutant: str = "") -> None:
        self.mutant = mutant
        self._steps: dict[tuple[Any, Any], list[Any]] = {}

    def starts(self) -> Iterator[State]:
        raise NotImplementedError

    def fault(self, state: State) -> str | None:
        """An invariant that this state breaks."""
        raise NotImplementedError

    def moved(self, before: State, after: State) -> str | None:
        """An invariant that this step breaks."""

    def alone(self, before: State, process: Any, after: State, ended: Any) -> str | None:
        """An invariant broken by ``process`` having run alone, the others standing still, until it is ``ended``."""

    def next(self, state: State, index: int) -> list[tuple[State, int]]:
        """The states after a process's next step, and where that process is then found."""
        process = state.processes[index]
        rest = state.processes[:index] + state.processes[index + 1 :]
        known = process, state.stores  # a step looks at nothing else
        if known not in self._steps:
            self._steps[known] = getattr(self, process.at)(process, state.stores)
        found = []
        for changed, stores in self._steps[known]:
            processes = tuple(sorted((*rest, changed)))
            found.append((State(processes, stores), processes.index(changed)))
        return found


FINAL = frozenset({"finished", "stuck", "broken"})


class _Explored:
    """The states that were reached, by number. ``came``: from which one each was reached first; ``ordinary``: where
    the ordinary step of each of its processes leads, and where that process is then found."""

    def __init__(self) -> None:
        self.number: dict[State, int] = {}
        self.states: list[State] = []
        self.came: list[int | None] = []
        self.ordinary: list[list[tuple[int, int] | None]] = []

    def add(self, state: State, came: int | None) -> tuple[int, bool]:
        """Its number, and whether it is new."""
        number = self.number.setdefault(state, len(self.states))
        if new := number == len(self.states):
            self.states.append(state)
            self.came.append(came)
        return number, new

    def found(self, fault: str | None, number: int | None = None) -> Found:
        path = []
        while number is not None:
            path.append(self.states[number])
            number = self.came[number]
        return Found(fault, len(self.states), tuple(reversed(path)))


def check(model: Model) -> Found:
    """Explores every reachable state, breadth first, then lets every process run alone from each of them."""
    explored = _Explored()
    for state in model.starts():
        explored.add(state, None)
    for number, state in enumerate(explored.states):  # which grows
        if fault := model.fault(state):
            return explored.found(fault, number)
        leads: list[tuple[int, int] | None] = []
        explored.ordinary.append(leads)
        for index, process in enumerate(state.processes):
            leads.append(None)
            for after, at in [] if process.at in FINAL else model.next(state, index):
                there, new = explored.add(after, number)
                leads[index] = leads[index] or (there, at)
                if new and (fault := model.moved(state, after)):
                    return explored.found(fault, there)
    return _alone(model, explored)


def _alone(model: Model, explored: _Explored) -> Found:
    ends: dict[tuple[int, int], tuple[int, int]] = {}
    for number, state in enumerate(explored.states):
        for index, process in enumerate(state.processes):
            path = [(number, index)]
            while path[-1] not in ends and (step := explored.ordinary[path[-1][0]][path[-1][1]]):
                path.append(step)
                if len(path) > 500:
                    return explored.found("progress: runs in circles", number)
            end = ends.get(path[-1], path[-1])
            ends.update(dict.fromkeys(path, end))
            after = explored.states[end[0]]
            if fault := model.alone(state, process, after, after.processes[end[1]]):
                return explored.found(fault, number)
    return explored.found(None)


def steps_of(trace: tuple[State, ...]) -> Iterator[str]:
    """A trace in lines: where the processes are, and what the last step changed in the stores."""
    last: Any = None
    for state in trace:
        change = state.stores if last is None or state.stores != last else ""
        yield f"    {' | '.join(str(tuple(process)) for process in state.processes)}  {_differences(last, change)}"
        last = state.stores


def _differences(before: Any, after: Any) -> str:
    if not after or before is None:
        return ""
    if not hasattr(after, "_fields"):
        return ", ".join(
            f"[{i}] {_differences(b, a)}"
            for i, (b, a) in enumerate(zip(before, after, strict=True), 1)
            if a != b
        )
    changed = [(f, b, a) for f, b, a in zip(after._fields, before, after, strict=True) if a != b]
    return ", ".join(_differences(b, a) if isinstance(a, tuple) else f"{f} {b} > {a}" for f, b, a in changed)


def put(values: tuple[Any, ...], index: int, **change: Any) -> tuple[Any, ...]:
    return (*values[:index], values[index]._replace(**change), *values[index + 1 :])
