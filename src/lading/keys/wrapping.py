"""Keys that wrap data keys, in a folder: 32 bytes for each tenant and version, readable by their owner only.

A data key is wrapped by AES key wrap (RFC 3394) under the newest of its tenant's keys. Older ones stay, so that what
they wrapped can be opened: a rotation rewrites nothing. Once a tenant's keys are destroyed nobody opens what they
wrapped, and no key is made for that tenant again.

Each key is a file ``tenant-<name>.json`` as in `lading.keys.file`, with ``.<number>`` before its suffix; a tenant whose
keys were destroyed has an empty one with ``.destroyed`` there.
"""

from __future__ import annotations

import base64
import glob
import json
import re
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from lading.errors import InvalidProject, Refused
from lading.keys.file import file_name, key_in, new_key
from lading.keys.identity import KEY_BYTES, key_id
from lading.keys.private import check_folder, create_private, read_private, told
from lading.ports import WrappedKey

_DESTROYED = "destroyed"
VERSION = 1


def unwrapped(wrapped: WrappedKey, keys: Iterable[bytes]) -> bytes:
    """The data key, opened by the one of ``keys`` that wrapped it. Raises Refused."""
    from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

    held = list(keys)
    for key in held:
        if key_id(key) == wrapped.key_id:
            try:
                return aes_key_unwrap(key, wrapped.data)
            except InvalidUnwrap as error:
                raise Refused(
                    f"What the key {wrapped.key_id} is said to have wrapped is no key: it was changed."
                ) from error
    raise Refused(
        f"The key {wrapped.key_id} is not here: what it wrapped cannot be opened.",
        hint="--tenant-key gives another one: give this tenant's too, or ask the sender for a new copy of it."
        if held
        else "Give a copy of the tenant's keys by --tenant-key.",
    )


def read_keys(text: str, file: str) -> list[bytes]:
    """The keys in a file that `FileWrapper.copy` wrote. Raises Refused for any other."""
    with suppress(ValueError, TypeError, KeyError):
        document = json.loads(text)
        keys = [base64.b64decode(each["key"], validate=True) for each in document["keys"]]
        if document["version"] == VERSION and all(len(key) == KEY_BYTES for key in keys):
            return keys
    raise Refused(
        f"{file} holds no keys of a tenant.",
        hint="`lading keys copy` writes such files, and age-keygen those of age.",
    )


class FileWrapper:
    """Wraps data keys under keys in ``folder``, which is made (0700) with the first of them. Thread-safe, and safe
    among processes.

    Raises Refused for a damaged file, for keys that are not there, and for tenants whose keys were destroyed;
    StoreDenied, StoreFull and StoreUnavailable as `lading.keys.file` does.
    """

    wrapping = "aes-kw"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._newest: dict[str, tuple[int, bytes]] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"FileWrapper({str(self._folder)!r})"

    def key_id(self, tenant: str) -> str:
        with self._lock:
            return key_id(self._current(tenant))

    def wrap(self, tenant: str, key: bytes) -> WrappedKey:
        from cryptography.hazmat.primitives.keywrap import aes_key_wrap

        with self._lock:
            ours = self._current(tenant)
        return WrappedKey(key_id(ours), aes_key_wrap(ours, key))

    def rotate(self, tenant: str) -> str:
        """Makes the tenant's next key, which wraps from now on, and returns its id."""
        with self._lock:
            return key_id(self._made(tenant, max(self._known(tenant)) + 1))

    def destroy(self, tenant: str) -> int:
        """Removes all of the tenant's keys from the disk, for good, and returns how many there were."""
        marker = self._path(tenant, _DESTROYED)
        if not marker.exists():
            self._known(tenant)
        with self._lock, told(marker):
            check_folder(self._folder)
            # First, so that no process makes a key while the others go.
            with suppress(FileExistsError):
                create_private(marker, b"")
            numbers = self._numbers(tenant)
            # Also what a process left that was killed while it made one.
            drafts = self._folder.glob(f".new-*-{glob.escape(file_name(tenant).removesuffix('json'))}*")
            for path in (*(self._path(tenant, number) for number in numbers), *drafts):
                path.unlink(missing_ok=True)
        return len(numbers)

    def tenant_keys(self, tenant: str) -> list[bytes]:
        """The tenant's keys, oldest first: for whoever is to open its deliveries."""
        if self._path(tenant, _DESTROYED).exists():
            return []
        return [self._read(tenant, number) for number in self._numbers(tenant)]

    def copy(self, tenant: str, target: Path) -> int:
        """Writes the tenant's keys to a new file, for whoever is to open its deliveries. Returns how many there are."""
        self._known(tenant)
        keys = self.tenant_keys(tenant)
        told_of = [{"key_id": key_id(key), "key": base64.b64encode(key).decode("ascii")} for key in keys]
        document = {"version": VERSION, "tenant": tenant, "keys": told_of}
        with told(target):
            try:
                create_private(target, json.dumps(document, indent=2).encode("ascii") + b"\n")
            except FileExistsError:
                raise Refused(f"{target} is there already.", hint="Name another file.") from None
            except FileNotFoundError:
                raise InvalidProject(f"There is no folder {target.parent}.") from None
        return len(keys)

    def _current(self, tenant: str) -> bytes:
        """The newest key. Other processes may have rotated or destroyed it meanwhile, which their files tell."""
        number, key = self._newest.get(tenant) or (max(self._numbers(tenant), default=0), b"")
        while self._path(tenant, number + 1).exists():
            number, key = number + 1, b""
        if not key:
            key = self._read(tenant, number) if number else self._made(tenant, 1)
        if self._path(tenant, _DESTROYED).exists():
            raise _destroyed(tenant)
        self._newest[tenant] = max(number, 1), key
        return key

    def _made(self, tenant: str, number: int) -> bytes:
        path, destroyed = self._path(tenant, number), self._path(tenant, _DESTROYED)
        with told(path):
            check_folder(self._folder)
            if not destroyed.exists():
                with suppress(FileExistsError):  # another process was faster: its key serves as well
                    create_private(path, new_key(tenant))
            if destroyed.exists():
                path.unlink(missing_ok=True)
                raise _destroyed(tenant)
        return self._read(tenant, number)

    def _read(self, tenant: str, number: int) -> bytes:
        path = self._path(tenant, number)
        with told(path):
            check_folder(self._folder)
            try:
                text = read_private(path)
            except FileNotFoundError:
                raise _destroyed(tenant) from None
        return key_in(text, tenant, path)

    def _known(self, tenant: str) -> list[int]:
        """The numbers of the tenant's keys. Raises Refused where there are none: a name may be misspelt."""
        if self._path(tenant, _DESTROYED).exists():
            raise _destroyed(tenant)
        if not (numbers := self._numbers(tenant)):
            raise Refused(
                f"Tenant {tenant!r} has no key in {self._folder}.",
                hint="Its first is made when something is encrypted for it.",
            )
        return numbers

    def _numbers(self, tenant: str) -> list[int]:
        stem = re.escape(file_name(tenant).removesuffix("json"))
        names = [path.name for path in self._folder.iterdir()] if self._folder.is_dir() else []
        return sorted(
            int(found[1]) for name in names if (found := re.fullmatch(f"{stem}([0-9]+)\\.json", name))
        )

    def _path(self, tenant: str, which: int | str) -> Path:
        return self._folder / f"{file_name(tenant).removesuffix('json')}{which}.json"


def _destroyed(tenant: str) -> Refused:
    return Refused(
        f"The keys of tenant {tenant!r} were destroyed: nothing is encrypted for it any more.",
        hint="Make the tenant inactive, or give it another name.",
    )
