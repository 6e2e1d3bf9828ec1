"""Keys in a folder: one JSON file per tenant, readable by its owner only, made when the tenant is first met.

The file ``tenant-<name>.json`` holds::

    {"version": 1, "tenant": "UA", "key_id": "5f3a…", "created_at": "2024-03-17T13:05:09Z", "key": "<base64>"}

``<name>`` is the tenant's name with every byte but a-z, 0-9, ``-`` and ``_`` percent-encoded (RFC 3986 section 2.1), so
that it is no path, no reserved name, and differs from every other on disks that fold case. Names that would be too long
for a disk are ``hashed-<SHA-256 of the tenant's name in hex>.json`` instead.

Whoever loses a key file can never again make the same masked values. Back the folder up, apart from the deliveries.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import secrets
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from lading.errors import Refused
from lading.keys.identity import KEY_BYTES, key_id
from lading.keys.private import check_folder, create_private, read_private, told

VERSION = 1
LONGEST_NAME = 180
PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_")


def file_name(tenant: str) -> str:
    """The name of a tenant's file: at most 200 ASCII characters, another one for every tenant."""
    raw = tenant.encode("utf-8", "surrogatepass")
    encoded = "".join(chr(byte) if byte in PLAIN else f"%{byte:02x}" for byte in raw)
    if len(encoded) > LONGEST_NAME:
        return f"hashed-{hashlib.sha256(raw).hexdigest()}.json"
    return f"tenant-{encoded}.json"


class FileKeyring:
    """Keys in ``folder``, which is made (0700) with the first of them. Thread-safe, and safe among processes.

    Raises StoreDenied where folder or file let others in, Refused where a file is damaged (a new key in its place would
    change every masked value), StoreFull and StoreUnavailable as stores do.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keys: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"FileKeyring({str(self._folder)!r})"

    def tenant_key(self, tenant: str) -> bytes:
        with self._lock:
            if tenant not in self._keys:
                self._keys[tenant] = self._load(tenant)
            return self._keys[tenant]

    def key_id(self, tenant: str) -> str:
        return key_id(self.tenant_key(tenant))

    def _load(self, tenant: str) -> bytes:
        path = self._folder / file_name(tenant)
        with told(path):
            check_folder(self._folder)
            try:
                text = read_private(path)
            except FileNotFoundError:
                with suppress(FileExistsError):
                    create_private(path, new_key(tenant))
                text = read_private(path)  # ours, or that of a process that was faster
        return key_in(text, tenant, path)


def new_key(tenant: str) -> bytes:
    """What the file of a new key holds."""
    key = secrets.token_bytes(KEY_BYTES)
    record = {
        "version": VERSION,
        "tenant": tenant,
        "key_id": key_id(key),
        "created_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "key": base64.b64encode(key).decode("ascii"),
    }
    return json.dumps(record, indent=2).encode("ascii") + b"\n"


def key_in(text: bytes, tenant: str, path: Path) -> bytes:
    """The key that a file holds. Raises Refused, which never shows the file's text."""
    try:
        record = json.loads(text)
        version, owner, name = record["version"], record["tenant"], record["key_id"]
        key = base64.b64decode(record["key"], validate=True)
    except (ValueError, TypeError, KeyError, binascii.Error):
        raise _damaged(path, "it is not the JSON that it was written as") from None
    if version != VERSION:
        raise Refused(
            f"the key file {path} has a version that this Lading does not know", hint="Use a newer Lading."
        )
    if owner != tenant:
        raise _damaged(path, "it belongs to another tenant")
    if len(key) != KEY_BYTES or key_id(key) != name:
        raise _damaged(path, "its key is not the one that it was written with")
    return key


def _damaged(path: Path, why: str) -> Refused:
    return Refused(
        f"the key file {path} is damaged: {why}",
        hint="Restore it from a backup. Without it, values masked from now on differ from those delivered before; "
        "only if that is meant, move the file away.",
    )
