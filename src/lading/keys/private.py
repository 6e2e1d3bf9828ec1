"""Files that hold keys: for their owner alone, whole and durable from the first moment on, never replaced."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lading.errors import StoreDenied, StoreFull, StoreUnavailable


def check_folder(folder: Path) -> None:
    """Makes the folder (0700) where there is none, and those above it. Raises StoreDenied where others may write to
    it."""
    for missing in [each for each in reversed((folder, *folder.parents)) if not each.exists()]:
        missing.mkdir(mode=0o700, exist_ok=True)
    # whoever may write here could put a key of his own in place of ours
    if os.name == "posix" and stat.S_IMODE(folder.stat().st_mode) & 0o022:
        raise StoreDenied(f"the key folder {folder} can be written by others", hint=f"chmod 700 {folder}")


def read_private(path: Path) -> bytes:
    """Raises StoreDenied for a file that others may use, and OSError."""
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if os.name == "posix" and mode & 0o177:
            raise StoreDenied(
                f"the key file {path} has mode {mode:04o}: others than its owner may use it",
                hint=f"chmod 600 {path}, and consider who may have read it.",
            )
        return file.read()


def create_private(path: Path, data: bytes) -> None:
    """Raises FileExistsError where the name is taken, by what is as durable then as ours would be, and OSError."""
    draft = path.with_name(f".new-{secrets.token_hex(8)}-{path.name}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)  # fails if the name is taken, unlike a rename
    finally:
        draft.unlink(missing_ok=True)
        _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    if os.name == "posix":
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Errors of the disk, told as stores tell them."""
    try:
        yield
    except PermissionError as error:
        raise StoreDenied(
            f"the key file or folder {path} may not be read or made", hint="Check who owns its folder."
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
