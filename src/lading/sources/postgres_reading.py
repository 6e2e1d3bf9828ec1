"""One reading of PostgreSQL: every part in one exported snapshot, each thread on a connection of its own."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from lading.errors import DataRefused, IntegrityError, LadingError, SchemaMismatch, SourceUnavailable
from lading.ports import NATIVE, Part, Query, Survey
from lading.sources import postgres_sql as sql
from lading.sources.findings import held
from lading.sources.postgres_catalog import Column, Connection, Described
from lading.sources.postgres_duckdb import FAILURES, Lane
from lading.sources.postgres_errors import failed_statement, in_another_language, is_passing, server_said
from lading.sources.postgres_pace import VECTOR_ROWS, Pace
from lading.sources.postgres_parts import Order, Point, Span, spans
from lading.sources.postgres_standing import Standing
from lading.sources.postgres_types import Noticed, arrive, carry, field, has_zero, unfit

UNCUT_ROWS = 256  # of a batch of what cannot be read in slices: smaller ones take longer

_WINDOWS = ("date", "timestamp", "timestamptz")
_NO_INTERVAL = "Such a row lies in no interval. Fill the column, or read a query that decides about it."
_AS_STRING = "Declare the field a string in the contract to get PostgreSQL's own text."


@dataclass(frozen=True, slots=True)
class Cut:
    """A part: the whole target, a span of it, or pages ``start`` to ``end`` of a heap (open-ended where ``end`` is
    None)."""

    target: sql.Target
    start: int = 0
    end: int | None = None
    pages: int = 0  # of the heap, where it can be cut; else 0
    relation: int = 0  # oid, where it is read alone; 0: all that the query reads
    order: Order | None = None
    span: Span | None = None

    @property
    def last(self) -> int:
        """The page after the last."""
        return self.pages if self.end is None else self.end

    @property
    def where(self) -> list[str]:
        if self.order is not None and self.span is not None:
            return self.order.between(self.span.low, self.span.high)
        if not self.start and self.end is None:
            return []
        return [sql.pages((self.start, 0), (self.end, 0) if self.end is not None else None)]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Rows that end the reading, by an SQL condition."""

    column: str
    condition: str
    why: str
    hint: str
    noticed: Noticed


