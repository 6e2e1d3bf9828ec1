"""Apache Parquet, format version 2.6, by Arrow's writer.

`lading.formats.written` lists what each type becomes. Decimals are stored as integers where they fit, zoned timestamps
as UTC microseconds. Pages carry checksums, unless they are encrypted. The file says nothing of where it came from: no
Arrow schema, no metadata of the source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from lading.documents import Size
from lading.errors import IntegrityError, SchemaMismatch
from lading.formats.compression import Counted, arrow_file
from lading.formats.groups import Extent, GroupWriter, merged
from lading.formats.statistics import Statistics, is_ordered_text
from lading.formats.written import check, columnar, convert, is_list
from lading.ports import Download, FileKey, Sink, Types, Writer

Encoding = Literal[
    "PLAIN", "DELTA_BINARY_PACKED", "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY", "BYTE_STREAM_SPLIT"
]

# What a row group takes at most, in bytes; rows of a page: fewer than Arrow writes.
_GROUP = 64  # in the footer
_CHUNK = 250  # of a column in the footer, without its path and statistics
_PAGE = 160  # a page's header without statistics, and its levels' own
_PADDING = 3_000  # of a delta encoding's last block, by page
_SEALED = 32  # of what is encrypted by itself (a header, the values of a page): its length, a nonce, a tag
_INDEX = 4  # per value: in a dictionary, or a second length in DELTA_BYTE_ARRAY
_PAGE_ROWS = 10_000
_LONGEST_STATISTICS = 4_096

_FEW_ROWS = 1_000  # of a row group, to which it does not matter how it is encoded
_SAMPLE = 16_384  # rows


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
    page_size: Size = Field(
        default=1 << 20, ge=1000, description="bytes of a data page before compression: 1MB"
    )
    dictionary: bool | tuple[str, ...] = Field(
        default=True,
        description="dictionary encoding: for columns whose values repeat in the file's first row group, for none, or "
        "for those named; as long as the dictionary is small",
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
    encryption = "parquet-aes-gcm-v1"

    def __init__(self, options: ParquetOptions | None = None, key: FileKey | None = None) -> None:
        self._options = options or ParquetOptions()
        self._key = key
        self.codec = "" if self._options.compression == "none" else self._options.compression

    def schema(self, schema: Any, types: Types) -> Any:
        check(schema)
        options = self._options
        written = pa.schema([columnar(field, types, parquet=True) for field in schema])
        named = {*options.encodings, *(() if isinstance(options.dictionary, bool) else options.dictionary)}
        if unknown := sorted(named - {column for _, column in _leaves(written)}):
            raise SchemaMismatch(
                f"column {unknown[0]!r}, which the format's settings name, is not in the export",
                hint="Correct `encodings` or `dictionary`.",
            )
        if options.schema_version_column is None:
            return written
        if options.schema_version_column in written.names:
            raise SchemaMismatch(
                f"column {options.schema_version_column!r} is in the data already",
                hint="Choose another schema_version_column.",
            )
        return written.append(pa.field(options.schema_version_column, pa.string(), nullable=False))

    def open(self, sink: Sink, schema: Any, types: Types, memory: int, limit: int | None = None) -> Writer:
        found = self.schema(schema, types)
        written = pa.schema([pa.field(f.name, f.type, f.nullable) for f in found])
        version = self._options.schema_version_column and pa.scalar(self._options.schema_version)

        def columns(batch: Any) -> list[Any]:
            converted = [
                convert(array, field.type, field.name)
                for array, field in zip(batch.columns, written, strict=False)
            ]
            return [*converted, pa.repeat(version, batch.num_rows)] if version else converted

        out = Counted(sink)
        told = [f.name for f in found if is_ordered_text(f) or _is_short_decimal(f.type)]
        return GroupWriter(
            out,
            schema,
            written,
            Statistics(found, told=told),
            _Encoder(out, written, self._options, told, self._key),
            columns,
            rows=self._options.row_group_rows,
            memory=memory,
            limit=limit,
        )

    def encrypted(self, key: FileKey) -> ParquetFormat:
        """By Parquet Modular Encryption (AES_GCM_V1), one key for footer and columns: nothing is in the clear but that
        it is such a file. What it is bound to is not stored in it."""
        return ParquetFormat(self._options, key)

    def notices(self) -> tuple[str, ...]:
        return ()

    def scan(self, file: Download, schema: Any) -> Iterator[Any]:
        """Raises IntegrityError for what is no Parquet file of these columns and types."""
        try:
            opened = pq.ParquetFile(
                arrow_file(file),
                pre_buffer=False,  # it reads in threads of Arrow's, which a scan that ends early leaves behind
                arrow_extensions_enabled=True,
                page_checksum_verification=True,
                decryption_properties=_opening(self._key),
            )
            found = opened.schema_arrow
            if found.names != schema.names or found.types != schema.types:
                raise IntegrityError(
                    "the file's columns or their types are not those that the manifest names"
                )
            for batch in opened.iter_batches(use_threads=False):
                yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)
        except (pa.ArrowInvalid, OSError) as error:
            raise IntegrityError(f"not a readable Parquet file: {error}") from error


class _Encoder:
    """Arrow's writer, a row group at a time. ``told``: the columns of which the footer tells the extremes."""

    def __init__(
        self,
        out: Counted,
        written: Any,
        options: ParquetOptions,
        told: Sequence[str],
        key: FileKey | None = None,
    ) -> None:
        self._out, self._written, self._options, self._told, self._key = out, written, options, told, key
        page = _PAGE + (2 * _SEALED if key else 0)
        self._leaves = [
            (len(path.encode()), page + (_PADDING if name in options.encodings else 0))
            for path, name in _leaves(written)
        ]
        self._encoder: Any = None  # from the first row group on, which says where dictionaries pay
        self._whole: list[int] = []  # columns to write in one chunk

    def _begun(self, out: Any, rows: Any = None) -> Any:
        options, leaves = self._options, _leaves(self._written)
        encodings = {path: options.encodings[name] for path, name in leaves if name in options.encodings}
        dictionaries = _dictionaries(leaves, options, rows)
        # Where a dictionary grows too large is looked at after each chunk; of the rest, only numbers and text are known
        # to be written alike from any chunks.
        alone = {name for path, name in leaves if dictionaries is False or path not in dictionaries}
        self._whole = [
            index
            for index, field in enumerate(self._written)
            if field.name not in alone or not _flat(field.type)
        ]
        return pq.ParquetWriter(
            out,
            self._written,
            version="2.6",
            compression=options.compression.upper() if options.compression != "none" else "NONE",
            compression_level=options.compression_level,
            data_page_size=options.page_size,
            use_dictionary=dictionaries,
            column_encoding=encodings or None,
            store_schema=False,
            store_decimal_as_integer=True,
            write_page_checksum=self._key is None,  # what is encrypted is authenticated, page by page
            encryption_properties=_sealing(self._key),
        )

    def write(self, rows: Any) -> None:
        if self._encoder is None:
            self._encoder = self._begun(pa.PythonFile(self._out, mode="w"), rows)
        for index in self._whole:
            rows = rows.set_column(index, self._written.field(index), merged(rows.column(index)))
        self._encoder.write_table(rows, row_group_size=rows.num_rows)

    def close(self) -> None:
        self._encoder = self._encoder or self._begun(pa.PythonFile(self._out, mode="w"))
        self._encoder.close()

    def tell(self, statistics: Statistics) -> None:
        footer = self._encoder.writer.metadata
        paths = [path for path, _ in _leaves(self._written)]
        for name in self._told:
            leaf, kind = paths.index(name), self._written.field(name).type
            for group in range(footer.num_row_groups):
                found = footer.row_group(group).column(leaf).statistics
                statistics.tell(name, found.null_count, _span(kind, found))
                if found.num_values and not found.has_min_max:
                    statistics.conceal(name)

    def empty(self) -> int:
        out = pa.MockOutputStream()
        self._begun(out).close()
        return int(out.size())

    def most(self, extents: Sequence[Extent]) -> tuple[int, int]:
        """By the Parquet format's description of pages, its encodings' worst cases, and Snappy's growth by a sixth."""
        levels = 2 * sum(e.values * e.leaves for e in extents)
        body, footer = levels, _GROUP
        leaves = (e for e in extents if e.width is not None)
        for leaf, (path, page) in zip(leaves, self._leaves, strict=True):
            plain = leaf.values * max(4, leaf.width or 0) + leaf.bytes
            pages = 2 + plain // self._options.page_size + leaf.values // _PAGE_ROWS
            # A minimum and a maximum, in the old fields and the new, unless they are too long for Arrow.
            statistics = 4 * min(leaf.longest, _LONGEST_STATISTICS)
            body += plain + leaf.values * _INDEX + pages * (page + statistics)
            footer += _CHUNK + path + statistics
        return body * 7 // 6, footer


