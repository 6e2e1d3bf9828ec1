"""Names for keys that reveal nothing of them."""

from __future__ import annotations

import hashlib

KEY_BYTES = 32


def key_id(key: bytes) -> str:
    """The first 16 hex digits of SHA-256 over ``lading key id`` and the key: 64 bits say nothing of 256 random ones."""
    return hashlib.sha256(b"lading key id" + key).hexdigest()[:16]
