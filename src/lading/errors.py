"""The one error tree. A class says what kind of failure it is, whether a retry can help, and the exit code.

::

    LadingError                    1  unexpected
    ├── InvalidProject             2  a file of the project, or a flag, is wrong: names file, line and reason
    ├── Refused                    3  a policy says no
    ├── Retryable                  4  a retry may help
    │   ├── InProgress             4  a live process holds the sweep and ``--no-wait`` was given
    │   ├── NotDue                 4  an interval was asked for by name that may not be read yet
    │   ├── SourceUnavailable      4  the source cannot be reached, or went away while it was read
    │   ├── StoreUnavailable       4  the store cannot be reached, is busy, or answered with a passing fault
    │   ├── StoreFull              4  no space, or a quota is used up
    │   └── KeysUnavailable        4  the service that holds keys cannot be reached, or is busy
    ├── Failed                     5  a retry will not help
    │   ├── DataRefused            5  the data breaks a promise: a check, a type, a tenant, a NULL where none may be
    │   ├── SchemaMismatch         5  the source no longer fits the contract
    │   ├── Shrunk                 5  a replayable source gave fewer rows than it did before
    │   ├── StoreDenied            5  the store refuses: credentials, permissions, a missing bucket
    │   └── SourceDenied           5  the source refuses: credentials, privileges, row security
    └── IntegrityError             6  what is there is not what the manifest says

    ObjectNotFound, ObjectExists      (Failed) answers of a store that its callers handle
    Fenced                            (Retryable) another process has taken the attempt over
    Lost                              (IntegrityError) what a sealed run has written does not stand any more
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class LadingError(Exception):
    """Lading failed in a way that it does not know."""

    exit_code = 1
    retryable = False

    def __init__(self, message: str | None = None, *, hint: str | None = None) -> None:
        """``message`` says what and where (the docstring by default), ``hint`` what to do about it."""
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.hint = hint
        super().__init__(f"{sentence(self.message)} {hint}" if hint else self.message)


def sentence(text: str) -> str:
    """The text with a full stop, where something is to follow it: ``No space left on device.``"""
    return text if text.endswith((".", "!", "?", "…", ":")) else f"{text}."


def counted(count: int, one: str, many: str | None = None) -> str:
    """For messages: ``1 delivery``, ``2,000 deliveries``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in one file of a project. ``line`` counts from 1; 0 when the file as a whole is meant."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}" if self.line else f"{self.file}: {self.reason}"


class InvalidProject(LadingError):
    """The project or the command is not valid."""

    exit_code = 2

    def __init__(
        self, message: str | None = None, *, hint: str | None = None, problems: Sequence[Problem] = ()
    ) -> None:
        self.problems = tuple(problems)
        super().__init__(message or "\n".join(map(str, self.problems)) or None, hint=hint)


class Refused(LadingError):
    """A policy refuses this."""

    exit_code = 3


class Retryable(LadingError):
    """It failed, and a retry may help."""

    exit_code = 4
    retryable = True

    def __init__(
        self, message: str | None = None, *, hint: str | None = None, retry_after: float | None = None
    ) -> None:
        """``retry_after``: seconds that the other side asked to wait, where it said so."""
        self.retry_after = retry_after
        super().__init__(message, hint=hint)


class InProgress(Retryable):
    """Another process is at work on this."""


class NotDue(Retryable):
    """The interval is not due yet."""


class SourceUnavailable(Retryable):
    """The source cannot be reached."""


class StoreUnavailable(Retryable):
    """The store cannot be reached."""


class StoreFull(Retryable):
    """The store has no space left."""


class KeysUnavailable(Retryable):
    """The service that holds keys cannot be reached."""


class Fenced(Retryable):
    """Another process has taken this attempt over; nothing of it was committed."""


class Failed(LadingError):
    """It failed, and a retry will not help."""

    exit_code = 5


class DataRefused(Failed):
    """The data breaks a promise of its contract or its export."""


class SchemaMismatch(Failed):
    """The source does not fit the contract."""


class Shrunk(Failed):
    """The source gave fewer rows than it gave before."""


class StoreDenied(Failed):
    """The store refuses the access."""


class SourceDenied(Failed):
    """The source refuses the access."""


class ObjectNotFound(Failed):
    """The store holds no such object."""


class ObjectExists(Failed):
    """The store holds this object already."""


class IntegrityError(LadingError):
    """What is there is not what the manifest says."""

    exit_code = 6


class Lost(IntegrityError):
    """A data file of a sealed run is not there as it was sealed."""


def unexpected(error: BaseException) -> LadingError:
    """What is told of an error that Lading does not know: its type and its place, since its text may hold values of the
    data."""
    return LadingError(
        f"Unexpected: {type(error).__name__} in {_place(error)}.",
        hint="LADING_DEBUG=1 shows the traceback, which may hold values of the data.",
    )


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "lading" in Path(frame.filename).parts] or list(frames)
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "an unknown place"