def _sealing(key: FileKey | None) -> Any:
    """Of one file: Arrow takes these for no second one."""
    if key is None:
        return None
    import pyarrow.parquet.encryption as pe

    return pe.create_encryption_properties(
        footer_key=key.key, aad_prefix=key.bound_to, store_aad_prefix=False
    )


def _opening(key: FileKey | None) -> Any:
    if key is None:
        return None
    import pyarrow.parquet.encryption as pe

    return pe.create_decryption_properties(footer_key=key.key, aad_prefix=key.bound_to)


def _dictionaries(
    leaves: list[tuple[str, str]], options: ParquetOptions, rows: Any
) -> Literal[False] | list[str]:
    """The leaves to encode with a dictionary; Arrow wants none that has an encoding of its own. ``rows``: the first row
    group, if there is one."""
    if options.dictionary is False:
        return False
    if options.dictionary is True:
        wanted = {name for _, name in leaves}
        if rows is not None and rows.num_rows >= _FEW_ROWS:
            places = _places(rows.num_rows)
            wanted = {name for name in wanted if _repeats(rows.column(name), places)}
    else:
        wanted = set(options.dictionary)
    return [path for path, name in leaves if name in wanted and name not in options.encodings]


def _span(kind: Any, found: Any) -> tuple[Any, Any] | None:
    """The least and greatest value of a column chunk, from its statistics."""
    if not found.has_min_max:
        return None
    if pa.types.is_decimal(kind):
        return Decimal(found.min_raw).scaleb(-kind.scale), Decimal(found.max_raw).scaleb(-kind.scale)
    return found.min_raw.decode(), found.max_raw.decode()


