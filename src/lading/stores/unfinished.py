"""Files that are being written, how they get their names, and what the operating system's errors mean to a store."""

# Plain strings rather than Path objects, since this is the way of thousands of small objects.
# ruff: noqa: PTH102, PTH105, PTH108, PTH110, PTH112, PTH116, PTH120

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import stat
import time
from collections.abc import Iterator

from lading.errors import LadingError, ObjectExists, ObjectNotFound, StoreDenied, StoreFull, StoreUnavailable

TEMPORARY = ".lading-tmp-"
_HELD = 256 * 1024  # bytes of small pieces that are written together
_AHEAD = 16 << 20  # bytes that go to the disk while more are written
_PAGE = 1 << 16  # a multiple of every system's page, since one that is on its way cannot be written to
ATTEMPTS = 100  # a folder is made again when a delete has just removed it: never so often in a row
NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV, errno.ENOSYS})
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
DENIED = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG, errno.EINVAL, errno.EILSEQ, errno.ELOOP}
)
NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR})


class Unfinished:
    """A file that is no object yet: without a name if ``unnamed``, else with a temporary one in the same folder."""

    def __init__(self, folder: str, *, unnamed: bool, sync: bool) -> None:
        self._sync = sync
        self._settled = False
        self._temporary: str | None = None
        descriptor, self._temporary = _open(folder, unnamed=unnamed, sync=sync)
        # Unbuffered: a buffered file asks the system for its position, type and block size first.
        self._file = io.FileIO(descriptor, "wb")
        self._held = bytearray()
        self._size = self._begun = 0  # bytes written, and those of them that are on their way to the disk
        self._source = self._temporary or f"/proc/self/fd/{descriptor}"

    def write(self, data: bytes | memoryview) -> None:
        self._settled = False
        if len(self._held) + len(data) < _HELD:
            self._held += data
            return
        self._flush()
        self._write(data)

    def _flush(self) -> None:
        self._write(self._held)
        self._held = bytearray()

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        rest = memoryview(data)
        try:
            while rest:
                count = self._file.write(rest)
                self._size += count
                rest = rest[count:]
        except OSError:
            self._file.close()  # some of it may be written: what comes now would follow a hole
            raise
        if self._sync and self._size - self._begun >= _AHEAD:
            self._begin_writing()

    def _begin_writing(self) -> None:
        """Has the system bring what is written so far to the disk while more comes, so that the end waits for little.

        By itself it would wait for seconds, or for gigabytes. Of what it is told here, it drops only what is on the
        disk already (posix_fadvise(2)), and nothing is that was just written.
        """
        end = self._size - self._size % _PAGE
        if hasattr(os, "posix_fadvise"):
            with contextlib.suppress(OSError):  # advice that cannot be taken
                os.posix_fadvise(self._file.fileno(), self._begun, end - self._begun, os.POSIX_FADV_DONTNEED)
        self._begun = end

    def settle(self) -> None:
        """Brings all bytes to the disk."""
        self._flush()
        if self._sync and not self._settled:
            os.fsync(self._file.fileno())
        self._settled = True

    def publish(self, path: str, *, create: bool) -> None:
        """Gives the file its name, with all its bytes; raises FileExistsError if ``create`` and the name is taken."""
        self.settle()
        if self._temporary is not None and not create:
            with collisions(path):
                os.replace(self._temporary, path)
        else:
            name_file(self._source, path, create=create, sync=self._sync)
        if self._sync:
            sync_folder(os.path.dirname(path))

    def discard(self) -> None:
        """Lets go of the file, and of its temporary name if that still stands. Never raises."""
        with contextlib.suppress(OSError):
            self._file.close()
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)


def supports_unnamed(folder: str) -> bool:
    """Whether a file without a name can be made in ``folder`` and named later (open(2), O_TMPFILE)."""
    if not hasattr(os, "O_TMPFILE"):
        return False
    beside = temporary_name(folder)
    try:
        descriptor = os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    except OSError:
        return False
    try:
        link(f"/proc/self/fd/{descriptor}", beside)
        os.unlink(beside)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def temporary_name(folder: str) -> str:
    return f"{folder}/{TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}"


