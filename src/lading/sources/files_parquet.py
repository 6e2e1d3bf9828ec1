"""Parquet files: row groups, their statistics, and the types that Arrow sees in them.

Statistics leave a row group out only where they prove that it holds no row in the range and no NULL (Parquet format,
``Statistics.null_count``, ``min_value``, ``max_value``). Spark's INT96 has none; Arrow reads it as microseconds, which
would cut nanoseconds off, so it is read as nanoseconds beside that and compared.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lading.ports import Download, ObjectInfo, Range
from lading.sources.files_records import BATCH_ROWS, Group, Handle, Look, Tally, Wanted
from lading.sources.files_types import Column
from lading.sources.files_values import DAY

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PER_SECOND = {"milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
_AT_ONCE = (
    64 * 1024 * 1024
)  # bytes of a row group that are fetched together; a larger one streams column by column
_STREAM = 1024 * 1024
_HOLE = 64 * 1024  # bytes between columns that are cheaper to read than to ask again
_FOOTERS = 4  # that are kept: lanes read the same file, or neighbours
_PROBED = 16  # rows: few, since they may be large
_SHORTENED = {"PLAIN_DICTIONARY", "RLE_DICTIONARY", "DELTA_BYTE_ARRAY"}  # a long value may take few bytes
_PLACE = 5  # bytes of an offset and of what says whether there is a value


class ParquetFiles:
    """Fulfils `lading.sources.files_records.Kind`."""

    alike = True

    def __init__(self) -> None:
        self._footers: dict[ObjectInfo, Any] = {}
        self._lock = threading.Lock()

    def _opened(self, file: Download, info: ObjectInfo) -> Any:
        """The file, its footer read once for all its parts: Arrow's footer and the schema in it hold each other, and so
        stay, some ten times as large as in the file, until Python looks for such pairs."""
        opened = _open(file, self._footers.get(info))
        groups = range(opened.metadata.num_row_groups)
        if sum(opened.metadata.row_group(index).num_rows for index in groups) != opened.metadata.num_rows:
            raise OSError("the rows of the row groups are not the file's")
        with self._lock:
            self._footers.setdefault(info, opened.metadata)
            if len(self._footers) > _FOOTERS:
                del self._footers[next(iter(self._footers))]
        return opened

    def look(self, file: Download, info: ObjectInfo, ranges: Sequence[Range]) -> Look:
        opened = self._opened(file, info)
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
        footer = self._opened(file, wanted.file)
        names = [column.name for column in wanted.columns]
        leaves = dict(zip(footer.schema_arrow.names, _roots(footer), strict=True))
        projected = [leaf for name in names for leaf in leaves[name]]
        spark = [name for name in names if any(_physical(footer, leaf) == "INT96" for leaf in leaves[name])]
        kinds = [str(column.type) for column in wanted.columns]
        shared = any("dictionary<" in kind or "_view" in kind for kind in kinds)  # larger than they look
        near = min(_AT_ONCE, 8 * wanted.batch_bytes)
        for index in groups:
            group = footer.metadata.row_group(index)
            spans = _spans(group, projected)
            if sum(map(len, spans)) > near:
                spans = []
            rows = max(1, min(BATCH_ROWS, int(wanted.batch_bytes / _width(file, footer, index, projected))))
            if spark:
                _refuse_nanoseconds(file, footer.metadata, index, spark, rows, tally)

            def begin(rows: int, index: int = index, spans: list[range] = spans) -> Iterator[pa.RecordBatch]:
                reader = _open(file, footer.metadata, spans=spans)
                found: Iterator[pa.RecordBatch] = reader.iter_batches(rows, [index], names, use_threads=False)
                return found

            steps = _steps(begin, rows, group.num_rows, wanted.batch_bytes)
            yield from steps if shared else _gathered(steps, wanted.batch_bytes)


def _width(file: Download, footer: Any, index: int, leaves: Sequence[int]) -> float:
    """Bytes of a row of the group in memory, on average; of values that the file keeps once or shortens, at most."""
    group = footer.metadata.row_group(index)
    kinds = [kind for field in footer.schema_arrow for kind in _leaves(field.type)]
    shortened = [
        leaf
        for leaf in leaves
        if _fixed(kinds[leaf]) is None and _SHORTENED.intersection(group.column(leaf).encodings)
    ]
    longest = _longest(file, footer, index, shortened)
    size: float = 1
    for leaf in leaves:
        chunk, fixed = group.column(leaf), _fixed(kinds[leaf])
        size += chunk.num_values * (_PLACE + (longest.get(leaf, 0) if fixed is None else fixed))
        size += chunk.total_uncompressed_size if fixed is None else 0
    return size / max(int(group.num_rows), 1)


def _longest(file: Download, footer: Any, index: int, leaves: Sequence[int]) -> dict[int, int]:
    """By leaf, the bytes of the longest value in its dictionary, and in the first rows."""
    if not leaves:
        return {}
    group = footer.metadata.row_group(index)
    paths = [group.column(leaf).path_in_schema for leaf in leaves]
    try:
        reader = _open(file, footer.metadata, dictionaries=paths)
        first = _first(reader, index, paths)
    except OSError:  # DELTA_BYTE_ARRAY in place of a dictionary, which Arrow makes none of
        reader = _open(file, footer.metadata)
        first = _first(reader, index, paths)
    texts = [values for column in first.columns for values in _texts(column)]
    if len(texts) != len(leaves):
        raise OSError("the footer's columns are not its schema's")
    lengths = (pc.max(pc.binary_length(values)).as_py() or 0 for values in texts)
    return dict(zip(leaves, lengths, strict=True))


def _first(reader: Any, index: int, paths: Sequence[str]) -> pa.RecordBatch:
    for batch in reader.iter_batches(_PROBED, [index], paths, use_threads=False):
        return batch
    raise OSError("a row group gave no rows")


def _texts(array: Any) -> Iterator[Any]:
    """The strings and bytes in a column, however deep; of dictionaries all that they hold."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        yield from _texts(array.storage)
    elif pa.types.is_dictionary(kind):
        yield from _texts(array.dictionary)
    elif pa.types.is_struct(kind):
        for place in range(kind.num_fields):
            yield from _texts(array.field(place))
    elif pa.types.is_map(kind):
        yield from _texts(array.keys)
        yield from _texts(array.items)
    elif pa.types.is_nested(kind):
        yield from _texts(array.values)
    elif _fixed(kind) is None:
        yield array.cast(pa.large_binary())


