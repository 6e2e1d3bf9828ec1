"""Copy-on-write of an Iceberg table's files: those that hold a key which comes anew are written again without its rows.

Keys are compared by DuckDB, which spills to disk what does not fit its memory; rows pass through in batches.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.conversions import from_bytes
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.types import PrimitiveType

from lading.channels.iceberg_io import Files, batches, parquet
from lading.errors import LadingError, StoreFull
from lading.ports import Upload

_FLOOR = 64 << 20  # below this DuckDB cannot hold the blocks that it works on
_MOST_ROWS = 65_536  # of a batch


class Keys:
    """The keys of the rows that come: ``columns`` of the files at ``locations``. Ended by ``close``."""

    def __init__(self, files: Files, columns: Sequence[str], locations: Sequence[str], memory: int) -> None:
        self._files, self._columns, self._memory = files, tuple(columns), max(memory, _FLOOR)
        self._failed: LadingError | None = None  # of the store or a file, while DuckDB was asking for rows
        self._kinds: list[pa.DataType] = []  # of the columns, as files have them
        self._names = ", ".join(f"k{index}" for index in range(len(columns)))
        self._folder = Path(tempfile.mkdtemp(prefix="lading-merge-"))
        try:
            self._duckdb = duckdb.connect(
                str(self._folder / "keys.duckdb"),
                config={
                    "autoinstall_known_extensions": False,
                    "autoload_known_extensions": False,
                    "memory_limit": f"{self._memory >> 20}MiB",
                    "temp_directory": str(self._folder),
                    "threads": 1,
                    "preserve_insertion_order": False,
                },
            )
            self._duckdb.execute("set timezone = 'UTC'")
            self._duckdb.execute("set enable_progress_bar = false")
            self._load(locations)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def __enter__(self) -> Keys:
        return self

    def __exit__(self, *_: object) -> None:
        self._duckdb.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _load(self, locations: Sequence[str]) -> None:
        for index, location in enumerate(locations):
            with self._files.open(location) as file:
                opened = parquet(file, location)
                self._kinds = self._kinds or [opened.schema_arrow.field(name).type for name in self._columns]
                self._ask(
                    ("insert into keys" if index else "create table keys as")
                    + f" select distinct {self._names} from incoming",
                    self._rows(opened, location),
                )

    def _rows(self, opened: pq.ParquetFile, location: str) -> pa.RecordBatchReader:
        """The file's keys, and each row's number. A column that the file is older than is NULL in all of its rows
        (table specification, "Column Projection")."""
        has = set(opened.schema_arrow.names)
        kinds = [
            opened.schema_arrow.field(name).type if name in has else kind
            for name, kind in zip(self._columns, self._kinds, strict=True)
        ]
        schema = pa.schema(
            [*(pa.field(f"k{index}", kind) for index, kind in enumerate(kinds)), ("row", pa.int64())]
        )

        def keys() -> Iterator[pa.RecordBatch]:
            begin = 0
            try:
                present = [name for name in self._columns if name in has]
                for batch in batches(opened, location, _MOST_ROWS, columns=present):
                    columns = [
                        batch.column(name) if name in has else pa.nulls(batch.num_rows, kind)
                        for name, kind in zip(self._columns, kinds, strict=True)
                    ]
                    numbers = pa.array(np.arange(begin, begin + batch.num_rows))
                    begin += batch.num_rows
                    yield pa.RecordBatch.from_arrays([*columns, numbers], schema=schema)
            except LadingError as error:
                self._failed = error
                raise

        return pa.RecordBatchReader.from_batches(schema, keys())

    def _ask(self, sql: str, rows: pa.RecordBatchReader) -> Any:
        try:
            # As a capsule: a reader itself DuckDB would have Arrow scan, ahead and in threads that outlive the merge.
            self._duckdb.register("incoming", rows.__arrow_c_stream__())
            return self._duckdb.execute(sql)
        except duckdb.Error as error:
            raise self._told(error) from error

    def _told(self, error: Exception) -> Exception:
        if self._failed is not None:
            return self._failed
        if isinstance(error, duckdb.OutOfMemoryException | duckdb.IOException):
            return StoreFull(
                f"Merging by key needs more than {self._memory >> 20} MiB of memory, or more room in "
                f"{self._folder.parent}.",
                hint="Raise buffer_memory, or free space.",
            )
        return error

    @cached_property
    def _extremes(self) -> list[tuple[Any, Any] | None]:
        """Of each column, as bounds have them; None where a key is NULL or bounds are not compared."""
        found: list[tuple[Any, Any] | None] = []
        for index in range(len(self._columns)):
            asked = self._duckdb.execute(
                f"select min(k{index}), max(k{index}), count(*) - count(k{index}) from keys"
            )
            # By Arrow: DuckDB's own way to Python wants pytz for instants, and Python's ends where theirs do not.
            least, most, missing = asked.to_arrow_table().columns
            low, high = (_internal(column, self._kinds[index]) for column in (least, most))
            found.append(None if missing[0].as_py() or low is None or high is None else (low, high))
        return found

    def may_be_in(self, file: DataFile, schema: Schema) -> bool:
        """By the file's bounds: False where it certainly holds none of the keys. ``schema``: the table's, with all of
        the key's columns."""
        for name, extremes in zip(self._columns, self._extremes, strict=True):
            field = schema.find_field(name)
            low = (file.lower_bounds or {}).get(field.field_id)
            high = (file.upper_bounds or {}).get(field.field_id)
            if extremes is None or low is None or high is None:
                continue
            assert isinstance(field.field_type, PrimitiveType)
            if extremes[0] > from_bytes(field.field_type, high) or extremes[1] < from_bytes(
                field.field_type, low
            ):
                return False
        return True

    def rows_in(self, location: str) -> Any:
        """Which of the file's rows have one of the keys: a mask, or None where no row has."""
        with self._files.open(location) as file:
            opened = parquet(file, location)
            mask = np.zeros(opened.metadata.num_rows, np.bool_)
            same = " and ".join(
                f"incoming.k{index} is not distinct from keys.k{index}" for index in range(len(self._columns))
            )
            found = self._ask(
                f"select row from incoming semi join keys on {same}", self._rows(opened, location)
            )
            try:
                for batch in found.to_arrow_reader(_MOST_ROWS):
                    mask[batch.column(0).to_numpy()] = True
            except (duckdb.Error, pa.ArrowException, OSError) as error:
                raise self._told(error) from error
        return mask if mask.any() else None

    def rewrite(self, source: str, target: str, without: Any) -> int:
        """Writes the file anew without some rows, by a mask; how many are left. Nothing is written where none is."""
        left = int(len(without) - without.sum())
        if not left:
            return 0
        upload = self._files.store.write(self._files.name(target))
        try:
            with self._files.open(source) as file:
                _copy(
                    parquet(file, source, arrow_extensions_enabled=True),
                    source,
                    upload,
                    ~without,
                    self._memory,
                )
            upload.finish()
        except BaseException:
            upload.abort()
            raise
        return left