def make_folder(folder: str, *, sync: bool) -> None:
    """Makes a folder and its parents; when it returns, their entries are on the disk if ``sync``."""
    missing: list[str] = [folder]
    parents: list[str] = []
    for attempt in range(ATTEMPTS + 2 * folder.count("/")):
        try:
            os.mkdir(missing[-1])
        except FileNotFoundError:  # no parent, or a delete has just removed it
            missing.append(os.path.dirname(missing[-1]))
            continue
        except NotADirectoryError:
            raise collision(folder) from None
        except FileExistsError:
            if not os.path.isdir(missing[-1]):
                if _is_blocked(missing[-1]):
                    raise collision(folder) from None
                continue
            if not attempt:
                return
        parents.append(os.path.dirname(missing.pop()))
        if not missing:
            break
    for parent in parents if sync else ():
        sync_folder(parent)


def name_file(source: str, path: str, *, create: bool, sync: bool) -> None:
    """Gives the complete file ``source`` the name ``path`` as well; ``source`` stays."""
    replace = False
    for _ in range(ATTEMPTS):
        try:
            with collisions(path):
                if replace:
                    _replace(source, path)
                else:
                    link(source, path)
            return
        except FileExistsError:
            if os.path.isdir(path):
                raise collision(path) from None
            if create:
                raise
            replace = True
        except FileNotFoundError:
            if not os.path.exists(source):
                raise
            make_folder(os.path.dirname(path), sync=sync)
            replace = False
    raise StoreUnavailable(f"the folder of {path} is removed again and again while it is written to")


def link(source: str, path: str) -> None:
    if not source.startswith("/proc/self/fd/"):
        os.link(source, path)
        return
    # With a descriptor Python calls linkat, which follows /proc/self/fd/<n> to the file itself (open(2), O_TMPFILE).
    os.link(source, path, src_dir_fd=int(source.rpartition("/")[2]), follow_symlinks=True)


def sync_folder(folder: str) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # removed meanwhile, with what was in it
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def collisions(path: str) -> Iterator[None]:
    try:
        yield
    except (IsADirectoryError, NotADirectoryError):
        raise collision(path) from None


def collision(path: str) -> StoreDenied:
    return StoreDenied(
        f"{path} cannot be written: one name is both an object and a folder of others",
        hint="Rename one of the two.",
    )


@contextlib.contextmanager
def explained(doing: str, *, reading: bool = False) -> Iterator[None]:
    """Turns an OSError into a store's error. ``reading``: what is not there is ObjectNotFound."""
    try:
        yield
    except OSError as error:
        raise translate(error, doing, reading=reading) from error


def translate(error: OSError, doing: str, *, reading: bool = False) -> LadingError:
    message = f"{doing}: {error.strerror or error}"
    if isinstance(error, FileExistsError):
        return ObjectExists(f"{doing}: it is there already")
    if reading and error.errno in NOT_THERE:
        return ObjectNotFound(f"{doing}: there is no such object")
    if error.errno in FULL:
        return StoreFull(message, hint="Free some space, or raise the quota.")
    if error.errno == errno.ENAMETOOLONG:
        return StoreDenied(
            message, hint="A file system takes 255 bytes between two slashes: choose shorter names."
        )
    if error.errno in DENIED:
        return StoreDenied(message, hint="Check the folder's owner, its permissions and how it is mounted.")
    return StoreUnavailable(message)


def _open(folder: str, *, unnamed: bool, sync: bool) -> tuple[int, str | None]:
    refused: PermissionError | None = None
    for _ in range(ATTEMPTS):
        path = None if unnamed else temporary_name(folder)
        try:
            if path is None:
                return os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o666), None
            return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666), path
        except FileNotFoundError:
            make_folder(folder, sync=sync)
        except NotADirectoryError:
            raise collision(folder) from None
        except PermissionError as error:
            if error.errno != errno.EPERM:
                raise
            refused = error  # ext4 says so of a folder that is being removed, too
            time.sleep(0.001)
    if refused is not None:
        raise refused
    raise StoreUnavailable(f"the folder {folder} is removed again and again while it is written to")


def _is_blocked(folder: str) -> bool:
    """Whether a file stands where ``folder`` or one of its parents would have to be."""
    while folder != os.path.dirname(folder):
        try:
            return not stat.S_ISDIR(os.stat(folder).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            folder = os.path.dirname(folder)
    return False


def _replace(source: str, path: str) -> None:
    """Puts the file ``source`` in the place of ``path``; ``source`` stays."""
    beside = temporary_name(os.path.dirname(path))
    link(source, beside)
    try:
        os.replace(beside, path)
    finally:
        # rename(2) leaves both names standing where they are one file already.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
