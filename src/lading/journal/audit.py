"""The audit chain: what was approved and what that was used for, each record bound to the one before.

::

    audit/00000001.json     {"number", "previous", "id", "at", "event", …}

``previous`` is the SHA-256 of the record before, so that none can be changed, taken out or put in between unnoticed;
manifests name the newest record of their time, so that what they name cannot be cut off either.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lading.errors import IntegrityError, ObjectExists
from lading.export.identity import instant
from lading.journal.log import Journal, encode

_FOLDER = "audit/"
_FIRST = "0" * 64


@dataclass(frozen=True, slots=True)
class Link:
    """A record's place in the chain."""

    number: int
    sha256: str

    def record(self) -> dict[str, Any]:
        return {"number": self.number, "sha256": self.sha256}


class AuditChain:
    """Of one project in one environment, in its journal. Appending is safe among processes: one create, one winner."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def append(self, event: str, **told: Any) -> Link:
        """Adds a record at the end, and says where it stands."""
        last, nonce = self._last(), secrets.token_hex(8)
        while True:
            record = {
                **told,
                "id": nonce,
                "event": event,
                "at": instant(self._journal.now()),
                "number": last.number + 1,
                "previous": last.sha256,
            }
            data = encode(record)
            try:
                self._journal.store.put(_name(last.number + 1), data, create=True)
            except ObjectExists:
                found = self._journal.store.get(_name(last.number + 1))
                if found == data:  # ours, and its answer was lost
                    return Link(last.number + 1, hashlib.sha256(data).hexdigest())
                last = Link(last.number + 1, hashlib.sha256(found).hexdigest())
                continue
            return Link(last.number + 1, hashlib.sha256(data).hexdigest())

    def records(self) -> Iterator[Mapping[str, Any]]:
        """The chain from its beginning. Raises IntegrityError where it is broken."""
        previous = _FIRST
        for number, name in enumerate(self._names(), start=1):
            record = self._journal.get(name)
            if name != _name(number) or record.get("number") != number or record.get("previous") != previous:
                raise _broken(_name(number))
            previous = hashlib.sha256(self._journal.store.get(name)).hexdigest()
            yield record

    def _last(self) -> Link:
        names = self._names()
        if not names:
            return Link(0, _FIRST)
        if names[-1] != _name(len(names)):
            raise _broken(_name(len(names)))
        return Link(len(names), hashlib.sha256(self._journal.store.get(names[-1])).hexdigest())

    def _names(self) -> list[str]:
        return [info.name for info in self._journal.store.list(_FOLDER)]


def _broken(name: str) -> IntegrityError:
    return IntegrityError(
        f"The audit chain is broken at {name}: a record was changed, taken out or put in.",
        hint="Restore the journal from its backup.",
    )


def _name(number: int) -> str:
    return f"{_FOLDER}{number:08d}.json"