def _steps(
    begin: Callable[[int], Iterator[pa.RecordBatch]], rows: int, total: int, most: int
) -> Iterator[pa.RecordBatch]:
    """The batches of a group of ``total`` rows; OSError where it has others. Where one is far larger than ``most``
    bytes, those after it are read anew with fewer rows: Arrow cannot change their number on the way."""
    done = 0
    while done < total:
        at = 0
        for batch in begin(rows):
            fresh = batch.slice(max(0, done - at))
            at += batch.num_rows
            if fresh.num_rows:
                done = at
                yield fresh
                if batch.nbytes > 2 * most and batch.num_rows > 1:
                    rows = max(1, batch.num_rows * most // batch.nbytes)
                    break
        else:
            break
    if done != total:  # Arrow goes by what columns say of themselves, and takes too few for the end
        raise OSError(f"a row group of {total} rows gave {done}")


def _gathered(batches: Iterator[pa.RecordBatch], most: int) -> Iterator[pa.RecordBatch]:
    """Small batches put together, up to ``most`` bytes and `BATCH_ROWS` rows."""
    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        if held and (size + batch.nbytes > most or rows + batch.num_rows > BATCH_ROWS):
            yield _one(held)
            held, rows, size = [], 0, 0
        held.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
    if held:
        yield _one(held)


def _one(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def _open(
    file: Download,
    metadata: Any = None,
    *,
    spans: Sequence[range] = (),
    int96: str = "us",
    dictionaries: Sequence[str] = (),
) -> Any:
    try:
        return pq.ParquetFile(
            pa.PythonFile(_Fetched(file, spans) if spans else Handle(file), mode="r"),
            metadata=metadata,
            read_dictionary=list(dictionaries) or None,
            pre_buffer=False,  # it reads in threads of Arrow's, which a reading that fails leaves behind
            buffer_size=0 if spans else _STREAM,
            coerce_int96_timestamp_unit=int96,
            page_checksum_verification=True,
            arrow_extensions_enabled=True,
        )
    except KeyError as error:
        raise OSError("the footer names columns that its schema does not") from error


class _Fetched:
    """A file as Arrow wants files, of which some spans are fetched first, each in one reading. Bound methods kept in
    it, as `Handle` has them, would hold it, and the spans, until Python looks for such pairs."""

    def __init__(self, file: Download, spans: Sequence[range]) -> None:
        self._file, self._at = file, 0
        self._held = [(span, self._fetch(span.start, len(span))) for span in spans]
        self.closed = False

    def read(self, size: int = -1, /) -> bytes | memoryview:
        span, data = next(((s, d) for s, d in self._held if self._at in s), (range(0), b""))
        end = self._at + size
        found: bytes | memoryview
        if size >= 0 and end <= span.stop:
            found = memoryview(data)[self._at - span.start : end - span.start]  # no second copy of it
        else:
            found = self._fetch(self._at, size)
        self._at += len(found)
        return found

    def seek(self, offset: int, whence: int = 0, /) -> int:
        if whence == 1:
            offset, whence = offset + self._at, 0
        self._at = self._file.seek(offset, whence) if whence else offset
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        """The download is closed by who opened it."""
        self.closed = True

    def _fetch(self, start: int, size: int) -> bytes:
        if start < 0:
            raise OSError("the footer names a place before the file")
        self._file.seek(start)
        return self._file.read(size)


def _spans(group: Any, leaves: Sequence[int]) -> list[range]:
    """Where the chunks of these columns lie in the file; neighbours are one."""
    found: list[range] = []
    chunks = [group.column(leaf) for leaf in leaves]
    starts = ((c.dictionary_page_offset or c.data_page_offset, c.total_compressed_size) for c in chunks)
    for start, size in sorted(starts):
        if found and start - found[-1].stop <= _HOLE:
            found[-1] = range(found[-1].start, max(found[-1].stop, start + size))
        else:
            found.append(range(start, start + size))
    return found


def _roots(opened: Any) -> list[range]:
    """The leaves of each of the schema's columns, as Parquet counts them."""
    found, at = [], 0
    for field in opened.schema_arrow:
        size = len(_leaves(field.type))
        found.append(range(at, at + size))
        at += size
    return found


def _leaves(kind: Any) -> list[Any]:
    """The types of the leaves of a column, as Parquet has them."""
    if isinstance(kind, pa.BaseExtensionType):
        return _leaves(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _leaves(kind.value_type)
    if not pa.types.is_nested(kind):
        return [kind]
    return [leaf for place in range(kind.num_fields) for leaf in _leaves(kind.field(place).type)]


def _fixed(kind: Any) -> int | None:
    """Bytes of a value, where all have as many."""
    try:
        return int(-(-kind.bit_width // 8))
    except ValueError:
        return None


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


def _refuse_nanoseconds(
    file: Download, metadata: Any, index: int, names: list[str], rows: int, tally: Tally
) -> None:
    """Both readings wrap around alike, so their difference is what lies below a microsecond, in any year."""
    readings = [
        _open(file, metadata, int96=unit).iter_batches(rows, [index], names, use_threads=False)
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
