"""Public keys of people, as OpenSSH has them, and signatures by them.

Sources: RFC 4253 section 6.6 and RFC 8332 (RSA), RFC 5656 (ECDSA), RFC 8709 (Ed25519), PROTOCOL.u2f of OpenSSH (keys
that live in a security token, whose names begin with ``sk-``). SHA-1 and DSA are not accepted.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass
from typing import Any

_CURVES = {
    "nistp256": ("SECP256R1", "SHA256"),
    "nistp384": ("SECP384R1", "SHA384"),
    "nistp521": ("SECP521R1", "SHA512"),
}
_RSA = {"rsa-sha2-256": "SHA256", "rsa-sha2-512": "SHA512"}
_LEAST_RSA = 2048  # bits
_TOKEN = "sk-"
_PRESENT = 1  # the flag of a token that somebody touched
KINDS = (
    "ssh-ed25519",
    "ssh-rsa",
    *(f"ecdsa-sha2-{curve}" for curve in _CURVES),
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)


def string(data: bytes) -> bytes:
    """A string of RFC 4251 section 5: its length, then its bytes."""
    return struct.pack(">I", len(data)) + data


def strings(blob: bytes) -> list[bytes]:
    """The strings that a blob is made of. Raises ValueError."""
    found = []
    while blob:
        length = int.from_bytes(blob[:4], "big")
        if len(blob) < 4 + length or len(blob) < 4:
            raise ValueError("a string is cut off")
        found.append(blob[4 : 4 + length])
        blob = blob[4 + length :]
    return found


def fingerprint(blob: bytes) -> str:
    """As `ssh-keygen -l` writes it: ``SHA256:…``."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class PersonKey:
    """``blob``: the key as it is encoded in OpenSSH's line."""

    blob: bytes

    @classmethod
    def parse(cls, line: str) -> PersonKey:
        """The key of a line ``ssh-ed25519 AAAA… comment``. Raises ValueError for any that cannot be checked here."""
        words = line.split()
        if len(words) < 2 or words[0] not in KINDS:
            raise ValueError(f"is no public key: {KINDS[0]} AAAA…, as a file .pub has it")
        try:
            key = cls(base64.b64decode(words[1], validate=True))
        except binascii.Error as error:
            raise ValueError("is no public key: its second word is no base64") from error
        if key.kind != words[0]:
            raise ValueError(f"says {words[0]} and is another kind of key")
        key._public()
        return key

    @property
    def kind(self) -> str:
        try:
            return strings(self.blob)[0].decode("ascii")
        except (ValueError, IndexError):
            return ""

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.blob)

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal for keys that one private key serves, however they are written. Raises ValueError as `parse` does."""
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519

        public = self._public()
        if isinstance(public, ed25519.Ed25519PublicKey):
            return ("ed25519", public.public_bytes_raw())
        numbers = public.public_numbers()
        if isinstance(public, ec.EllipticCurvePublicKey):
            return (public.curve.name, numbers.x, numbers.y)
        return ("rsa", numbers.n)  # whatever the exponent: the factors are the secret

    def _public(self) -> Any:
        """The key itself. Raises ValueError for a damaged or a weak one."""
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

        token = self.kind.startswith(_TOKEN)
        try:
            _, *parts = strings(self.blob)
            if token:
                *parts, _ = parts
            if "ed25519" in self.kind:
                (raw,) = parts
                return ed25519.Ed25519PublicKey.from_public_bytes(raw)
            if self.kind == "ssh-rsa":
                exponent, modulus = (int.from_bytes(part, "big") for part in parts)
                if modulus.bit_length() < _LEAST_RSA:
                    raise ValueError(f"is an RSA key of fewer than {_LEAST_RSA} bits")
                return rsa.RSAPublicNumbers(exponent, modulus).public_key()
            curve, point = parts
            name, _ = _CURVES[curve.decode("ascii")]
            if curve.decode("ascii") not in self.kind:
                raise ValueError("names two curves")
            return ec.EllipticCurvePublicKey.from_encoded_point(getattr(ec, name)(), point)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"is a damaged or weak {self.kind or 'public'} key ({error})") from error

    def verify(self, signature: bytes, message: bytes) -> None:
        """``signature``: the blob of RFC 4253, its algorithm first. Raises ValueError."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._verify(signature, message)
        except (InvalidSignature, ValueError, struct.error) as error:
            raise ValueError(f"is no signature by {self.fingerprint} over these bytes") from error

    def _verify(self, signature: bytes, message: bytes) -> None:
        if self.kind.startswith(_TOKEN):
            # flags and counter stand behind the two strings, outside of any string.
            signature, flags = signature[:-5], signature[-5:]
            application = strings(self.blob)[-1]
            if len(flags) != 5 or not flags[0] & _PRESENT:
                raise ValueError("nobody touched the token")
            message = hashlib.sha256(application).digest() + flags + hashlib.sha256(message).digest()
        algorithm, raw = strings(signature)
        name, public = algorithm.decode("ascii"), self._public()
        if self.kind == "ssh-rsa":
            self._verify_rsa(public, name, raw, message)
        elif name != self.kind:
            raise ValueError(f"is made by {name}")
        elif "ed25519" in self.kind:
            public.verify(raw, message)
        else:
            self._verify_ecdsa(public, raw, message)

    def _verify_rsa(self, public: Any, algorithm: str, raw: bytes, message: bytes) -> None:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

        if algorithm not in _RSA:
            raise ValueError(f"is made by {algorithm}")
        public.verify(raw, message, PKCS1v15(), getattr(hashes, _RSA[algorithm])())

    def _verify_ecdsa(self, public: Any, raw: bytes, message: bytes) -> None:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, utils

        r, s = (int.from_bytes(part, "big") for part in strings(raw))
        _, digest = _CURVES[strings(self.blob)[1].decode("ascii")]
        algorithm = ec.ECDSA(getattr(hashes, digest)())
        public.verify(utils.encode_dss_signature(r, s), message, algorithm)