class PostgresReading:
    """Reads ``query`` of what was ``described``, in the snapshot that ``control``'s transaction exported.

    ``connect`` gives a new connection; ``conninfo`` is libpq's connection string for DuckDB, whose transactions start
    with ``begin``. ``standing`` keeps the locks.
    """

    def __init__(
        self,
        query: Query,
        described: Described,
        control: Connection,
        connect: Callable[..., Connection],
        conninfo: str,
        *,
        standing: Standing,
        begin: str,
        unique: frozenset[frozenset[str]],
        part_bytes: int,
    ) -> None:
        self._query, self._described, self._batch_bytes = query, described, query.batch_bytes
        self._control, self._connect, self._conninfo = control, connect, conninfo
        self._standing, self._begin = standing, begin
        self.unique_keys = (
            unique  # looked up before the snapshot was taken, under locks that keep every index
        )
        self._lock = threading.Lock()
        self._idle: list[Lane] = []
        self._lanes: set[Lane] = set()
        self._closed = False
        self._superseded: Counter[str] = Counter()
        alone = described.kind == "r" and not described.unproven
        self._whole = Cut(described.target, relation=described.oid if alone else 0)
        natives = {name: described.column(name).native for name in query.columns}
        self._carried = [carry(natives[n], query.types, as_text=n in query.as_text) for n in query.columns]
        self._schema = pa.schema(
            field(name, natives[name], carried, nullable=described.columns[name].nullable)
            for name, carried in zip(query.columns, self._carried, strict=True)
        )
        self._refusals = list(self._find_refusals())
        self._where = list(self._find_where())
        self._keep = self._by = ""
        if query.newest and not any(key <= {*query.newest.key, query.newest.by} for key in unique):
            for name in (*query.newest.key, query.newest.order):
                described.column(name)
            ties = {"p": ", q.tableoid desc, q.ctid desc", "r": ", q.tableoid desc, q.ctid desc"}
            self._by = self._text_of(query.newest.by) if query.newest.by else ""
            self._keep = sql.newest(query.newest, ties=ties.get(described.kind, ""), by=self._by)
        cuttable = query.immutable and not query.newest and not query.whole_parts
        self._order = Order.of(described, unique, query.ranges[0].column) if cuttable else None
        self.replayable = self._order is not None
        self._snapshot, self._snapshot_text = self._export()
        self._survey, self._cuts = self._look(part_bytes)

    # --- before the first row ---------------------------------------------------------------------------------------

    def survey(self) -> Survey:
        return self._survey

    def superseded(self) -> Mapping[str, int]:
        with self._lock:
            return dict(self._superseded)

    def _find_refusals(self) -> Iterator[Refusal]:
        own = {name for name, c in zip(self._query.columns, self._carried, strict=True) if c.refuses}
        for name, bounds in {bounds.column: bounds for bounds in self._query.ranges}.items():
            column = self._window(name)
            if column.nullable:
                yield Refusal(name, f"{sql.column(name)} is null", "NULLs", _NO_INTERVAL, "row")
            if name not in own:  # what is delivered refuses its infinities itself
                infinite = sql.infinite(bounds, column.native.base)
                yield Refusal(name, infinite, "infinite values", _NO_INTERVAL, "row")
        for name, carried in zip(self._query.columns, self._carried, strict=True):
            if carried.refuses:
                condition = carried.refuses.replace("{c}", sql.column(name))
                yield Refusal(name, condition, carried.why, _AS_STRING, carried.noticed)

    def _find_where(self) -> Iterator[str]:
        for bounds in self._query.ranges:
            column = self._window(bounds.column)
            yield sql.within(bounds, column.native.base, nullable=column.nullable)
        member = self._query.member
        if member:
            yield sql.member(self._text_of(member.column), member.column, member.values)

    def _window(self, name: str) -> Column:
        column = self._described.column(name)
        if column.native.base not in _WINDOWS or column.native.element:
            raise SchemaMismatch(
                f'Column "{name}" of {self._described.what} is {column.native.name}.',
                hint="A window needs a timestamp or a date.",
            )
        return column

    def _text_of(self, name: str) -> str:
        """The text that others will see of the column."""
        native = self._described.column(name).native
        carried = carry(native, self._query.types, as_text=name in self._query.as_text)
        text = carried.sql if carried.wire == pa.string() and not carried.padded else "({c})::text"
        return text.replace("{c}", sql.column(name))

    def _export(self) -> tuple[str, str]:
        row = self._control.execute("select pg_export_snapshot(), pg_current_snapshot()::text").fetchone()
        assert row is not None
        return str(row[0]), str(row[1])

    def _look(self, part_bytes: int) -> tuple[Survey, list[Cut]]:
        """Estimates, and parts: pages of each heap, or all in one."""
        plan = self._control.execute(
            f"explain (format json) {self._statement(self._whole)}", binary=True
        ).fetchone()
        assert plan is not None
        rows, width = int(plan[0][0]["Plan"]["Plan Rows"]), int(plan[0][0]["Plan"]["Plan Width"])
        stored, heap, live, cuts = rows * width, 0, 0, [self._whole]
        lines = block = 1
        if self._described.kind in ("r", "p"):
            block = int(self._scalar("select current_setting('block_size')"))
            leaves = self._control.execute(sql.LEAVES, {"oid": self._described.oid}).fetchall()
            stored = sum(leaf[3] for leaf in leaves)
            heap = sum(leaf[2] for leaf in leaves)
            live = sum(leaf[5] for leaf in leaves)  # 0 where it was never analysed
            lines = block // 28 + 1  # line pointer and tuple header: no page holds more rows
            if all(leaf[4] for leaf in leaves) and not self._keep:
                cuts = list(self._cut(leaves, block, part_bytes)) or cuts
        width = max(width, stored // max(live or rows, 1), 1)  # as stored: compressed, if it can be
        dense = max(1, (live or rows) // max(1, heap // block))
        self._pace = Pace(self._batch_bytes, width=width, dense=dense, lines=lines)
        if self._order is not None:
            return self._look_in_order(self._order, stored, max(1, part_bytes // width))
        parts = tuple(
            Part(i, {"relation": cut.target.text, "start": cut.start, "end": cut.end}, rows // len(cuts))
            for i, cut in enumerate(cuts)
        )
        return Survey(self._schema, parts, rows, stored, self._snapshot_text), cuts

    def _look_in_order(self, order: Order, stored: int, step: int) -> tuple[Survey, list[Cut]]:
        """Parts of equally many rows, in the order that every reading of the same rows has."""
        target, step = self._whole.target, self._query.step or step
        found = self._control.execute(order.starts(target, self._where, step)).fetchall()
        starts: list[tuple[int, Point]] = [(n, tuple(place)) for n, *place in found]
        if any(text is None for _, place in starts for text in place):
            raise self._refuse(self._whole)
        cuts = [replace(self._whole, order=order, span=span) for span in spans(starts, step)]
        parts = tuple(
            Part(i, {"relation": target.text, "from": i * step, "rows": cut.span.rows}, cut.span.rows)
            for i, cut in enumerate(cuts)
            if cut.span is not None
        )
        rows = sum(part.rows or 0 for part in parts)
        version = self._version([*order.columns, step, rows, starts])
        return Survey(self._schema, parts, rows, stored, self._snapshot_text, version, step), cuts

    def _version(self, cut: list[Any]) -> str:
        """A hash, since places are values of the table. Empty where it cannot be known which server this is."""
        if not self._scalar(sql.MAY_IDENTIFY):
            return ""
        place = self._control.execute(sql.IDENTITY).fetchone()
        columns = [[f.name, str(f.type), f.nullable, f.metadata[NATIVE].decode()] for f in self._schema]
        known = json.dumps([place, self._described.oid, columns, cut])
        return hashlib.sha256(known.encode()).hexdigest()

    def _cut(self, leaves: list[tuple[Any, ...]], block: int, part_bytes: int) -> Iterator[Cut]:
        if self._query.whole_parts:
            if self._described.kind == "r":
                pages = max(1, *(leaf[2] // block for leaf in leaves))
                yield replace(self._whole, pages=pages)
            return
        for schema, name, size, *_, oid, only in leaves:
            target = sql.Target.relation(schema, name, only=only)
            pages = max(1, size // block)
            step = _even(pages, max(1, part_bytes // block), self._query.lanes)
            for start in range(0, pages, step):
                end = start + step if start + step < pages else None
                yield Cut(target, start, end, pages, oid)

    def _scalar(self, statement: str, *values: object) -> Any:
        row = self._control.execute(statement, values or None).fetchone()
        assert row is not None
        return row[0]

    # --- rows -------------------------------------------------------------------------------------------------------

    def read(self, part: Part) -> Iterator[pa.RecordBatch]:
        cut = self._cuts[part.index]
        lane, done, read = self._take(), False, 0
        doubtful = self._doubtful(cut)
        try:
            lane.begin(self._snapshot, self._begin)
            self._sample(lane, cut)
            for statement, asked in self._statements(cut):
                size = 0
                rows = self._pace.rows if cut.pages or cut.span else UNCUT_ROWS
                for batch in self._pace.gather(lane.read(statement, rows)):
                    size += batch.nbytes
                    read += batch.num_rows
                    yield from self._arrive(batch, cut, doubtful)
                if asked:
                    self._pace.took(asked, size)
                self._refuse_closed()  # a stream whose DuckDB was closed just ends
            self._standing.confirm(cut.relation)
            if cut.span is not None and read != cut.span.rows:
                raise IntegrityError(
                    f"{self._described.what}: a part of {cut.span.rows:,} rows gave {read:,}.",
                    hint="An index may be damaged (amcheck tells), or this is a fault of Lading. "
                    "Leave immutable_rows out to read the table page by page.",
                )
            done = True
        except FAILURES as error:
            raise self._explain(str(error), lane.pid, cut) from None
        finally:
            self._give_back(lane, done)

    def _shown(self) -> list[str]:
        return [
            carried.sql.replace("{c}", sql.column(name))
            for name, carried in zip(self._query.columns, self._carried, strict=True)
        ]

    def _statement(self, cut: Cut, extra: tuple[str, ...] | None = None) -> str:
        along = ("row",) if self._is_asked_about(cut) else ("row", "zero")
        guards = [f"({refusal.condition})" for refusal in self._refusals if refusal.noticed in along]
        return sql.select(
            cut.target,
            self._shown(),
            [*(cut.where if extra is None else extra), *self._where],
            guard=f"({' or '.join(guards)})" if guards else "",
            keep=self._keep,
            by=self._by,
        )

    def _sample(self, lane: Lane, cut: Cut) -> None:
        """Looks at a few rows all over the part. How wide they are shows neither in what is stored, which may be
        compressed, nor in the planner's estimate."""
        places = ",".join(f'"({page},{line})"' for page, line in self._pace.sample(cut.start, cut.last))
        if not places:
            return
        sample = sql.select(cut.target, self._shown(), [f"q.ctid = any('{{{places}}}'::tid[])", *self._where])
        for batch in lane.read(sample, VECTOR_ROWS):
            self._pace.weigh(batch)

    def _statements(self, cut: Cut) -> Iterator[tuple[str, int]]:
        """One statement, or, where rows are wide, many, each for about so many bytes: of pages, of lines in one, or of
        rows in their order. With each, how many rows it asks for; 0: all that are left."""
        if self._pace.wide is not False and cut.order is not None and cut.span is not None:
            yield from self._slices(cut, cut.order, cut.span)
            return
        if not (self._pace.wide and cut.pages):
            yield self._statement(cut), 0
            return
        for start, end, asked in self._pace.slices(cut.start, cut.last):
            yield self._statement(cut, (sql.pages(start, end),)), asked
        if cut.end is None:
            yield self._statement(cut, (sql.pages((cut.last, 0), None),)), 0

    def _slices(self, cut: Cut, order: Order, span: Span) -> Iterator[tuple[str, int]]:
        low = span.low
        while True:
            step, rest = self._pace.slice_rows, [*order.between(low, span.high), *self._where]
            try:
                high = self._control.execute(order.after(cut.target, rest, step)).fetchone()
            except psycopg.Error as error:
                raise failed_statement(error, self._described.what) from None
            yield self._statement(cut, tuple(order.between(low, high or span.high))), step
            if high is None:
                return
            low = high
            if not self._pace.wide:
                yield self._statement(cut, tuple(order.between(low, span.high))), 0
                return

    def _is_asked_about(self, cut: Cut) -> bool:
        """Whether PostgreSQL can be asked about its rows once more: what is no table may give others then, and of a
        whole table perhaps only the first few are wanted."""
        return bool(cut.pages) and not self._query.whole_parts

    def _doubtful(self, cut: Cut) -> dict[int, Refusal]:
        """By place, the columns of a part in which a zero may be none."""
        if not self._is_asked_about(cut):
            return {}
        places = {name: place for place, name in enumerate(self._query.columns)}
        return {places[each.column]: each for each in self._refusals if each.noticed == "zero"}

    def _arrive(
        self, batch: pa.RecordBatch, cut: Cut, doubtful: dict[int, Refusal]
    ) -> Iterator[pa.RecordBatch]:
        """``doubtful``: loses those of which PostgreSQL has now said that every zero is one."""
        arrays = [arrive(batch.column(i), carried) for i, carried in enumerate(self._carried)]
        suspicious = "guard" in batch.schema.names and pc.any(batch.column("guard")).as_py()
        if suspicious or any(unfit(array) for array in arrays):
            raise self._refuse(cut)
        asked = {place: refusal for place, refusal in doubtful.items() if has_zero(arrays[place])}
        found = self._count_refused(cut, list(asked.values())) if asked else []
        if isinstance(found, LadingError):
            self._refuse_closed()
            raise found
        if found:
            raise self._refuse(cut)
        for place in asked:
            del doubtful[place]
        out = pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        if self._keep:
            kept = out.filter(batch.column("keep"))
            self._drop(batch)
            out = kept
        pieces = min(out.num_rows, -(-out.nbytes // self._batch_bytes))
        step = -(-out.num_rows // pieces) if pieces else 1
        for start in range(0, out.num_rows, step):
            yield out.slice(start, step)

    def _drop(self, batch: pa.RecordBatch) -> None:
        dropped = batch.filter(pc.invert(batch.column("keep")))
        if not dropped.num_rows:
            return
        by = Counter({"": dropped.num_rows})
        if "by" in batch.schema.names:
            counted = pc.value_counts(dropped.column("by")).to_pylist()
            by = Counter({pair["values"] or "": pair["counts"] for pair in counted})
        with self._lock:
            self._superseded.update(by)

    # --- failures ---------------------------------------------------------------------------------------------------

    def _refuse(self, cut: Cut) -> LadingError:
        """Counts, in the same snapshot, what may not be there."""
        self._standing.confirm(cut.relation)
        found = self._count_refused(cut, self._refusals)
        if isinstance(found, LadingError):
            return found
        said = [held(refusal.column, refusal.why, n) for refusal, n in found]
        hints = dict.fromkeys(refusal.hint for refusal, _ in found)
        return DataRefused(f"{self._described.what}: {'; '.join(said)}.", hint=" ".join(hints))

    def _count_refused(
        self, cut: Cut, refusals: Sequence[Refusal]
    ) -> list[tuple[Refusal, int]] | LadingError:
        conditions = [f"({refusal.condition})" for refusal in refusals]
        try:
            statement = sql.count(cut.target, conditions, [*cut.where, *self._where])
            row = self._control.execute(statement, binary=True).fetchone()
        except psycopg.Error as error:
            return failed_statement(error, self._described.what, rows=True)
        assert row is not None
        return [(refusal, n) for refusal, n in zip(refusals, row, strict=True) if n]

    def _explain(self, said: str, pid: int, cut: Cut) -> LadingError:
        """Why DuckDB failed: its message has no SQLSTATE and may hold the connection string, so PostgreSQL is asked."""
        what = self._described.what
        if self._closed:
            return SourceUnavailable(f"The reading of {what} was closed.")
        try:
            self._control.execute("select 1")  # without it the snapshot is gone
            with self._connect() as connection:
                alive = connection.execute("select 1 from pg_stat_activity where pid = %s", (pid,)).fetchone()
                if pid and alive is None:
                    return SourceUnavailable(f"PostgreSQL ended the session that read {what}.")
                self._standing.confirm(cut.relation)
                connection.execute(f"explain {self._statement(cut)}", binary=True)
        except psycopg.Error as error:
            return failed_statement(error, what)
        except LadingError as error:
            return error
        if is_passing(server_said(said)):
            return SourceUnavailable(f"PostgreSQL interrupted the reading of {what}: {server_said(said)}.")
        if self._refusals:
            found = self._count_refused(cut, self._refusals)
            if found:
                return found if isinstance(found, LadingError) else self._refuse(cut)
        if in_another_language(said):
            return self._ask_again(cut)
        return DataRefused(f"{what} could not be read: {server_said(said)}.")

    def _ask_again(self, cut: Cut) -> LadingError:
        """What a server that does not speak English meant: only to a driver of our own does it tell an SQLSTATE."""
        what = self._described.what
        try:
            with self._connect("repeatable read") as connection, connection.cursor() as cursor:
                cursor.execute(f"set transaction snapshot {sql.literal(self._snapshot)}")
                with cursor.copy(f"copy ({self._statement(cut)}) to stdout (format binary)") as rows:
                    for _ in rows:
                        pass
        except psycopg.Error as error:
            return failed_statement(error, what, rows=True)
        except LadingError as error:
            return error
        return SourceUnavailable(f"PostgreSQL interrupted the reading of {what}.")

    # --- lanes ------------------------------------------------------------------------------------------------------

    def pids(self) -> list[int]:
        """Of the PostgreSQL backends that read at this moment."""
        with self._lock:
            return [lane.pid for lane in self._lanes if lane.pid]

    def close(self) -> None:
        """Ends every part that is being read."""
        with self._lock:
            self._closed = True
            lanes, self._idle = list(self._lanes), []
            self._lanes.clear()
        if any(lane.pid for lane in lanes):
            with suppress(psycopg.Error):
                self._control.cancel_safe()  # a question about the rows, which would be waited for
        for lane in lanes:
            self._cancel(lane)
            lane.close()

    def _take(self) -> Lane:
        self._refuse_closed()
        with self._lock:
            if self._idle:
                return self._idle.pop()
        try:
            lane = Lane(self._conninfo)
        except FAILURES:
            self._connect().close()  # says why, where it is PostgreSQL that refuses
            raise SourceUnavailable("PostgreSQL cannot be reached.") from None
        with self._lock:
            self._lanes.add(lane)
        return lane

    def _refuse_closed(self) -> None:
        if self._closed:
            raise SourceUnavailable(f"The reading of {self._described.what} was closed.")

    def _give_back(self, lane: Lane, done: bool) -> None:
        if not done:
            self._cancel(lane)
        fit = lane.end()
        with self._lock:
            if done and fit and not self._closed:
                self._idle.append(lane)
                return
            self._lanes.discard(lane)
        lane.close()

    def _cancel(self, lane: Lane) -> None:
        """A COPY that nobody reads to its end would be sent to its end by the rollback."""
        if not lane.pid:
            return
        try:
            self._control.execute(sql.CANCEL, (lane.pid,))
        except psycopg.errors.InFailedSqlTransaction:  # a question about the rows has failed
            with suppress(LadingError, psycopg.Error), closing(self._connect()) as connection:
                connection.execute(sql.CANCEL, (lane.pid,))
        except psycopg.Error:  # the server has gone, and with it what was to be cancelled
            return


def _even(pages: int, most: int, lanes: int) -> int:
    """Pages of each part, at most ``most``: where there are several parts, as many for each lane."""
    parts = -(-pages // most)
    return -(-pages // (parts if parts == 1 else -(-parts // lanes) * lanes))
