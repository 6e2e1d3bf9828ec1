"""A keyring that holds nothing: each key is computed from a seed. For tests and previews of made-up data."""

from __future__ import annotations

import hashlib
import hmac

from lading.keys.identity import key_id


class MemoryKeyring:
    """Equal seeds give equal keys: HMAC-SHA-256 of the tenant's name under the seed."""

    def __init__(self, seed: bytes = b"lading") -> None:
        self._seed = seed

    def __repr__(self) -> str:
        return "MemoryKeyring()"

    def tenant_key(self, tenant: str) -> bytes:
        return hmac.new(self._seed, tenant.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()

    def key_id(self, tenant: str) -> str:
        return key_id(self.tenant_key(tenant))
