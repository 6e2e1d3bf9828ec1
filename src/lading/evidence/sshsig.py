"""Detached signatures in OpenSSH's form (SSHSIG).

Source: PROTOCOL.sshsig of OpenSSH. Manifests are signed by Ed25519 keys (RFC 8709, RFC 8032) over SHA-512, so that
equal keys and bytes give equal signatures; people sign with whatever key they have. `ssh-keygen -Y verify` checks what
is made here, and what `ssh-keygen -Y sign` makes is checked here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass

from lading.evidence.sshkeys import PersonKey, fingerprint, string, strings

KIND = "ssh-ed25519"
MANIFESTS = "lading-manifest"
"""The namespace of signatures over manifests: none of them is good for anything else."""
APPROVALS = "lading-approval"
"""The namespace of signatures over approvals."""
CHECKPOINTS = "lading-checkpoint"
"""The namespace of signatures over the checkpoints of audit packages."""

_MAGIC, _VERSION, _HASH = b"SSHSIG", 1, b"sha512"
_HASHES = (b"sha256", _HASH)
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_WIDTH = 70


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An Ed25519 key: ``raw`` is its 32 bytes."""

    raw: bytes

    @classmethod
    def parse(cls, encoded: str) -> PublicKey:
        """The key in the second word of OpenSSH's line: ``ssh-ed25519 AAAA…``. Raises ValueError."""
        try:
            blob = base64.b64decode(encoded, validate=True)
        except binascii.Error as error:
            raise ValueError("a public key is no base64") from error
        return cls._of(blob)

    @classmethod
    def _of(cls, blob: bytes) -> PublicKey:
        try:
            kind, raw = strings(blob)
        except ValueError:
            kind, raw = b"", b""
        if kind != KIND.encode() or len(raw) != 32:
            raise ValueError("a public key is no Ed25519 one")
        return cls(raw)

    @property
    def blob(self) -> bytes:
        return string(KIND.encode()) + string(self.raw)

    @property
    def line(self) -> str:
        """As OpenSSH writes it: ``ssh-ed25519 AAAA…``."""
        return f"{KIND} {base64.b64encode(self.blob).decode()}"

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` writes it: ``SHA256:…``."""
        return fingerprint(self.blob)


def message(namespace: str, data: bytes, algorithm: bytes = _HASH) -> bytes:
    """What is really signed: the data's hash, and what it is signed for."""
    digest = hashlib.new(algorithm.decode(), data).digest()
    return _MAGIC + string(namespace.encode()) + string(b"") + string(algorithm) + string(digest)


def armored(key: PublicKey, namespace: str, signature: bytes) -> bytes:
    """A signature's file. ``signature``: 64 bytes over `message`."""
    return _File(key.blob, namespace, _HASH, string(KIND.encode()) + string(signature)).text()


@dataclass(frozen=True, slots=True)
class _File:
    """What a signature's file says. ``signature``: its algorithm and the signature itself, as RFC 4253 has them."""

    key: bytes
    namespace: str
    hash: bytes
    signature: bytes

    def text(self) -> bytes:
        words = (self.key, self.namespace.encode(), b"", self.hash, self.signature)
        blob = _MAGIC + struct.pack(">I", _VERSION) + b"".join(map(string, words))
        text = base64.b64encode(blob).decode()
        lines = [text[at : at + _WIDTH] for at in range(0, len(text), _WIDTH)]
        return "\n".join([_BEGIN, *lines, _END, ""]).encode()

    @classmethod
    def read(cls, file: bytes, namespace: str) -> _File:
        """Raises ValueError for what is no file of a signature for ``namespace``."""
        try:
            first, *lines, last, end = file.decode("ascii").split("\n")
            blob = base64.b64decode("".join(lines), validate=True)
            if (first, last, end) != (_BEGIN, _END, "") or blob[:10] != _MAGIC + struct.pack(">I", _VERSION):
                raise ValueError
            key, purpose, reserved, algorithm, signature = strings(blob[10:])
        except ValueError as error:
            raise ValueError("is not an SSH signature") from error
        if purpose != namespace.encode():
            raise ValueError(f"is a signature for {purpose.decode(errors='replace')!a}, not for {namespace}")
        found = cls(key, namespace, algorithm, signature)
        if reserved or algorithm not in _HASHES or found.text() != file:
            raise ValueError("is not in OpenSSH's own form: it was changed")
        return found

    def verify(self, data: bytes) -> PersonKey:
        """The key, whose signature over ``data`` this is. Raises ValueError for any other."""
        key = PersonKey(self.key)
        key.verify(self.signature, message(self.namespace, data, self.hash))
        return key


def verified(file: bytes, namespace: str, data: bytes) -> PublicKey:
    """The Ed25519 key whose signature over ``data`` the file holds. Raises ValueError, saying what is wrong with it.

    Whose key that is, and whether it is to be trusted, is not judged.
    """
    found = _File.read(file, namespace)
    try:
        key = PublicKey._of(found.key)
    except ValueError as error:
        raise ValueError("is not an SSH signature by an Ed25519 key") from error
    if found.hash != _HASH:
        raise ValueError("is not an SSH signature by an Ed25519 key over SHA-512")
    found.verify(data)
    return key


def verified_person(file: bytes, namespace: str, data: bytes) -> PersonKey:
    """As `verified`, by any kind of key that people have."""
    return _File.read(file, namespace).verify(data)
