"""Detached signatures in OpenSSH's form (SSHSIG), by Ed25519 keys over SHA-512.

Source: PROTOCOL.sshsig of OpenSSH; keys as RFC 8709 has them, signatures as RFC 8032. `ssh-keygen -Y verify` checks
what is made here, and what `ssh-keygen -Y sign` makes is checked here. Equal keys and bytes give equal signatures.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass

KIND = "ssh-ed25519"
MANIFESTS = "lading-manifest"
"""The namespace of signatures over manifests: none of them is good for anything else."""

_MAGIC, _VERSION, _HASH = b"SSHSIG", 1, b"sha512"
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
            kind, raw = _strings(blob)
        except ValueError:
            kind, raw = b"", b""
        if kind != KIND.encode() or len(raw) != 32:
            raise ValueError("a public key is no Ed25519 one")
        return cls(raw)

    @property
    def blob(self) -> bytes:
        return _string(KIND.encode()) + _string(self.raw)

    @property
    def line(self) -> str:
        """As OpenSSH writes it: ``ssh-ed25519 AAAA…``."""
        return f"{KIND} {base64.b64encode(self.blob).decode()}"

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` writes it: ``SHA256:…``."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")


def message(namespace: str, data: bytes) -> bytes:
    """What is really signed: SHA-512 of the data, and what it is signed for."""
    digest = hashlib.sha512(data).digest()
    return _MAGIC + _string(namespace.encode()) + _string(b"") + _string(_HASH) + _string(digest)


def armored(key: PublicKey, namespace: str, signature: bytes) -> bytes:
    """A signature's file. ``signature``: 64 bytes over `message`."""
    blob = b"".join(
        (
            _MAGIC + struct.pack(">I", _VERSION),
            *map(_string, (key.blob, namespace.encode(), b"", _HASH)),
            _string(_string(KIND.encode()) + _string(signature)),
        )
    )
    text = base64.b64encode(blob).decode()
    lines = [text[at : at + _WIDTH] for at in range(0, len(text), _WIDTH)]
    return "\n".join([_BEGIN, *lines, _END, ""]).encode()


def verified(file: bytes, namespace: str, data: bytes) -> PublicKey:
    """The key whose signature over ``data`` the file holds. Raises ValueError, saying what is wrong with it.

    Whose key that is, and whether it is to be trusted, is not judged.
    """
    key, signature = _parsed(file, namespace)
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(signature, message(namespace, data))
    except InvalidSignature as error:
        raise ValueError(f"is no signature by {key.fingerprint} over these bytes") from error
    return key


def _parsed(file: bytes, namespace: str) -> tuple[PublicKey, bytes]:
    try:
        first, *lines, last, end = file.decode("ascii").split("\n")
        blob = base64.b64decode("".join(lines), validate=True)
        if (first, last, end) != (_BEGIN, _END, "") or blob[:10] != _MAGIC + struct.pack(">I", _VERSION):
            raise ValueError
        encoded, purpose, reserved, algorithm, inner = _strings(blob[10:])
        kind, signature = _strings(inner)
        key = PublicKey._of(encoded)
    except ValueError as error:
        raise ValueError("is not an SSH signature by an Ed25519 key") from error
    if purpose != namespace.encode():
        raise ValueError(f"is a signature for {purpose.decode(errors='replace')!a}, not for {namespace}")
    if (reserved, algorithm, kind, len(signature)) != (b"", _HASH, KIND.encode(), 64):
        raise ValueError("is not an SSH signature by an Ed25519 key over SHA-512")
    if armored(key, namespace, signature) != file:
        raise ValueError("is not in OpenSSH's own form: it was changed")
    return key, signature


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _strings(blob: bytes) -> list[bytes]:
    """The strings that a blob is made of (RFC 4251 section 5). Raises ValueError."""
    found = []
    while blob:
        length = int.from_bytes(blob[:4], "big")
        if len(blob) < 4 + length or len(blob) < 4:
            raise ValueError("a string is cut off")
        found.append(blob[4 : 4 + length])
        blob = blob[4 + length :]
    return found
