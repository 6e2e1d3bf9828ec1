"""A store in a folder: standard library only, atomic, durable.

A file appears under its name when it is complete, by ``link`` (which fails if the name is taken) or by ``rename``.
Until then it has no name at all (``O_TMPFILE``, Linux), so that a process killed while writing leaves nothing behind;
where a file system has no such files, it is called ``.lading-tmp-<pid>-<random>`` in the same folder, and `list` leaves
it out.
"""

# Plain strings rather than Path objects, since this is the way of thousands of small objects.
# ruff: noqa: PTH100, PTH106, PTH108, PTH112, PTH120

from __future__ import annotations

import errno
import fcntl
import io
import os
import stat
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field

from lading.errors import StoreDenied
from lading.ports import Download, ObjectInfo
from lading.stores.names import check_name, check_prefix
from lading.stores.unfinished import (
    NO_LINKS,
    NOT_THERE,
    TEMPORARY,
    Unfinished,
    collision,
    explained,
    make_folder,
    name_file,
    supports_unnamed,
    sync_folder,
)


class LocalOptions(BaseModel):
    """A folder on this machine, or on a file system that it mounts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(description="file:///absolute/folder, file://./relative/to/the/project, or a plain path")
    durable: bool = Field(
        True,
        description="Wait for the disk (fsync) before an object counts as written. Only tests want false.",
    )

    def folder(self, base: Path) -> Path:
        """The folder; a relative one lies in ``base``."""
        path = unquote(self.url.removeprefix("file://")) if self.url.startswith("file://") else self.url
        return base / path


class LocalStore:
    """Objects as files under ``root``, which is made at the first write. A Copier, LinkLister, Prober and
    Swapper.

    ``durable``: an object is said to be there only when its bytes and its name are on the disk; a delete is not waited
    for. ``swap`` excludes other swaps of this store, not plain puts.
    """

    def __init__(self, root: str | os.PathLike[str], *, durable: bool = True) -> None:
        self._root = os.path.abspath(root)
        self._durable = durable
        self._unnamed: bool | None = None  # known at the first write
        self.url = f"file://{self._root}"

    def put(self, name: str, data: bytes, *, create: bool = False) -> None:
        path = self._path(name)
        with explained(f"cannot write {self._of(name)}"):
            file = self._begin(path)
            try:
                file.write(data)
                self._publish(file, path, create=create)
            finally:
                file.discard()

    def get(self, name: str) -> bytes:
        path = self._path(name)
        with explained(f"cannot read {self._of(name)}", reading=True):
            return _read_all(path)

    def write(self, name: str) -> LocalUpload:
        path = self._path(name)
        with explained(f"cannot write {self._of(name)}"):
            return LocalUpload(self, path, self._begin(path), f"cannot write {self._of(name)}")

    def read(self, name: str) -> Download:
        path = self._path(name)
        with explained(f"cannot read {self._of(name)}", reading=True):
            return io.BufferedReader(_File(path, f"cannot read {self._of(name)}"), 256 * 1024)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        folder, _, start = check_prefix(prefix).rpartition("/")
        with explained(f"cannot list {self._of(prefix)}"):
            yield from self._walk(f"{folder}/" if folder else "", start)

    def links(self, prefix: str = "") -> Sequence[str]:
        """Symbolic links to anything but a file that is there."""
        folder, _, start = check_prefix(prefix).rpartition("/")
        with explained(f"cannot list {self._of(prefix)}"):
            return [*self._links(f"{folder}/" if folder else "", start)]

    def delete(self, name: str) -> None:
        path = self._path(name)
        with explained(f"cannot delete {self._of(name)}"):
            try:
                os.unlink(path)
            except OSError as error:
                if error.errno in NOT_THERE or os.path.isdir(path):
                    return
                raise
            self._prune(os.path.dirname(path))

    def copy(self, source: str, target: str) -> None:
        """By a hard link where there are such: puts replace names, they never write into a file."""
        origin, path = self._path(source), self._path(target)
        with (
            explained(f"cannot copy {self._of(source)} to {target}", reading=True),
            _File(origin, "") as file,
        ):
            make_folder(os.path.dirname(path), sync=self._durable)
            try:
                name_file(origin, path, create=False, sync=self._durable)
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                self._copy_bytes(file, target)
            if self._durable:
                sync_folder(os.path.dirname(path))

    def probe_write(self, name: str) -> None:
        """By a file without bytes in the folder, or in the nearest one above it: whoever looks meanwhile sees none that
        goes again."""
        path = self._path(name)
        with explained(f"cannot write {self._of(name)}"):
            folder = os.path.dirname(path)
            while not os.path.isdir(folder) and folder != self._root:
                if os.path.lexists(folder):
                    raise collision(folder)
                folder = os.path.dirname(folder)
            self._begin(f"{folder}/probe").discard()

    def swap(self, name: str, expected: bytes | None, data: bytes) -> bool:
        path = self._path(name)
        with explained(f"cannot swap {self._of(name)}"):
            file = self._begin(path)
            try:
                file.write(data)
                file.settle()  # before others have to wait
                if self._swap(file, path, expected):
                    return True
            finally:
                file.discard()
            self._prune(os.path.dirname(path))
            return False

    def _swap(self, file: Unfinished, path: str, expected: bytes | None) -> bool:
        # The root is the one folder that no delete removes, so that everybody locks the same thing.
        lock = os.open(self._root, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                found: bytes | None = _read_all(path)
            except (FileNotFoundError, NotADirectoryError):
                found = None
            if found == expected:
                self._publish(file, path)
            return found == expected
        finally:
            os.close(lock)

    def _of(self, name: str) -> str:
        return f"{name} in {self.url}" if name else self.url

    def _path(self, name: str) -> str:
        if f"/{TEMPORARY}" in f"/{check_name(name)}":
            raise StoreDenied(
                f"{name} is no name of an object: {TEMPORARY}… is for files that are being written"
            )
        return f"{self._root}/{name}"

    def _begin(self, path: str) -> Unfinished:
        if self._unnamed is None:
            make_folder(self._root, sync=self._durable)
            self._unnamed = supports_unnamed(self._root)
        return Unfinished(os.path.dirname(path), unnamed=self._unnamed, sync=self._durable)

    def _publish(self, file: Unfinished, path: str, *, create: bool = False) -> None:
        try:
            file.publish(path, create=create)
        except OSError as error:
            if create and error.errno in NO_LINKS:
                raise StoreDenied(
                    f"{self.url} is on a file system without hard links, where nothing can be created exclusively",
                    hint="Put the journal on a local file system or into an object store.",
                ) from error
            raise

    def _copy_bytes(self, file: io.RawIOBase, target: str) -> None:
        upload = self.write(target)
        try:
            while chunk := file.read(1024 * 1024):
                upload.write(chunk)
            upload.finish()
        finally:
            upload.abort()

    def _prune(self, folder: str) -> None:
        while folder != self._root:
            try:
                os.rmdir(folder)
            except OSError:
                return  # not empty, gone already, or not ours to remove: a folder is no object
            folder = os.path.dirname(folder)

    def _walk(self, folder: str, start: str) -> Iterator[ObjectInfo]:
        for name, entry in self._entries(folder, start):
            if name.endswith("/"):
                yield from self._walk(name, "")
            elif (info := _info(name, entry)) is not None:
                yield info

    def _links(self, folder: str, start: str) -> Iterator[str]:
        for name, entry in self._entries(folder, start):
            if name.endswith("/"):
                yield from self._links(name, "")
            elif entry.is_symlink() and not entry.is_file():
                yield name

    def _entries(self, folder: str, start: str) -> Sequence[tuple[str, os.DirEntry[str]]]:
        """What lies in a folder, by full name; folders, no links to such, have a trailing slash."""
        try:
            with os.scandir(f"{self._root}/{folder}") as entries:
                found = [
                    (entry.name + "/" * entry.is_dir(follow_symlinks=False), entry)
                    for entry in entries
                    if entry.name.startswith(start) and not entry.name.startswith(TEMPORARY)
                ]
        except (FileNotFoundError, NotADirectoryError):
            return []
        # A folder sorts by its name with the slash, so that full names come in the order of their bytes.
        found.sort(key=lambda pair: os.fsencode(pair[0]))
        return [(folder + name, entry) for name, entry in found]


class LocalUpload:
    """A file being written; see `lading.ports.Upload`."""

    def __init__(self, store: LocalStore, path: str, file: Unfinished, doing: str) -> None:
        self._store, self._path, self._doing = store, path, doing
        self._file: Unfinished | None = file

    def write(self, data: bytes | memoryview) -> None:
        with explained(self._doing):
            self._open().write(data)

    def finish(self) -> None:
        file = self._open()
        try:
            with explained(self._doing):
                self._store._publish(file, self._path)
        finally:
            self.abort()

    def abort(self) -> None:
        if self._file is not None:
            self._file.discard()
            self._file = None

    def _open(self) -> Unfinished:
        if self._file is None:
            raise StoreDenied(f"{self._doing}: the upload has ended already")
        return self._file


class _File(io.FileIO):
    """A file whose read errors are a store's."""

    def __init__(self, path: str, doing: str) -> None:
        super().__init__(path, "rb", opener=_opened)
        self._doing = doing

    def readinto(self, buffer: Any, /) -> int | None:
        with explained(self._doing, reading=True):
            return super().readinto(buffer)

    def readall(self) -> bytes:
        with explained(self._doing, reading=True):
            return super().readall()


def _opened(path: str, flags: int) -> int:
    """Only files are objects, as in a listing. Who opens a pipe would wait for whoever writes into it."""
    number = os.open(path, flags | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(number).st_mode):
        return number
    os.close(number)
    raise FileNotFoundError(errno.ENOENT, "is no file", path)


def _read_all(path: str) -> bytes:
    with open(path, "rb", buffering=0, opener=_opened) as file:
        return file.readall()


def _info(name: str, entry: os.DirEntry[str]) -> ObjectInfo | None:
    try:
        found = entry.stat()
    except FileNotFoundError:
        return None  # deleted since the folder was read
    if not stat.S_ISREG(found.st_mode):
        return None
    version = f"{found.st_mtime_ns:x}-{found.st_ino:x}-{found.st_size:x}"
    return ObjectInfo(name, found.st_size, version, datetime.fromtimestamp(found.st_mtime, UTC))
