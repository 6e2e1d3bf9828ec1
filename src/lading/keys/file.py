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
import errno
import hashlib
import json
import os
import secrets
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from lading.errors import Refused, StoreDenied, StoreFull, StoreUnavailable
from lading.keys.identity import KEY_BYTES, key_id

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
        with _told(path):
            self._check_folder()
            try:
                text = _read_private(path)
            except FileNotFoundError:
                _create(path, tenant)
                text = _read_private(path)  # ours, or that of a process that was faster
        return _key_in(text, tenant, path)

    def _check_folder(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # whoever may write here could put a key of his own in place of ours
        if os.name == "posix" and stat.S_IMODE(self._folder.stat().st_mode) & 0o022:
            raise StoreDenied(
                f"the key folder {self._folder} can be written by others", hint=f"chmod 700 {self._folder}"
            )


def _read_private(path: Path) -> bytes:
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if os.name == "posix" and mode & 0o177:
            raise StoreDenied(
                f"the key file {path} has mode {mode:04o}: others than its owner may use it",
                hint=f"chmod 600 {path}, and consider who may have read it.",
            )
        return file.read()


def _create(path: Path, tenant: str) -> None:
    """Puts a new key in place, whole and durable, unless another process was faster."""
    key = secrets.token_bytes(KEY_BYTES)
    record = {
        "version": VERSION,
        "tenant": tenant,
        "key_id": key_id(key),
        "created_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "key": base64.b64encode(key).decode("ascii"),
    }
    draft = path.with_name(f".new-{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(record, indent=2).encode("ascii") + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)  # fails if the name is taken, unlike a rename
    finally:
        draft.unlink(missing_ok=True)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _key_in(text: bytes, tenant: str, path: Path) -> bytes:
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


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Errors of the disk, told as stores tell them."""
    try:
        yield
    except PermissionError as error:
        raise StoreDenied(
            f"the key file {path} may not be read or made", hint="Check who owns its folder."
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull(f"no room for the key file {path}") from error
        if error.errno in (errno.ENOTSUP, errno.ENOSYS):
            raise StoreDenied(
                f"the disk of {path} has no hard links, which keys are made with",
                hint="Keep keys on another disk.",
            ) from error
        raise StoreUnavailable(f"the key file {path} cannot be reached: {error.strerror}") from error
