"""What happens during a run, as plain values. Progress bars, metrics and webhooks subscribe to them.

A subscriber is a callable that takes one event. It is called in the thread where the thing happened, must be quick,
and an error that it raises ends the run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Event:
    export: str


@dataclass(frozen=True, slots=True)
class SweepsDue(Event):
    """So many sweeps are due; more may follow, for late rows."""

    sweeps: int


@dataclass(frozen=True, slots=True)
class SweepStarted(Event):
    start: datetime
    end: datetime
    attempt: int
    tenants: int  # known so far; more may be discovered
    rows: int | None  # estimated


@dataclass(frozen=True, slots=True)
class RowsRead(Event):
    rows: int  # since the last such event
    bytes: int  # in memory


@dataclass(frozen=True, slots=True)
class PartRead(Event):
    part: int
    parts: int
    rows: int


@dataclass(frozen=True, slots=True)
class FileWritten(Event):
    tenant: str
    name: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Waiting(Event):
    """Another process is at work on this sweep; ``owner`` says which, for people."""

    start: datetime
    owner: str


@dataclass(frozen=True, slots=True)
class RunCommitted(Event):
    tenant: str
    run_id: str
    rows: int


@dataclass(frozen=True, slots=True)
class RunPublished(Event):
    tenant: str
    run_id: str
    manifest: str


@dataclass(frozen=True, slots=True)
class CheckWarned(Event):
    check: str
    violations: int
    detail: str


@dataclass(frozen=True, slots=True)
class SweepFailed(Event):
    start: datetime
    error: str


@dataclass(frozen=True, slots=True)
class Unexpected(Event):
    """An error that Lading does not know kept a committed run from being published. It is among the results, without
    its text, which may hold values of the data."""

    error: Exception


@dataclass(frozen=True, slots=True)
class SweepDone(Event):
    start: datetime
    end: datetime
    runs: int
    rows: int


@dataclass(frozen=True, slots=True)
class DeliveredBefore(Event):
    """So many tenants' intervals that were asked for stand already, beside those among the results."""

    runs: int


@dataclass(frozen=True, slots=True)
class Noticed(Event):
    """Something that is no failure and that somebody may want to do something about: one line, for people."""

    notice: str


@dataclass(frozen=True, slots=True)
class Resting(Event):
    """A pass of a continuous export has ended, and the next one begins in ``seconds``. ``error``: why it failed."""

    seconds: float
    error: str | None = None


OnEvent = Callable[[Event], object]
