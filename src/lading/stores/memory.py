"""A store in memory: for tests and previews. It does all that a store can do, and forgets it with the process."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

from lading.errors import ObjectExists, ObjectNotFound, StoreDenied
from lading.ports import Download, ObjectInfo
from lading.stores.names import check_name, check_prefix


class MemoryStore:
    """Objects in a dictionary. A Copier and a Swapper."""

    def __init__(self, url: str = "memory://") -> None:
        self.url = url
        self._lock = threading.Lock()
        self._objects: dict[str, tuple[bytes, datetime]] = {}

    def put(self, name: str, data: bytes, *, create: bool = False) -> None:
        check_name(name)
        with self._lock:
            if create and name in self._objects:
                raise ObjectExists(f"{name} is in {self.url} already")
            self._objects[name] = bytes(data), datetime.now(UTC)

    def get(self, name: str) -> bytes:
        check_name(name)
        with self._lock:
            return self._get(name)

    def write(self, name: str) -> MemoryUpload:
        return MemoryUpload(self, check_name(name))

    def read(self, name: str) -> Download:
        return io.BytesIO(self.get(name))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        check_prefix(prefix)
        with self._lock:
            found = [(name, *entry) for name, entry in self._objects.items() if name.startswith(prefix)]
        for name, data, modified in sorted(found, key=lambda entry: entry[0].encode()):
            yield ObjectInfo(name, len(data), hashlib.sha256(data).hexdigest(), modified)

    def delete(self, name: str) -> None:
        check_name(name)
        with self._lock:
            self._objects.pop(name, None)

    def copy(self, source: str, target: str) -> None:
        check_name(source), check_name(target)
        with self._lock:
            self._objects[target] = self._get(source), datetime.now(UTC)

    def swap(self, name: str, expected: bytes | None, data: bytes) -> bool:
        check_name(name)
        with self._lock:
            found = self._objects.get(name)
            if (None if found is None else found[0]) != expected:
                return False
            self._objects[name] = bytes(data), datetime.now(UTC)
            return True

    def _get(self, name: str) -> bytes:
        try:
            return self._objects[name][0]
        except KeyError:
            raise ObjectNotFound(f"there is no {name} in {self.url}") from None


class MemoryUpload:
    """An object being written; see `lading.ports.Upload`."""

    def __init__(self, store: MemoryStore, name: str) -> None:
        self._store, self._name = store, name
        self._buffer: bytearray | None = bytearray()

    def write(self, data: bytes | memoryview) -> None:
        self._open().extend(data)

    def finish(self) -> None:
        self._store.put(self._name, bytes(self._open()))
        self._buffer = None

    def abort(self) -> None:
        self._buffer = None

    def _open(self) -> bytearray:
        if self._buffer is None:
            raise StoreDenied(f"the upload of {self._name} has ended already")
        return self._buffer