def _copy(opened: pq.ParquetFile, source: str, upload: Upload, keep: Any, memory: int) -> None:
    meta = opened.metadata
    plain = sum(meta.row_group(index).total_byte_size for index in range(meta.num_row_groups))
    rows = max(64, min(_MOST_ROWS, (memory // 8) * meta.num_rows // max(plain, 1)))
    codec = meta.row_group(0).column(0).compression
    sink = pa.PythonFile(_Sink(upload), mode="w")
    with pq.ParquetWriter(
        sink,
        opened.schema_arrow,
        version="2.6",
        compression="none" if codec == "UNCOMPRESSED" else codec.lower(),
        store_decimal_as_integer=True,
        store_schema=False,
        write_page_checksum=True,
    ) as writer:
        begin = 0
        for batch in batches(opened, source, rows):
            kept = batch.filter(pa.array(keep[begin : begin + batch.num_rows]))
            begin += batch.num_rows
            if kept.num_rows:
                writer.write_batch(kept)


class _Sink:
    """An upload as the file object that Arrow's writers want. Ending it is left to its owner."""

    closed = False

    def __init__(self, upload: Upload) -> None:
        self._upload, self._size = upload, 0

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._upload.write(view)
        self._size += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        return self._size

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        """Nothing is held back here."""

    def close(self) -> None:
        """The upload is its owner's to end."""


def _internal(column: pa.ChunkedArray, kind: pa.DataType) -> Any:
    """The one value of a column as bounds have it; None where bounds are not compared. ``kind``: what files have, of
    which DuckDB makes other types."""
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64())[0].as_py()
    if pa.types.is_date32(kind):
        return column.cast(pa.int32())[0].as_py()
    return column[0].as_py() if _compared(kind) else None


def _compared(kind: pa.DataType) -> bool:
    return any(test(kind) for test in (pa.types.is_integer, pa.types.is_string, pa.types.is_decimal))
