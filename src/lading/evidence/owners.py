"""`ops/owners.yaml`: who may approve what, and by which SSH keys one knows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from lading.documents import Findings, Loc, Name, nearest
from lading.evidence.sshkeys import PersonKey

FILE = "ops/owners.yaml"
EVERYTHING = "*"

Section = Literal["datasets", "channels", "destinations"]
Scope = tuple[Section, str]
"""What somebody owns: a section of the file, and a name in it."""


def _listed(value: object) -> object:
    """One may stand without the list around it."""
    return [value] if isinstance(value, str) else value


Keys = Annotated[tuple[str, ...], BeforeValidator(_listed), Field(min_length=1)]
Owned = dict[str, Annotated[tuple[str, ...], BeforeValidator(_listed)]]


class Owners(BaseModel):
    """`ops/owners.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    people: dict[Name, Keys] = Field(
        description="Everybody who asks or approves, with their SSH public keys."
    )
    datasets: Owned = Field(
        default_factory=dict, description="Contracts' names, and the people who own them; * is every one."
    )
    channels: Owned = Field(default_factory=dict, description="Channels, and the people who own them.")
    destinations: Owned = Field(
        default_factory=dict, description="Destinations, and the people who own them."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        found: list[tuple[Loc, str]] = []
        holders: dict[object, str] = {}
        for person, lines in self.people.items():
            for index, line in enumerate(lines):
                try:
                    key = PersonKey.parse(line).identity
                except ValueError as error:
                    found.append((("people", person, index), f"people.{person}: a key {error}"))
                    continue
                # A key of two people would let one of them approve what they asked for themselves.
                if key in holders:
                    found.append((("people", person, index), f"this key is {holders[key]}'s already"))
                holders.setdefault(key, person)
        for section in ("datasets", "channels", "destinations"):
            for name, owners in getattr(self, section).items():
                for owner in owners:
                    if owner not in self.people:
                        near = nearest(owner, self.people)
                        found.append(((section, name), f'people names nobody called "{owner}"{near}'))
        if found:
            raise Findings(found)
        return self

    def holder(self, key: PersonKey) -> str | None:
        """Whose key that is."""
        return self._holders().get(key.blob)

    def _holders(self) -> Mapping[bytes, str]:
        return {PersonKey.parse(line).blob: person for person, lines in self.people.items() for line in lines}

    def of(self, scope: Scope) -> frozenset[str]:
        """Who owns it."""
        section, name = scope
        owned: Mapping[str, tuple[str, ...]] = getattr(self, section)
        return frozenset((*owned.get(name, ()), *owned.get(EVERYTHING, ())))

    def names(self) -> Iterator[Scope]:
        """Everything that has owners."""
        for section in ("datasets", "channels", "destinations"):
            yield from ((section, name) for name in getattr(self, section))
