"""Arrow tables in memory as a source: for tests, and the model of what every source promises."""

from __future__ import annotations

import difflib
import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from lading.errors import DataRefused, InvalidProject, SchemaMismatch
from lading.ports import NATIVE, Bound, Dataset, Member, Newest, Part, Query, Range, Survey, Types
from lading.sources.findings import held


def _now() -> Bound:
    now = datetime.now(UTC)
    return Bound(now, now)


@dataclass(frozen=True, eq=False)
class MemorySource:
    """Fulfils `lading.ports.Source`. ``tables`` by name, read as they are when a reading is opened.

    ``unique`` names the key sets of tables, which are believed. ``before_batch(part, batch)`` is called with the part
    and the number of the batch in it before that is given out: what it raises ends the reading.
    """

    tables: Mapping[str, pa.Table]
    known_to: Bound | Callable[[], Bound] = _now
    unique: Mapping[str, frozenset[frozenset[str]]] | None = None
    rows_per_part: int = 1 << 20
    rows_per_batch: int = 65_536
    before_batch: Callable[[Part, int], None] | None = None

    def describe(self, dataset: Dataset, types: Types, as_text: frozenset[str] = frozenset()) -> pa.Schema:
        return _schema(self._table(dataset), as_text)

    def unique_keys(self, dataset: Dataset) -> frozenset[frozenset[str]]:
        self._table(dataset)
        return (self.unique or {}).get(dataset.table or "", frozenset())

    def bound(self, dataset: Dataset | None = None) -> Bound:
        return self.known_to() if callable(self.known_to) else self.known_to

    @contextmanager
    def open(self, query: Query) -> Iterator[MemoryReading]:
        yield MemoryReading(self._table(query.dataset), query, self)

    def test(self) -> str:
        return f"{len(self.tables)} tables in memory"

    def _table(self, dataset: Dataset) -> pa.Table:
        if dataset.table is None:
            raise InvalidProject("A source in memory reads tables, not queries or files.")
        table = self.tables.get(dataset.table)
        if table is None:
            near = difflib.get_close_matches(dataset.table, self.tables, 3)
            hint = f"Did you mean {' or '.join(near)}?" if near else None
            raise SchemaMismatch(f"There is no table {dataset.table}.", hint=hint)
        return table


class MemoryReading:
    """The rows of one table, in parts of equally many."""

    replayable = True

    def __init__(self, table: pa.Table, query: Query, source: MemorySource) -> None:
        self._table, self._query, self._source = table, query, source
        self.unique_keys = source.unique_keys(query.dataset)
        self._lock = threading.Lock()
        self._superseded: Counter[str] = Counter()
        names = [*query.columns, *(bounds.column for bounds in query.ranges)]
        names += [query.member.column] if query.member else []
        names += [*query.newest.key, query.newest.order] if query.newest else []
        names += [query.newest.by] if query.newest and query.newest.by else []
        for name in names:
            if name not in table.column_names:
                raise SchemaMismatch(f'{query.dataset.table} has no column "{name}".')
        for bounds in query.ranges:
            kind = table.schema.field(bounds.column).type
            if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
                raise SchemaMismatch(f'"{bounds.column}" is {kind}; a window needs a timestamp or a date.')
        described = _schema(table, query.as_text)
        self._schema = pa.schema(described.field(name) for name in query.columns)

    def survey(self) -> Survey:
        rows, step = self._table.num_rows, self._source.rows_per_part
        if self._query.whole_parts or self._query.newest:
            step = max(rows, 1)
        starts = range(0, rows, step) or range(1)
        parts = tuple(
            Part(i, {"start": at, "rows": step}, min(step, rows - at)) for i, at in enumerate(starts)
        )
        digest = _digest(self._table, step)
        return Survey(self._schema, parts, rows, self._table.nbytes, f"memory {digest[:12]}", digest)

    def read(self, part: Part) -> Iterator[pa.RecordBatch]:
        start, rows = part.spec["start"], part.spec["rows"]
        assert isinstance(start, int)
        assert isinstance(rows, int)
        table = self._table.slice(start, rows)
        for bounds in self._query.ranges:
            table = table.filter(_within(table.column(bounds.column), bounds))
        if self._query.member:
            table = table.filter(_member(table, self._query.member))
        if self._query.newest:
            table, dropped = _newest(table, self._query.newest)
            with self._lock:
                self._superseded.update(dropped)
        table = table.select(list(self._query.columns)).cast(self._schema)
        for number, batch in enumerate(table.to_batches(max_chunksize=self._source.rows_per_batch)):
            if self._source.before_batch:
                self._source.before_batch(part, number)
            if batch.num_rows:
                yield batch

    def superseded(self) -> Mapping[str, int]:
        with self._lock:
            return dict(self._superseded)


