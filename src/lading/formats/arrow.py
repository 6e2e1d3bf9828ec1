"""The Arrow IPC file format (also known as Feather version 2).

`lading.formats.written` lists what each type becomes. The logical meaning of text columns (``lading.logical``) travels
in the file; the source's type names do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from lading.errors import IntegrityError
from lading.formats.compression import Counted, arrow_file
from lading.formats.statistics import Statistics
from lading.formats.written import accept, check, columnar, convert
from lading.ports import LOGICAL, Download, FileStats, Sink, Types, Writer


class ArrowOptions(BaseModel):
    """Arrow IPC files."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    compression: Literal["none", "zstd", "lz4"] = Field(default="none", description="of each buffer")
    batch_rows: int = Field(
        default=65_536, ge=1, description="rows per record batch; fewer where memory is short"
    )


class ArrowFormat:
    """Writes and reads Arrow IPC files."""

    name = "arrow"
    suffix = "arrow"

    def __init__(self, options: ArrowOptions | None = None) -> None:
        self._options = options or ArrowOptions()
        self.codec = "" if self._options.compression == "none" else self._options.compression

    def schema(self, schema: Any, types: Types) -> Any:
        check(schema)
        return pa.schema([columnar(field, types, parquet=False) for field in schema])

    def open(self, sink: Sink, schema: Any, types: Types, memory: int) -> Writer:
        return _ArrowWriter(sink, schema, self.schema(schema, types), self._options, memory)

    def notices(self) -> tuple[str, ...]:
        return ()

    def scan(self, file: Download, schema: Any) -> Iterator[Any]:
        """Raises IntegrityError for what is no Arrow file of these columns and types."""
        try:
            opened = pa.ipc.open_file(arrow_file(file))
            found = opened.schema
            if found.names != schema.names or found.types != schema.types:
                raise IntegrityError(
                    "the file's columns or their types are not those that the manifest names"
                )
            for index in range(opened.num_record_batches):
                yield pa.RecordBatch.from_arrays(opened.get_batch(index).columns, schema=schema)
        except (pa.ArrowInvalid, OSError) as error:
            raise IntegrityError(f"not a readable Arrow file: {error}") from error


class _ArrowWriter:
    """Gathers rows into batches of one size, so that equal rows give equal bytes."""

    def __init__(self, sink: Sink, schema: Any, written: Any, options: ArrowOptions, memory: int) -> None:
        self._schema = schema
        self._written = pa.schema([_told(field) for field in written])
        self._batch_rows = options.batch_rows
        self._memory = max(1, memory // 2)
        self._held: list[Any] = []
        self._held_rows = 0
        self._held_bytes = 0
        self._rows = 0
        self._statistics = Statistics(written)
        self._out = Counted(sink)
        compression = None if options.compression == "none" else options.compression
        self._encoder = pa.ipc.new_file(
            pa.PythonFile(self._out, mode="w"),
            self._written,
            options=pa.ipc.IpcWriteOptions(compression=compression, use_threads=False),
        )

    def append(self, batch: Any) -> None:
        """Raises DataRefused for a value that its type in the file cannot hold."""
        accept(batch, self._schema)
        start = 0
        while start < batch.num_rows:
            piece = batch.slice(start, self._batch_rows - self._held_rows)
            start += piece.num_rows
            columns = [convert(a, f.type, f.name) for a, f in zip(piece.columns, self._written, strict=True)]
            piece = pa.RecordBatch.from_arrays(columns, schema=self._written)
            self._statistics.observe(piece)
            self._held.append(piece)
            self._held_rows += piece.num_rows
            self._held_bytes += piece.nbytes
            if self._held_rows >= self._batch_rows or self._held_bytes >= self._memory:
                self._flush()

    def _flush(self) -> None:
        if not self._held_rows:
            return
        for batch in pa.Table.from_batches(self._held, self._written).combine_chunks().to_batches():
            self._encoder.write_batch(batch)
        self._rows += self._held_rows
        self._held = []
        self._held_rows = self._held_bytes = 0

    @property
    def size(self) -> int:
        return self._out.size

    def finish(self) -> FileStats:
        self._flush()
        self._encoder.close()
        return FileStats(self._rows, self._statistics.result())

    def abort(self) -> None:
        self._out.detach()
        self._held = []
        self._encoder.close()


def _told(field: Any) -> Any:
    meaning = (field.metadata or {}).get(LOGICAL)
    return pa.field(field.name, field.type, field.nullable, {LOGICAL: meaning} if meaning else None)
