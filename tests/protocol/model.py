"""An exhaustive check of the commit protocol (docs/commit-protocol.md): every interleaving of a few processes.

    python tests/protocol/model.py             every model, every invariant (a minute)
    python tests/protocol/model.py --small     the models of two processes only (seconds)
    python tests/protocol/model.py --large     the others only
    python tests/protocol/model.py --mutants   simplifications of the protocol, each of which must be caught
    python tests/protocol/model.py --mutants --trace   and the interleavings that catch them

Exit 0 if everything holds (is caught). Standard library only.

A state is what stands in the stores and where each process is. One step is one request to a store. A process may be
arbitrarily slow, so that from every state every process may make the next step; a process that dies is one that
makes none any more, and whoever meets an unfinished attempt may believe its owner dead, rightly or not. Processes
run the same program, so states that differ only in who is who are one state.
"""

# ruff: noqa: T201 - a program, whose output is a table
from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator

from chain import Chain
from checker import Found, Model, check, steps_of
from late import Late
from lost import Lost
from refresh import Expiry, Refresh
from sweep import A, B, Sweep
from table import Tables
from turns import Turns


def sweeps(mutant: str = "") -> list[Sweep]:
    """Two processes: together, and one for a tenant that lags behind."""
    both, lag = ((A | B, A | B),), ((A, A | B), (A, B))
    return [
        Sweep(mutant, asked=both, discover=False, faults=True),
        Sweep(mutant, asked=lag, discover=False, faults=False),
        Sweep(mutant, asked=((A, A),), discover=True, faults=True),
    ]


def large() -> list[Model]:
    """Three processes."""
    return [
        Sweep(asked=((A | B, A | B, A | B),), attempts=4, discover=False, faults=False),
        Sweep(asked=((A, B, A | B),), discover=False, faults=False),
        Sweep(asked=((A, A, A),), discover=False, faults=True),
        Sweep(asked=((A, A, A),), discover=True, faults=False),
        Expiry(publishers=2, readers=1),
        Expiry(publishers=3, readers=0),
        Late(workers=3, calls=1),
        Tables(publishers=2, revisers=1),
        Tables(publishers=1, revisers=2),
        Lost(callers=2, revisions=1),
        Chain(runs=(0, 0, 1)),
        Chain(runs=(0, 0, 1, 1)),
        Chain(runs=(0, 1, 2)),
    ]


def small() -> list[Model]:
    return [
        *sweeps(),
        Refresh(publishers=2, readers=1),
        Refresh(publishers=3, readers=0),
        Expiry(publishers=2, readers=0),
        Expiry(publishers=1, readers=1),
        Late(workers=2, calls=2),
        Tables(publishers=2, revisers=0),
        Tables(publishers=1, revisers=1),
        Turns(others=2),
        Lost(callers=1, revisions=1),
        Lost(callers=0, revisions=2),
        Chain(runs=(0, 0)),
        Chain(runs=(0, 1)),
    ]


def mutants() -> Iterator[tuple[str, str, list[Model]]]:
    """(name, what it does, the models that may catch it)"""
    for name, what in Sweep.mutants.items():
        yield name, what, [*sweeps(name), Sweep(name, asked=((A, B, A | B),), discover=False, faults=False)]
    for name, what in Refresh.mutants.items():
        yield name, what, [Refresh(name, publishers=2, readers=0)]
    for name, what in Expiry.mutants.items():
        yield name, what, [Expiry(name, publishers=2, readers=0), Expiry(name, publishers=1, readers=1)]
    for name, what in Late.mutants.items():
        yield name, what, [Late(name, workers=2, calls=1)]
    for name, what in Tables.mutants.items():
        yield name, what, [Tables(name, publishers=2, revisers=0), Tables(name, publishers=1, revisers=1)]
    for name, what in Turns.mutants.items():
        yield name, what, [Turns(name, others=0)]
    for name, what in Lost.mutants.items():
        yield name, what, [Lost(name, callers=1, revisions=1), Lost(name, callers=0, revisions=2)]
    for name, what in Chain.mutants.items():
        yield name, what, [Chain(name, runs=(0, 0)), Chain(name, runs=(0, 1)), Chain(name, runs=(0, 0, 1))]


def caught(models: list[Model]) -> Found:
    for model in models:
        found = check(model)
        if found.fault:
            return found
    return Found(None, 0, ())


def main(arguments: list[str]) -> int:
    gc.disable()  # of millions of tuples, none refers to itself
    failed = False
    if "--mutants" in arguments:
        for name, what, models in mutants():
            found = caught(models)
            failed |= found.fault is None
            print(f"{name:29}{found.fault or 'NOT CAUGHT':19}{len(found.trace):3} steps  {what}", flush=True)
            if "--trace" in arguments:
                print(*steps_of(found.trace), sep="\n")
        return int(failed)
    chosen = [] if "--large" in arguments else small()
    chosen += [] if "--small" in arguments else large()
    for model in chosen:
        began = time.monotonic()
        found = check(model)
        failed |= found.fault is not None
        told = f"BROKEN: {found.fault}" if found.fault else "holds"
        print(
            f"{model.name:58}{found.states:9,} states {time.monotonic() - began:6.1f} s  {told}", flush=True
        )
        for line in steps_of(found.trace):
            print(line)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