def _schema(table: pa.Table, as_text: frozenset[str]) -> pa.Schema:
    folded: dict[str, str] = {}
    for name in table.column_names:
        if folded.setdefault(name.casefold(), name) != name or table.column_names.count(name) > 1:
            raise SchemaMismatch(f'Two columns are called "{name}" but for case.')
    fields = []
    for field in table.schema:
        kind = pa.string() if field.name in as_text else field.type
        metadata = {NATIVE: str(field.type).encode(), **(field.metadata or {})}
        fields.append(pa.field(field.name, kind, field.nullable, metadata))
    return pa.schema(fields)


def _within(column: pa.ChunkedArray, bounds: Range) -> pa.ChunkedArray:
    if column.null_count:
        raise DataRefused(
            f"{held(bounds.column, 'NULLs', column.null_count)}.",
            hint="Such a row lies in no interval.",
        )
    moments = column.cast(pa.timestamp("us"))
    inside = pa.chunked_array([pa.array([True] * len(moments), pa.bool_())])
    if bounds.start is not None:
        inside = pc.and_(inside, pc.greater_equal(moments, _naive(bounds.start)))
    if bounds.end is not None:
        inside = pc.and_(inside, pc.less(moments, _naive(bounds.end)))
    return inside


def _naive(moment: datetime) -> pa.Scalar:
    return pa.scalar(moment.astimezone(UTC).replace(tzinfo=None), pa.timestamp("us"))


def _member(table: pa.Table, member: Member) -> pa.ChunkedArray:
    text = table.column(member.column).cast(pa.string())
    return pc.or_(pc.is_in(text, pa.array(member.values, pa.string())), pc.is_null(text))


def _newest(table: pa.Table, rule: Newest) -> tuple[pa.Table, Counter[str]]:
    """What is kept, and how many are dropped by the text of ``rule.by``.

    Kept is the last of equal keys and text by order, then by place. NULL orders before all; a NULL in the key equals
    nothing.
    """
    place = pa.array(range(table.num_rows), pa.int64())
    ranked = table.select(list(dict.fromkeys([*rule.key, rule.order]))).append_column("\0place", place)
    order = [(rule.order, "descending"), ("\0place", "descending")]
    parting = list(rule.key)
    if rule.by:
        ranked = ranked.append_column("\0by", table.column(rule.by).cast(pa.string()))
        parting.append("\0by")
    ranked = ranked.take(pc.sort_indices(ranked, sort_keys=order))
    unkeyed = pc.is_null(ranked.column(rule.key[0]))
    for name in rule.key[1:]:
        unkeyed = pc.or_(unkeyed, pc.is_null(ranked.column(name)))
    first = ranked.filter(pc.invert(unkeyed)).group_by(parting, use_threads=False)
    places = first.aggregate([("\0place", "first")]).column("\0place_first").combine_chunks()
    lone = ranked.filter(unkeyed).column("\0place").combine_chunks()
    kept = pa.concat_arrays([places, lone])
    dropped = table.filter(pc.invert(pc.is_in(place, kept)))
    if rule.by:
        by = Counter(text or "" for text in dropped.column(rule.by).cast(pa.string()).to_pylist())
    else:
        by = Counter({"": dropped.num_rows} if dropped.num_rows else {})
    return table.take(kept.take(pc.sort_indices(kept))), by


def _digest(table: pa.Table, step: int) -> str:
    digest = hashlib.sha256(str(step).encode())
    with pa.ipc.new_stream(pa.PythonFile(_Hashing(digest), "w"), table.schema) as stream:
        stream.write_table(table.combine_chunks())
    return digest.hexdigest()


class _Hashing:
    """A file that only hashes what is written to it."""

    closed = False

    def __init__(self, digest: hashlib._Hash) -> None:
        self._digest = digest

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        self.closed = True
