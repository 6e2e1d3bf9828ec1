"""Rows that wait for their writer on disk: Arrow IPC streams, one file per key, one stream per visit."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from lading.errors import StoreFull


class Spill:
    """``folder`` is private to one lane and removed by whoever made it. Rows come back in the order they went."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[object, Path] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._files

    def add(self, key: object, table: pa.Table) -> None:
        path = self._files.setdefault(key, self._folder / f"{len(self._files):06d}.arrows")
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "ab") as file, pa.ipc.new_stream(file, table.schema) as stream:
                stream.write_table(table)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StoreFull(
                    f"No space left in {self._folder} for rows that wait for their writer.",
                    hint="Free space there, point TMPDIR elsewhere, or raise buffer_memory.",
                ) from error
            raise

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
