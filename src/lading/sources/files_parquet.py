"""Parquet files: row groups, their statistics, and the types that Arrow sees in them.

Statistics leave a row group out only where they prove that it holds no row in the range and no NULL (Parquet format,
``Statistics.null_count``, ``min_value``, ``max_value``). Spark's INT96 has none; Arrow reads it as microseconds, which
would cut nanoseconds off, so it is read as nanoseconds beside that and compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lading.ports import Download, Range
from lading.sources.files_records import BATCH_BYTES, BATCH_ROWS, Group, Handle, Look, Tally, Wanted
from lading.sources.files_types import Column
from lading.sources.files_values import DAY

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PER_SECOND = {"milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
_AT_ONCE = (
    64 * 1024 * 1024
)  # bytes of a row group that are fetched together; a larger one streams column by column
_STREAM = 1024 * 1024
_DICTIONARIES = 4  # values may be larger than their encoding


class ParquetFiles:
    """Fulfils `lading.sources.files_records.Kind`."""

    alike = True

    def look(self, file: Download, size: int, ranges: Sequence[Range]) -> Look:
        opened = _open(file)
        roots = _roots(opened)
        columns = tuple(
            Column(
                field.name,
                field.type,
                _native(opened, leaves) or str(field.type),
                field.nullable,
                refused="an interval in Parquet's own form has no type that recipients could read"
                if any(_converted(opened, leaf) == "INTERVAL" for leaf in leaves)
                else "",
            )
            for field, leaves in zip(opened.schema_arrow, roots, strict=True)
        )
        proofs = [(r, leaves[0]) for r in ranges for f, leaves in zip(opened.schema_arrow, roots, strict=True)
                  if f.name == r.column and len(leaves) == 1]  # fmt: skip
        groups = []
        for index in range(opened.metadata.num_row_groups):
            group = opened.metadata.row_group(index)
            if group.num_rows and not any(
                _is_outside(opened, group, leaf, bounds) for bounds, leaf in proofs
            ):
                groups.append(Group(index, group.total_byte_size, group.num_rows))
        return Look(columns, tuple(groups))

    def read(
        self, file: Download, wanted: Wanted, groups: Sequence[int], tally: Tally
    ) -> Iterator[pa.RecordBatch]:
        footer = _open(file)
        names = [column.name for column in wanted.columns]
        leaves = dict(zip(footer.schema_arrow.names, _roots(footer), strict=True))
        projected = [leaf for name in names for leaf in leaves[name]]
        spark = [name for name in names if any(_physical(footer, leaf) == "INT96" for leaf in leaves[name])]
        for index in groups:
            if spark:
                _refuse_nanoseconds(file, footer.metadata, index, spark, tally)
            group = footer.metadata.row_group(index)
            chunks = [group.column(leaf) for leaf in projected]
            at_once = sum(chunk.total_compressed_size for chunk in chunks) <= _AT_ONCE
            width = (
                sum(chunk.total_uncompressed_size for chunk in chunks)
                * _DICTIONARIES
                // max(group.num_rows, 1)
            )
            reader = _open(file, footer.metadata, at_once=at_once)
            rows = max(1, min(BATCH_ROWS, BATCH_BYTES // max(width, 1)))
            yield from reader.iter_batches(rows, row_groups=[index], columns=names, use_threads=False)


def _open(file: Download, metadata: Any = None, *, at_once: bool = False, int96: str = "us") -> Any:
    return pq.ParquetFile(
        pa.PythonFile(Handle(file), mode="r"),
        metadata=metadata,
        pre_buffer=at_once,
        buffer_size=0 if at_once else _STREAM,
        coerce_int96_timestamp_unit=int96,
        page_checksum_verification=True,
        arrow_extensions_enabled=True,
    )


def _roots(opened: Any) -> list[range]:
    """The leaves of each of the schema's columns, as Parquet counts them."""
    found, at = [], 0
    for field in opened.schema_arrow:
        size = _leaves(field.type)
        found.append(range(at, at + size))
        at += size
    return found


def _leaves(kind: Any) -> int:
    if isinstance(kind, pa.BaseExtensionType):
        return _leaves(kind.storage_type)
    if pa.types.is_dictionary(kind) or not pa.types.is_nested(kind):
        return 1
    return sum(_leaves(kind.field(i).type) for i in range(kind.num_fields))


def _physical(opened: Any, leaf: int) -> str:
    return str(opened.schema.column(leaf).physical_type)


def _converted(opened: Any, leaf: int) -> str:
    return str(opened.schema.column(leaf).converted_type)


def _native(opened: Any, leaves: range) -> str:
    """Parquet's name of the type, where it says more than Arrow's."""
    return "int96" if len(leaves) == 1 and _physical(opened, leaves[0]) == "INT96" else ""


def _is_outside(opened: Any, group: Any, leaf: int, bounds: Range) -> bool:
    """Whether no row of the group can lie in the range, and none is NULL."""
    per_second = _ticks_per_second(opened.schema.column(leaf))
    statistics = group.column(leaf).statistics
    if per_second is None or statistics is None or not statistics.has_min_max:
        return False
    if not statistics.has_null_count or statistics.null_count:
        return False
    least, most = statistics.min_raw, statistics.max_raw
    before = bounds.start is not None and most < _ticks(bounds.start, per_second)
    after = bounds.end is not None and least >= _ticks(bounds.end, per_second)
    return before or after


def _ticks_per_second(column: Any) -> float | None:
    """Of a timestamp or date; None for anything else."""
    if column.physical_type not in ("INT64", "INT32"):
        return None
    logical = json.loads(column.logical_type.to_json())
    if logical["Type"] == "Timestamp":
        return _PER_SECOND.get(logical["timeUnit"])
    return 1 / 86_400 if logical["Type"] == "Date" else None


def _ticks(moment: datetime, per_second: float) -> int:
    """The first tick that is not before the moment."""
    micros = (moment - _EPOCH) // timedelta(microseconds=1)
    if per_second < 1:
        return -(-micros // DAY)
    return -(-micros * int(per_second) // 1_000_000)


def _refuse_nanoseconds(file: Download, metadata: Any, index: int, names: list[str], tally: Tally) -> None:
    """Both readings wrap around alike, so their difference is what lies below a microsecond, in any year."""
    readings = [
        _open(file, metadata, int96=unit).iter_batches(BATCH_ROWS, [index], names, use_threads=False)
        for unit in ("us", "ns")
    ]
    for micros, nanos in zip(*readings, strict=True):
        for name in names:
            less, more = _moments(micros.column(name)), _moments(nanos.column(name))
            for us, ns in zip(less, more, strict=True):
                rest = pc.not_equal(ns, pc.multiply(us, 1000))
                tally.add(name, "values with nanoseconds", pc.sum(rest).as_py() or 0)


def _moments(array: Any) -> Iterator[Any]:
    """The timestamps in a column, however deep, as integers."""
    if pa.types.is_timestamp(array.type):
        yield array.view(pa.int64())
    elif pa.types.is_struct(array.type):
        for child in array.flatten():
            yield from _moments(child)
    elif pa.types.is_map(array.type):
        yield from _moments(array.keys)
        yield from _moments(array.items)
    elif pa.types.is_nested(array.type):
        yield from _moments(array.flatten())
