"""Explores every state that a few processes can reach. See model.py for what a state and a step are."""

from __future__ import annotations

from collections import deque
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
        found = []
        for changed, stores in getattr(self, process.at)(process, state.stores):
            processes = tuple(sorted((*rest, changed)))
            found.append((State(processes, stores), processes.index(changed)))
        return found


FINAL = frozenset({"finished", "stuck", "broken"})


def check(model: Model) -> Found:
    """Explores every reachable state, breadth first, then lets every process run alone from each of them."""
    came: dict[State, State | None] = dict.fromkeys(model.starts())
    ordinary: dict[State, list[tuple[State, int] | None]] = {}
    queue = deque(came)
    while queue:
        state = queue.popleft()
        if fault := model.fault(state):
            return Found(fault, len(came), _trace(came, state))
        ordinary[state] = []
        for index, process in enumerate(state.processes):
            following = [] if process.at in FINAL else model.next(state, index)
            ordinary[state].append(following[0] if following else None)
            for after, _ in following:
                if after in came:
                    continue
                came[after] = state
                queue.append(after)
                if fault := model.moved(state, after):
                    return Found(fault, len(came), _trace(came, after))
    return _alone(model, came, ordinary)


def _alone(
    model: Model, came: dict[State, State | None], ordinary: dict[State, list[tuple[State, int] | None]]
) -> Found:
    ends: dict[tuple[State, int], tuple[State, int]] = {}
    for state in came:
        for index in range(len(state.processes)):
            path = [(state, index)]
            while path[-1] not in ends and (step := ordinary[path[-1][0]][path[-1][1]]):
                path.append(step)
                if len(path) > 500:
                    return Found("progress: runs in circles", len(came), _trace(came, state))
            end = ends.get(path[-1], path[-1])
            ends.update(dict.fromkeys(path, end))
            if fault := model.alone(state, state.processes[index], end[0], end[0].processes[end[1]]):
                return Found(fault, len(came), _trace(came, state))
    return Found(None, len(came), ())


def _trace(came: dict[State, State | None], state: State | None) -> tuple[State, ...]:
    path = []
    while state is not None:
        path.append(state)
        state = came[state]
    return tuple(reversed(path))


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
