"""The chain of an export's audit packages for one tenant: which one is which, and what each follows.

::

    chain/<export>/<tenant>/00000001.json     {"number", "previous", "run_id", "checkpoint", "signature"}

A record is created once, and with it the package's number, its predecessor, and the very bytes of its checkpoint and
their signature: whoever publishes the package, and however often, writes these. The chain is in the order in which
packages were chained, which is that of their publication, and not of their intervals.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from lading.errors import IntegrityError, Lost, ObjectExists, ObjectNotFound
from lading.export.layout import segment
from lading.journal.log import Journal, encode

FIRST = "0" * 64
"""What the first package follows."""


@dataclass(frozen=True, slots=True)
class Place:
    """A package's number, and the SHA-256 of its checkpoint. Number 0 is before the first."""

    number: int
    sha256: str

    def record(self) -> dict[str, Any]:
        return {"number": self.number, "sha256": self.sha256}


@dataclass(frozen=True, slots=True)
class Chained:
    """A package in its chain."""

    number: int
    previous: str
    run_id: str
    checkpoint: str
    signature: str

    @property
    def place(self) -> Place:
        return Place(self.number, sha256(self.checkpoint.encode()).hexdigest())

    def refuse(self, run_id: str) -> None:
        """Raises Lost for a run that this package supersedes."""
        if run_id in json.loads(self.checkpoint)["supersedes"]:
            raise Lost(
                f"Package {self.number} took the place of run {run_id}, which is not published: a file of it was gone "
                "when that was made.",
                hint="Call it again: what takes its place is published then.",
            )

    def record(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "previous": self.previous,
            "run_id": self.run_id,
            "checkpoint": self.checkpoint,
            "signature": self.signature,
        }


class PackageChain:
    """Of one export and one tenant. Appending is safe among processes: one create, one winner."""

    def __init__(self, journal: Journal, export: str, tenant: str) -> None:
        self._journal = journal
        self._folder = f"chain/{segment(export)}/{segment(tenant)}/"

    def last(self) -> Place:
        """The newest package of a listing. Raises IntegrityError where the chain has a hole."""
        number = self._newest()
        return self._get(number).place if number else Place(0, FIRST)

    def append(self, run_id: str, after: Place, sign: Callable[[Place], tuple[str, str]]) -> Chained:
        """The package of a run, chained now or before.

        ``after``: a place in the chain at a time when the run was not in it. ``sign`` makes the checkpoint, and its
        signature, of a package that follows a place. Raises IntegrityError where ``after`` is not in the chain, and
        Lost for a run that gets no number any more: a package stands there that supersedes it.
        """
        if after.number and self._get(after.number).place != after:
            raise self._broken(after.number)
        while True:
            # The run may stand behind `after` already, chained by whoever died then: it is met before the end is.
            found = self._find(after.number + 1)
            if found is None:
                checkpoint, signature = sign(after)
                made = Chained(after.number + 1, after.sha256, run_id, checkpoint, signature)
                try:
                    self._journal.store.put(self._name(made.number), encode(made.record()), create=True)
                except ObjectExists:
                    found = self._get(made.number)
                else:
                    return made
            if found.run_id == run_id:
                return found
            found.refuse(run_id)
            after = found.place

    def require_standing(self, chained: Chained) -> None:
        """Raises Lost where a package behind this one supersedes it. If this one is not published, whoever chained that
        did not wait for it, since its files were lost, whoever has seen them before."""
        number = chained.number + 1
        while (found := self._find(number)) is not None:
            found.refuse(chained.run_id)
            number += 1

    def find(self, run_id: str, after: Place, upto: int) -> Chained | None:
        """The package of a run, if one of those behind ``after``, up to that number, is its."""
        return next(
            (p for n in range(after.number + 1, upto + 1) if (p := self._get(n)).run_id == run_id), None
        )

    def packages(self) -> Iterator[Chained]:
        """From the first to the newest. Raises IntegrityError where the chain is broken."""
        before = Place(0, FIRST)
        for number in range(1, self._newest() + 1):
            chained = self._get(number)
            if chained.previous != before.sha256:
                raise self._broken(number)
            yield chained
            before = chained.place

    def _newest(self) -> int:
        """The greatest number of a listing, 0 if that is empty. Of two records that are created while it is made it
        may show the later one alone: so the other is asked for."""
        shown = {info.name for info in self._journal.store.list(self._folder)}
        number = 0
        while shown:
            number += 1
            if self._name(number) in shown:
                shown.remove(self._name(number))
            elif self._find(number) is None:
                raise self._broken(number)
        return number

    def _find(self, number: int) -> Chained | None:
        try:
            return self._get(number)
        except ObjectNotFound:
            return None

    def _get(self, number: int) -> Chained:
        record = self._journal.get(self._name(number))
        try:
            chained = Chained(**record)
        except TypeError as error:
            raise self._broken(number) from error
        if chained.number != number:
            raise self._broken(number)
        return chained

    def _name(self, number: int) -> str:
        return f"{self._folder}{number:08d}.json"

    def _broken(self, number: int) -> IntegrityError:
        return IntegrityError(
            f"The chain of audit packages is broken at {self._name(number)}: a record was changed, taken out or put "
            "in.",
            hint="Restore the journal from its backup.",
        )


def tenants_of(journal: Journal, export: str) -> list[str]:
    """Whose chains an export has."""
    folder = f"chain/{segment(export)}/"
    firsts = [info.name for info in journal.store.list(folder) if info.name.endswith("/00000001.json")]
    return [json.loads(Chained(**journal.get(name)).checkpoint)["tenant"] for name in firsts]