def _is_short_decimal(kind: Any) -> bool:
    """Whether it is stored as an integer."""
    return bool(pa.types.is_decimal128(kind) and kind.precision <= 18)


def _flat(kind: Any) -> bool:
    return not (
        pa.types.is_nested(kind) or pa.types.is_boolean(kind) or isinstance(kind, pa.BaseExtensionType)
    )


def _places(rows: int) -> Any:
    """Evenly spaced ones."""
    places = np.arange(0, rows, -(-rows // _SAMPLE))
    return pa.Array.from_buffers(pa.int64(), len(places), [None, pa.py_buffer(places)])


def _repeats(column: Any, places: Any) -> bool:
    """Whether at most every fifth value is a new one. Beyond, plain values are smaller once compressed, and cheaper.

    Estimated from the rows at ``places`` (GEE; Charikar et al., Towards estimation error guarantees for distinct
    values, PODS 2000): sqrt(N/n) times the values seen once, and those seen more often.
    """
    kind = column.type.storage_type if isinstance(column.type, pa.BaseExtensionType) else column.type
    if pa.types.is_nested(kind):
        return True
    seen = pc.value_counts(column.take(places).cast(kind).drop_null()).field("counts")
    once = pc.sum(pc.equal(seen, 1)).as_py() or 0
    count = len(column)
    return bool((count / len(places)) ** 0.5 * once + len(seen) - once <= count / 5)


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
