"""A bundle as a store that is only read: its members are objects below its own name."""

from __future__ import annotations

import io
import threading
import zlib
from collections.abc import Iterator
from typing import Any

from lading.archive import Placed, parse
from lading.errors import IntegrityError, ObjectNotFound, StoreDenied
from lading.ports import Download, ObjectInfo, Upload

_BUFFER = 1 << 20


class Archive:
    """The members of the ZIP archive in ``file``, called ``<name>/<member>``. Raises IntegrityError for an archive
    that Lading did not make, or that was changed outside of its members; what was changed inside of one shows by its
    CRC-32 when it is read to its end. It reads by one handle, which its caller closes."""

    def __init__(self, file: Download, name: str) -> None:
        self.url = self._name = name
        self._file, self._lock = file, threading.Lock()
        try:
            found = parse(self._at, file.seek(0, io.SEEK_END))
        except ValueError as error:
            raise IntegrityError(str(error)) from error
        self._members = {f"{name}/{each.member.name}": each for each in found}

    def _at(self, offset: int, size: int) -> bytes:
        pieces = []
        with self._lock:
            self._file.seek(offset)
            while size and (piece := self._file.read(size)):
                pieces.append(piece)
                size -= len(piece)
        return b"".join(pieces)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        for name in sorted(self._members, key=str.encode):
            if name.startswith(prefix):
                yield ObjectInfo(name, self._members[name].member.size)

    def get(self, name: str) -> bytes:
        return self.read(name).read()

    def read(self, name: str) -> Download:
        if name not in self._members:
            raise ObjectNotFound(f"there is no {name}")
        return io.BufferedReader(_Window(self, self._members[name]), _BUFFER)

    def put(self, name: str, data: bytes, *, create: bool = False) -> None:
        raise self._denied(name)

    def write(self, name: str) -> Upload:
        raise self._denied(name)

    def delete(self, name: str) -> None:
        raise self._denied(name)

    def _denied(self, name: str) -> StoreDenied:
        return StoreDenied(f"{name} is in an archive, which is only read")


class _Window(io.RawIOBase):
    """A member being read. Its CRC-32 is compared where it is read from its beginning to its end."""

    def __init__(self, archive: Archive, placed: Placed) -> None:
        super().__init__()
        self._archive, self._placed = archive, placed
        self._position = self._summed = self._crc = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._placed.member.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        member = self._placed.member
        size = max(0, min(len(buffer), member.size - self._position))
        data = self._archive._at(self._placed.offset + self._position, size)
        buffer[: len(data)] = data
        if self._position == self._summed:
            self._crc = zlib.crc32(data, self._crc)
            self._summed += len(data)
            if self._summed == member.size and self._crc != member.crc:
                raise IntegrityError("is not what the archive says of it: its CRC-32 differs")
        self._position += len(data)
        return len(data)
