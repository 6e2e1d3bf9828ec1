"""People with SSH keys, who ask for approvals and grant them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lading.evidence.sshsig import APPROVALS, PublicKey, armored, message


@dataclass(frozen=True)
class Person:
    """``name``, and an Ed25519 key that is made of it."""

    name: str
    key: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def called(cls, name: str, number: int = 0) -> Person:
        seed = f"{name}{number}".encode().ljust(32, b".")
        return cls(name, Ed25519PrivateKey.from_private_bytes(seed))

    @property
    def public(self) -> PublicKey:
        return PublicKey(self.key.public_key().public_bytes_raw())

    @property
    def sign(self) -> Callable[[bytes], bytes]:
        """What `ssh-keygen -Y sign -n lading-approval` would say."""
        return lambda data: armored(self.public, APPROVALS, self.key.sign(message(APPROVALS, data)))


ADA, BOB, EVE = (Person.called(name) for name in ("ada", "bob", "eve"))


def write_owners(
    root: Path, people: Sequence[Person] = (ADA, BOB, EVE), **owned: Mapping[str, Sequence[str]]
) -> None:
    """`ops/owners.yaml`; by default ada and bob own everything."""
    sections = owned or {name: {"*": ["ada", "bob"]} for name in ("datasets", "channels", "destinations")}
    listed: dict[str, list[str]] = {}
    for person in people:
        listed.setdefault(person.name, []).append(person.public.line)
    (root / "ops").mkdir(exist_ok=True)
    (root / "ops/owners.yaml").write_text(json.dumps({"people": listed, **sections}, indent=1))
