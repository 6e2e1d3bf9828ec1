"""Rows that wait for their writer on disk: Arrow IPC streams, one file per key, one stream per visit."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from lading.errors import StoreFull


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A private folder for what waits on disk, removed at the end."""
    with _room(tempfile.gettempdir()):
        folder = Path(tempfile.mkdtemp(prefix="lading-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _room(folder: object) -> Iterator[None]:
    """Says what a full disk means here."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull(
                f"No space left in {folder} for rows that wait for their writer.",
                hint="Free space there, point TMPDIR elsewhere, or raise buffer_memory.",
            ) from error
        raise


class Spill:
    """``folder`` is private to one lane, inside a scratch folder. Rows come back in the order they went."""

    def __init__(self, folder: Path) -> None:
        with _room(folder):
            folder.mkdir(exist_ok=True)
        self._folder = folder
        self._files: dict[object, Path] = {}
        self._names = itertools.count(1)

    def __contains__(self, key: object) -> bool:
        return key in self._files

    def add(self, key: object, rows: pa.RecordBatch) -> None:
        path = self._files.setdefault(key, self._folder / f"{next(self._names):06d}.arrows")
        with _room(self._folder):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "ab") as file, pa.ipc.new_stream(file, rows.schema) as stream:
                stream.write(rows)

    def take(self, key: object) -> Iterator[pa.RecordBatch]:
        """Gives back a key's rows and removes its file."""
        path = self._files.pop(key, None)
        if path is None:
            return
        with path.open("rb") as file:
            size = path.stat().st_size
            while file.tell() < size:
                with pa.ipc.open_stream(file) as stream:
                    yield from stream
        path.unlink()
