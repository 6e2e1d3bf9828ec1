"""Rows set aside on disk until all are there, for promises that need to see every one.

Rows are appended to an Arrow IPC stream, and one question about all of them is answered by DuckDB, which spills what
does not fit its memory limit. Both live in one folder, readable by its owner only, that goes with `Spill.close`.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from lading.errors import Failed, StoreFull
from lading.transforms.columns import is_text, plain, value_type

# below this DuckDB cannot even hold the blocks that it is working on; each thread takes as much again
FLOOR = 64 << 20
MOST_SHARES = 1024


class Spill:
    """``memory``: bytes that the question may take, at least 64 MiB. Thread-safe; ``close`` may be called twice."""

    def __init__(self, folder: Path, memory: int) -> None:
        self._parent, self._memory = folder, max(memory, FLOOR)
        self._lock = threading.Lock()
        self._folder: Path | None = None
        self._closed = False
        self._sink: Any = None
        self._writer: Any = None

    def append(self, batch: pa.RecordBatch) -> None:
        """Rows of one schema. Raises StoreFull where the disk has no room, ValueError after `close`."""
        if not batch.num_rows:
            return
        with self._lock, self._told():
            if self._closed:
                raise ValueError("the check has ended; it takes no more rows")
            if self._folder is None:
                self._start(batch.schema)
            self._writer.write_batch(batch)

    def ask(self, sql: str, key: Sequence[str]) -> int:
        """The one number that ``sql`` gives over the table ``spilled``; 0 where no row was appended.

        ``sql`` must not compare rows whose ``key`` (columns) differs: where memory does not suffice, rows are asked
        about in shares by the key's hash, and the numbers added.
        Raises Failed where that does not suffice either, or a sum overflows; ValueError after `close`.
        """
        with self._lock:
            if self._closed:
                raise ValueError("the check has ended; its rows are gone")
            if self._folder is None:
                return 0
            with self._told():
                self._finish_writing()
            shares = max(1, self._rows.stat().st_size // (4 * self._memory)) if key else 1
            while True:
                try:
                    return sum(self._ask(sql, key, share, shares) for share in range(shares))
                except MemoryError as error:
                    if not key or 4 * shares > MOST_SHARES:
                        raise Failed(
                            f"a check over all rows needs more than {self._memory} bytes of memory, or more room in "
                            f"{self._parent}",
                            hint="Raise buffer_memory, or free space.",
                        ) from error
                shares *= 4

    def _ask(self, sql: str, key: Sequence[str], share: int, shares: int) -> int:
        """The number for one share of the rows. Raises MemoryError where it does not fit."""
        import duckdb

        which = f" WHERE hash({', '.join(key)}) % {shares} = {share}" if shares > 1 else ""
        with self._connect() as connection, pa.memory_map(str(self._rows)) as file:
            try:
                connection.register("every_row", pa.ipc.open_stream(file))
                row = connection.execute(f"WITH spilled AS (SELECT * FROM every_row{which}) {sql}").fetchone()
            except duckdb.OutOfMemoryException as error:
                raise MemoryError from error
            except duckdb.OutOfRangeException:
                # the engine's message holds values
                raise Failed("a check over all rows: a sum has more than 38 digits") from None
        return int(row[0]) if row else 0

    def close(self) -> None:
        with self._lock:
            self._closed = True
            with suppress(OSError):  # a full disk; the file goes anyway
                self._finish_writing()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _rows(self) -> Path:
        assert self._folder is not None
        return self._folder / "rows.arrow"

    def _start(self, schema: pa.Schema) -> None:
        self._parent.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix="check-", dir=self._parent))
        self._sink = pa.OSFile(str(self._rows), "wb")
        self._writer = pa.ipc.new_stream(self._sink, schema)

    def _finish_writing(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with self._sink:
                writer.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StoreFull(
                    f"a check has no room left in {self._parent}", hint="Free space, or set another folder."
                ) from error
            raise

    def _connect(self) -> Any:
        import duckdb

        connection = duckdb.connect(
            config={
                "memory_limit": f"{self._memory}B",
                "temp_directory": str(self._rows.with_name("duckdb")),
                "threads": max(1, min(os.cpu_count() or 1, self._memory // FLOOR)),
                "preserve_insertion_order": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            }
        )
        connection.execute("set enable_progress_bar = false")
        return connection


def check_storable(field: pa.Field) -> None:
    """Raises ValueError, with the reason, for a column whose values cannot be compared."""
    type_ = value_type(field.type)
    if pa.types.is_nested(type_) or pa.types.is_interval(type_):
        raise ValueError(f"column {field.name!r} of type {type_} has no values that can be compared")


def storable(array: pa.Array) -> pa.Array:
    """Equal values and order, in a type that DuckDB reads without loss."""
    array = plain(array)
    types, type_ = pa.types, array.type
    if types.is_date32(type_) or types.is_time32(type_):
        return array.view(pa.int32())
    if types.is_date(type_) or types.is_timestamp(type_) or types.is_time(type_) or types.is_duration(type_):
        return array.view(pa.int64())  # DuckDB would cut nanoseconds
    if types.is_decimal256(type_):
        return array.cast(pa.string())  # one scale, so one text per value; DuckDB cannot read it
    if types.is_null(type_):
        return array.cast(pa.int32())
    if types.is_float16(type_):
        return array.cast(pa.float32())
    if is_text(type_):
        return array.cast(pa.large_string())
    return array
