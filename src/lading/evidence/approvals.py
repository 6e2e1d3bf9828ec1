"""Approvals: what two people have signed, one who asks and another who owns what it is about.

An approval is a JSON document in `ops/approvals/`, which holds in full what is approved (contracts by the SHA-256 of
their files), for what purpose, and until when; and beside it the signatures of people, as `ssh-keygen -Y sign -n
lading-approval` makes them. Its id is the SHA-256 of its bytes, so what was signed cannot be changed, and what has
changed since is not approved.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from rfc8785 import CanonicalizationError

from lading.evidence.owners import FILE, Owners, Scope
from lading.evidence.sshsig import APPROVALS, verified_person
from lading.export.identity import instant
from lading.export.interval import parse_instant
from lading.manifest import canonical, sha256

FOLDER = "ops/approvals"
VERSION = 1
LONGEST = timedelta(days=366)
"""What is approved is looked at again after a year."""
_EARLY = timedelta(minutes=10)  # that clocks may differ by

Kind = Literal["query", "destination", "export", "promotion"]
KINDS: tuple[Kind, ...] = ("query", "destination", "export", "promotion")
_FIELDS = {
    "approval_version", "project", "environment", "kind", "name", "definition", "purpose", "requested_by",
    "requested_at", "expires",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Subject:
    """What may need an approval: its definition in full, and what its owners own."""

    project: str
    environment: str
    kind: Kind
    name: str
    definition: Mapping[str, Any]
    scopes: tuple[Scope, ...]

    def __str__(self) -> str:
        return f"the {self.kind} {self.name}"

    def owners(self, owners: Owners) -> frozenset[str]:
        """Everybody who owns something of it."""
        return frozenset().union(*map(owners.of, self.scopes))

    def request(self, purpose: str, by: str, at: datetime, expires: datetime) -> bytes:
        """The document that the people sign. Raises ValueError for a time that no approval may have."""
        if not purpose.strip():
            raise ValueError("an approval needs a purpose")
        if not at < expires <= at + LONGEST:
            wrong = "is past" if expires <= at else "does not"
            raise ValueError(f"an approval ends within {LONGEST.days} days: {instant(expires)} {wrong}")
        document = {
            "approval_version": VERSION,
            "project": self.project,
            "environment": self.environment,
            "kind": self.kind,
            "name": self.name,
            "definition": json.loads(canonical(self.definition)),
            "purpose": purpose.strip(),
            "requested_by": by,
            "requested_at": instant(at),
            "expires": instant(expires),
        }
        return _legible(document)


@dataclass(frozen=True, slots=True)
class Approval:
    """A document and the signatures beside it, of which nothing is believed yet."""

    data: bytes
    signatures: Sequence[bytes]
    document: Mapping[str, Any] = field(repr=False)

    @classmethod
    def read(cls, data: bytes, signatures: Sequence[bytes]) -> Approval:
        """Raises ValueError for what is no document of an approval."""
        try:
            return cls._read(data, signatures)
        except (RecursionError, OverflowError, CanonicalizationError) as error:
            raise ValueError("is no approval") from error

    @classmethod
    def _read(cls, data: bytes, signatures: Sequence[bytes]) -> Approval:
        document = json.loads(data)
        if not isinstance(document, dict) or document.keys() != _FIELDS:
            raise ValueError("is no approval")
        if document["approval_version"] != VERSION or document["kind"] not in KINDS:
            raise ValueError("is an approval of a kind that this version does not know")
        if _legible(document) != data:
            raise ValueError(
                "is not written as approvals are: what people read in it may not be what it says"
            )
        texts = _FIELDS - {"approval_version", "definition"}
        if not all(isinstance(document[name], str) for name in texts):
            raise ValueError("is no approval")
        at, until = (parse_instant(document[name]) for name in ("requested_at", "expires"))
        if not at < until <= at + LONGEST:
            raise ValueError(f"is no approval: it must end within {LONGEST.days} days")
        canonical(document["definition"])
        return cls(data, tuple(signatures), document)

    @property
    def sha256(self) -> str:
        return sha256(self.data)

    @property
    def id(self) -> str:
        return self.sha256[:16]

    @property
    def expires(self) -> datetime:
        return parse_instant(self.document["expires"])

    @property
    def requested_by(self) -> str:
        return str(self.document["requested_by"])

    def covers(self, subject: Subject) -> bool:
        """Whether it is about this, as it is now."""
        said = {name: self.document[name] for name in ("project", "environment", "kind", "name")}
        meant = {name: getattr(subject, name) for name in said}
        return said == meant and canonical(self.document["definition"]) == canonical(subject.definition)

    def about(self, subject: Subject) -> bool:
        """Whether it is about this, as it is or as it was."""
        return all(
            self.document[name] == getattr(subject, name)
            for name in ("project", "environment", "kind", "name")
        )

    def repeats(self, other: Approval) -> bool:
        """Whether it asks for the same, but for when that was."""
        return {**self.document, "requested_at": None} == {**other.document, "requested_at": None}

    def signers(self, owners: Owners) -> frozenset[str]:
        """The people who have signed it, by keys that are theirs now."""
        found = set()
        for file in self.signatures:
            try:
                person = owners.holder(verified_person(file, APPROVALS, self.data))
            except ValueError:
                continue  # a damaged signature is none
            if person is not None:
                found.add(person)
        return frozenset(found)

    def objection(self, subject: Subject, owners: Owners, at: datetime) -> str | None:
        """Why it does not allow this subject now; None if it does."""
        if not self.covers(subject):
            return (
                f"is for another definition: {subject} has changed since (differs in: "
                f"{', '.join(self._differs(subject))})"
            )
        if at >= self.expires:
            return f"ended at {instant(self.expires)}"
        if at < parse_instant(self.document["requested_at"]) - _EARLY:
            return f"begins at {self.document['requested_at']}"
        return self._unsigned(subject, owners)

    def settled(self, subject: Subject, owners: Owners) -> bool:
        """Whether all who have to have signed it, whatever became of it since."""
        return self._unsigned(subject, owners) is None

    def _differs(self, subject: Subject) -> list[str]:
        """The parts of the definition that are not as they were."""
        was, now = self.document["definition"], subject.definition
        if not isinstance(was, dict):
            return sorted(now)
        return sorted(
            key
            for key in was.keys() | now.keys()
            if key not in was or key not in now or canonical(was[key]) != canonical(now[key])
        )

    def _unsigned(self, subject: Subject, owners: Owners) -> str | None:
        """Whose signature is missing; None if none is."""
        if why := ungrantable(subject, self.requested_by, owners):
            return f"cannot be granted: {why}"
        signers = self.signers(owners)
        if self.requested_by not in signers:
            return f"is not signed by {self.requested_by}, who asked for it"
        for section, name in subject.scopes:
            allowed = owners.of((section, name)) - {self.requested_by}
            if not allowed & signers:
                return f"is not signed by another owner of {section}.{name}: {_either(allowed)} may"
        return None

    def record(self) -> dict[str, str]:
        return {
            "sha256": self.sha256,
            "kind": self.document["kind"],
            "name": self.document["name"],
            "expires": self.document["expires"],
        }


def granted(
    subject: Subject, approvals: Iterable[Approval], owners: Owners | None, at: datetime
) -> Approval | str:
    """The approval that allows the subject now, the one that lasts longest; or why there is none."""
    about = [approval for approval in approvals if approval.about(subject)]
    if owners is None:
        return f"there is no {FILE}, so nobody can approve {subject}"
    if not about:
        return f"{subject} needs an approval, and there is none"
    valid = [approval for approval in about if approval.objection(subject, owners, at) is None]
    if valid:
        return max(valid, key=lambda approval: (approval.expires, approval.sha256))
    # A request for what stands now is what people are at; else what they had granted tells them what has changed.
    named = max(
        about,
        key=lambda each: (
            each.covers(subject) and at < each.expires,
            each.settled(subject, owners),
            each.document["requested_at"],
            each.sha256,
        ),
    )
    return f"the approval {named.id} {named.objection(subject, owners, at)}"


def ungrantable(subject: Subject, by: str, owners: Owners) -> str | None:
    """Why nobody could grant what this person asks for; None if somebody could."""
    for section, name in subject.scopes:
        those = owners.of((section, name))
        if not those:
            return f"nobody owns {section}.{name}: name an owner in {FILE}"
        if those == {by}:
            mend = f"add another to {FILE}, or let somebody else ask"
            return f"{by} asked and is the only owner of {section}.{name}: {mend}"
    return None


def _either(people: Collection[str]) -> str:
    return " or ".join(sorted(people))


def _legible(document: Mapping[str, Any]) -> bytes:
    """For people to read before they sign, in one form only."""
    return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=True) + "\n").encode()
