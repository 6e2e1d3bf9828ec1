"""The Arrow IPC file format (also known as Feather version 2).

`lading.formats.written` lists what each type becomes. The logical meaning of text columns (``lading.logical``) travels
in the file; the source's type names do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from lading.errors import IntegrityError
from lading.formats.compression import Counted, arrow_file
from lading.formats.groups import Extent, GroupWriter, merged
from lading.formats.statistics import Statistics
from lading.formats.written import check, columnar, convert
from lading.ports import LOGICAL, Download, Sink, Types, Writer

# What a record batch takes at most beside its values, in bytes.
_NODE = 448  # of a node: its entry in the message, and its buffers' entries, paddings and compression headers
_BATCH = 512  # its message's own
_BLOCK = 32  # its entry in the footer


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

    def open(self, sink: Sink, schema: Any, types: Types, memory: int, limit: int | None = None) -> Writer:
        found = self.schema(schema, types)
        written = pa.schema([_told(field) for field in found])

        def columns(batch: Any) -> list[Any]:
            return [convert(a, f.type, f.name) for a, f in zip(batch.columns, written, strict=True)]

        out = Counted(sink)
        return GroupWriter(
            out,
            schema,
            written,
            Statistics(found),
            _Encoder(out, written, self._options),
            columns,
            rows=self._options.batch_rows,
            memory=memory,
            limit=limit,
        )

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


class _Encoder:
    """Arrow's writer, a record batch at a time."""

    def __init__(self, out: Counted, written: Any, options: ArrowOptions) -> None:
        self._written, self._options = written, options
        self._encoder = self._begun(pa.PythonFile(out, mode="w"))

    def _begun(self, out: Any) -> Any:
        compression = None if self._options.compression == "none" else self._options.compression
        options = pa.ipc.IpcWriteOptions(compression=compression, use_threads=False)
        return pa.ipc.new_file(out, self._written, options=options)

    def write(self, rows: Any) -> None:
        columns = [merged(column).chunk(0) for column in rows.columns]
        self._encoder.write_batch(pa.RecordBatch.from_arrays(columns, schema=self._written))

    def close(self) -> None:
        self._encoder.close()

    def tell(self, statistics: Statistics) -> None:
        """An Arrow file holds no statistics."""

    def empty(self) -> int:
        out = pa.MockOutputStream()
        self._begun(out).close()
        return int(out.size())

    def most(self, extents: Sequence[Extent]) -> tuple[int, int]:
        """Offsets, validity and values of every node, in buffers that a codec makes longer by 1/255 at most."""
        body = sum(e.values * (4 + (e.width or 0)) + e.values // 8 + e.bytes for e in extents)
        return body * 256 // 255 + _NODE * len(extents) + _BATCH, _BLOCK


def _told(field: Any) -> Any:
    meaning = (field.metadata or {}).get(LOGICAL)
    return pa.field(field.name, field.type, field.nullable, {LOGICAL: meaning} if meaning else None)
