"""Apache Parquet, format version 2.6, by Arrow's writer.

`lading.formats.written` lists what each type becomes. Decimals are stored as integers where they fit, zoned timestamps
as UTC microseconds. The file says nothing of where it came from: no Arrow schema, no metadata of the source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from lading.documents import Size
from lading.errors import IntegrityError, SchemaMismatch
from lading.formats.compression import Counted, arrow_file
from lading.formats.statistics import Statistics
from lading.formats.written import accept, check, columnar, convert, is_list
from lading.ports import Download, FileStats, Sink, Types, Writer

Encoding = Literal[
    "PLAIN", "DELTA_BINARY_PACKED", "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY", "BYTE_STREAM_SPLIT"
]


class ParquetOptions(BaseModel):
    """Apache Parquet."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    compression: Literal["snappy", "zstd", "gzip", "brotli", "none"] = Field(
        default="snappy", description="of each page"
    )
    compression_level: int | None = Field(
        default=None, description="the codec's own scale; its default when absent"
    )
    row_group_rows: int = Field(
        default=122_880, ge=1, description="rows per row group; fewer where memory is short"
    )
    page_size: Size = Field(default=1 << 20, ge=1, description="bytes of a data page before compression: 1MB")
    dictionary: bool | tuple[str, ...] = Field(
        default=True,
        description="dictionary encoding, as long as a dictionary is small: for all columns, none, or those named",
    )
    encodings: Mapping[str, Encoding] = Field(
        default_factory=dict,
        description="encoding by column, in place of a dictionary: DELTA_BINARY_PACKED for numbers that grow",
    )
    schema_version_column: str | None = Field(
        default=None,
        description="the name of a column that carries the contract's version in every row: _schema_version",
    )
    schema_version: str = Field(
        default="", description="its value; filled in from the contract when left empty"
    )


class ParquetFormat:
    """Writes and reads Parquet."""

    name = "parquet"
    suffix = "parquet"

    def __init__(self, options: ParquetOptions | None = None) -> None:
        self._options = options or ParquetOptions()
        self.codec = "" if self._options.compression == "none" else self._options.compression

    def schema(self, schema: Any, types: Types) -> Any:
        check(schema)
        options = self._options
        written = pa.schema([columnar(field, types, parquet=True) for field in schema])
        named = {*options.encodings, *(() if isinstance(options.dictionary, bool) else options.dictionary)}
        if unknown := sorted(named - {column for _, column in _leaves(written)}):
            raise SchemaMismatch(
                f"column {unknown[0]!r}, which the format's settings name, is not in the export",
                hint="correct `encodings` or `dictionary`",
            )
        if options.schema_version_column is None:
            return written
        if options.schema_version_column in written.names:
            raise SchemaMismatch(
                f"column {options.schema_version_column!r} is in the data already",
                hint="choose another schema_version_column",
            )
        return written.append(pa.field(options.schema_version_column, pa.string(), nullable=False))

    def open(self, sink: Sink, schema: Any, types: Types, memory: int) -> Writer:
        return _ParquetWriter(sink, schema, self.schema(schema, types), self._options, memory)

    def notices(self) -> tuple[str, ...]:
        return ()

    def scan(self, file: Download, schema: Any) -> Iterator[Any]:
        """Raises IntegrityError for what is no Parquet file of these columns and types."""
        try:
            opened = pq.ParquetFile(arrow_file(file), arrow_extensions_enabled=True)
            found = opened.schema_arrow
            if found.names != schema.names or found.types != schema.types:
                raise IntegrityError(
                    "the file's columns or their types are not those that the manifest names"
                )
            for batch in opened.iter_batches(use_threads=False):
                yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)
        except (pa.ArrowInvalid, OSError) as error:
            raise IntegrityError(f"not a readable Parquet file: {error}") from error


class _ParquetWriter:
    """Gathers rows until a row group is full, or half of ``memory`` is: encoding needs the other half."""

    def __init__(self, sink: Sink, schema: Any, written: Any, options: ParquetOptions, memory: int) -> None:
        self._schema = schema
        self._written = pa.schema([pa.field(f.name, f.type, f.nullable) for f in written])
        self._options = options
        self._memory = max(1, memory // 2)
        self._held: list[Any] = []
        self._held_rows = 0
        self._held_bytes = 0
        self._rows = 0
        self._statistics = Statistics(written)
        self._out = Counted(sink)
        leaves = _leaves(self._written)
        self._encoder = pq.ParquetWriter(
            pa.PythonFile(self._out, mode="w"),
            self._written,
            version="2.6",
            compression=options.compression.upper() if options.compression != "none" else "NONE",
            compression_level=options.compression_level,
            data_page_size=options.page_size,
            use_dictionary=_dictionaries(leaves, options),
            column_encoding={
                path: options.encodings[name] for path, name in leaves if name in options.encodings
            }
            or None,
            store_schema=False,
            store_decimal_as_integer=True,
        )

    def append(self, batch: Any) -> None:
        """Raises DataRefused for a value that its type in the file cannot hold."""
        accept(batch, self._schema)
        start = 0
        while start < batch.num_rows:
            piece = batch.slice(start, self._options.row_group_rows - self._held_rows)
            start += piece.num_rows
            self._hold(piece)

    def _hold(self, batch: Any) -> None:
        columns = [
            convert(array, field.type, field.name)
            for array, field in zip(batch.columns, self._written, strict=False)
        ]
        if len(columns) < len(self._written):
            columns.append(pa.repeat(pa.scalar(self._options.schema_version), batch.num_rows))
        batch = pa.RecordBatch.from_arrays(columns, schema=self._written)
        self._statistics.observe(batch)
        self._held.append(batch)
        self._held_rows += batch.num_rows
        self._held_bytes += batch.nbytes
        if self._held_rows >= self._options.row_group_rows or self._held_bytes >= self._memory:
            self._flush()

    def _flush(self) -> None:
        if not self._held_rows:
            return
        # One chunk per column: page ends follow chunk ends, and equal rows must give equal bytes.
        table = pa.Table.from_batches(self._held, self._written).combine_chunks()
        self._held = []
        self._encoder.write_table(table, row_group_size=max(1, self._held_rows))
        self._rows += self._held_rows
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


def _dictionaries(leaves: list[tuple[str, str]], options: ParquetOptions) -> bool | list[str]:
    """The leaves to encode with a dictionary; Arrow wants none that has an encoding of its own."""
    if isinstance(options.dictionary, bool):
        if not options.encodings or not options.dictionary:
            return options.dictionary
        return [path for path, name in leaves if name not in options.encodings]
    return [path for path, name in leaves if name in options.dictionary and name not in options.encodings]


def _leaves(schema: Any) -> list[tuple[str, str]]:
    """The path of every leaf column in the file, and the name of the column that it belongs to."""
    return [(path, field.name) for field in schema for path in _paths(field.name, field.type)]


def _paths(path: str, kind: Any) -> Iterator[str]:
    if is_list(kind):
        yield from _paths(f"{path}.list.element", kind.value_type)
    elif pa.types.is_map(kind):
        yield from _paths(f"{path}.key_value.key", kind.key_type)
        yield from _paths(f"{path}.key_value.value", kind.item_type)
    elif pa.types.is_struct(kind):
        for child in kind.fields:
            yield from _paths(f"{path}.{child.name}", child.type)
    else:
        yield path
