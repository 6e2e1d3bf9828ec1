"""One reading of files: surveyed once, every part in the bytes that were surveyed, or not at all."""

from __future__ import annotations

import difflib
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lading.errors import DataRefused, SchemaMismatch
from lading.ports import REFUSED, ObjectInfo, Part, Query, Range, Store, Survey, Types
from lading.sources import files_names as names
from lading.sources.files_newest import can_order, kept, ranked
from lading.sources.files_records import Group, Kind, Look, Tally, Wanted, slices
from lading.sources.files_types import Column, Uncarried, arriving, check_text, is_moment
from lading.sources.files_values import arrive, micros, parse, text

_LOOKERS = 8  # footers and headers are fetched side by side: a store far away takes its time for each
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NULLS = "Such a row lies in no interval. Fill the column, or leave the file out."


@dataclass(frozen=True, slots=True)
class Piece:
    """What a part reads of one file."""

    info: ObjectInfo
    groups: tuple[int, ...]


class Files:
    """The objects of a dataset and what they show: the same columns in each."""

    def __init__(self, store: Store, kind: Kind, glob: str, ranges: Sequence[Range] = ()) -> None:
        """Raises SchemaMismatch where nothing matches or files differ, DataRefused for one that cannot be read."""
        self.store, self.kind, self.glob = store, kind, glob
        self.infos = names.matching(store, glob)
        self.looks = self._look(ranges)
        self._own = {info.name: look.columns for info, look in zip(self.infos, self.looks, strict=True)}
        self.columns = self._merged()

    def schema(self, types: Types, as_text: frozenset[str]) -> pa.Schema:
        return pa.schema([self._field(name, types, as_text) for name in self.columns])

    def column(self, name: str) -> Column:
        """As the first file has it. Raises SchemaMismatch."""
        found = self.columns.get(name)
        if found is None:
            near = difflib.get_close_matches(name, self.columns, 3)
            hint = (
                f"Did you mean {' or '.join(near)}?"
                if near
                else f"The columns are {', '.join(self.columns)}."
            )
            raise SchemaMismatch(f'{self.glob} has no column "{name}".', hint=hint)
        return found[0]

    def of(self, info: ObjectInfo, wanted: Sequence[str]) -> tuple[Column, ...]:
        """The wanted columns as this file has them."""
        own = {column.name: column for column in self._own[info.name] or ()}
        return tuple(own.get(name) or self.columns[name][0] for name in wanted)

    @contextmanager
    def reading(self, info: ObjectInfo) -> Iterator[Any]:
        """The file opened; errors about its content name it, unless it has changed, which is then what is said."""
        try:
            with names.explained(self.store), names.opened(self.store, info.name) as file:
                yield file
        except (SchemaMismatch, DataRefused) as error:
            names.check_unchanged(self.store, info)
            raise type(error)(f"{info.name} {error.message}", hint=error.hint) from error
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            names.check_unchanged(self.store, info)
            raise DataRefused(
                f"{info.name} in {self.store.url} cannot be read: it is damaged, cut off, or of another format.",
                hint="The connection's `format` says what files are whose names do not.",
            ) from error

    def _look(self, ranges: Sequence[Range]) -> list[Look]:
        def one(info: ObjectInfo) -> Look:
            with self.reading(info) as file:
                return self.kind.look(file, info, ranges)

        if self.kind.alike:
            with ThreadPoolExecutor(_LOOKERS) as threads:
                return list(threads.map(one, self.infos))
        looks: list[Look] = []
        for info in self.infos:
            known = any(look.columns for look in looks)
            looks.append(Look(None, (Group(0, info.size),)) if known else one(info))
        return looks

    def _merged(self) -> dict[str, tuple[Column, ...]]:
        """Each column as the files have it, one after another. Equal shapes are kept once."""
        merged: dict[str, dict[Column, None]] = {}
        first = ""
        for info, look in zip(self.infos, self.looks, strict=True):
            if look.columns is None:
                continue
            own = [column.name for column in look.columns]
            _check_names(info.name, own)
            if not first:
                first = info.name
                merged = {name: {} for name in own}
            _check_equal(first, merged, info.name, own)
            for column in look.columns:
                known = next(iter(merged[column.name]), column)
                if not _alike(known, column):
                    raise SchemaMismatch(
                        f'Column "{column.name}" is {column.native} in {info.name} and {known.native} in {first}.',
                        hint="Files of a dataset have the same columns of the same types.",
                    )
                merged[column.name][column] = None
        if not merged:
            raise SchemaMismatch(
                f"No file of {self.glob} in {self.store.url} has a row or names a column.",
                hint="Declare the columns in the connection's `columns`.",
            )
        return {name: tuple(found) for name, found in merged.items()}

    def _field(self, name: str, types: Types, as_text: frozenset[str]) -> pa.Field:
        found = self.columns[name]
        field = arriving(found[0], types, as_text=name in as_text)
        return field.with_nullable(any(column.nullable for column in found) or field.nullable)


class FilesReading:
    """Reads ``query`` of ``files``. ``layout``: the settings that decide which rows a part holds, JSON-able."""

    unique_keys: frozenset[frozenset[str]] = frozenset()  # files prove nothing of the kind

    def __init__(
        self, files: Files, query: Query, layout: object, part_size: int, newest_memory: int
    ) -> None:
        self._files, self._query = files, query
        self._part_size, self._newest_memory = part_size, newest_memory
        self._lock = threading.Lock()
        self._superseded: dict[int, Counter[str]] = {}
        self.replayable = all(names.mark(info) for info in files.infos)
        self._wanted = _check_query(files, query)
        schema = files.schema(query.types, query.as_text)
        self._schema = pa.schema([schema.field(name) for name in query.columns])
        for field in self._schema:
            if REFUSED in field.metadata:
                reason = field.metadata[REFUSED].decode()
                raise SchemaMismatch(f'Column "{field.name}" of {files.glob} cannot be read: {reason}.')
        self._pieces = list(self._cut())
        self._survey = self._surveyed(layout)

    def survey(self) -> Survey:
        return self._survey

    def superseded(self) -> Mapping[str, int]:
        with self._lock:
            return dict(sum(self._superseded.values(), Counter()))

    def read(self, part: Part) -> Iterator[pa.RecordBatch]:
        pieces = self._pieces[part.index]
        if self._query.newest is None:
            for rows, _ in self._rows(pieces, self._arrive):
                yield from slices(rows, self._query.batch_bytes)
        else:
            yield from self._read_newest(part, pieces)

    # --- parts ------------------------------------------------------------------------------------------------------

    def _cut(self) -> Iterator[tuple[Piece, ...]]:
        every = [
            (info, group)
            for info, look in zip(self._files.infos, self._files.looks, strict=True)
            for group in look.groups
        ]
        if self._query.whole_parts or self._query.newest or not every:
            by_file = itertools.groupby(every, key=lambda pair: pair[0])
            yield tuple(Piece(info, tuple(group.index for _, group in pairs)) for info, pairs in by_file)
            return
        held: list[int] = []
        size = 0
        for (info, group), following in zip(every, [*every[1:], None], strict=True):
            held.append(group.index)
            size += group.bytes
            if following is None or following[0] != info or size + following[1].bytes > self._part_size:
                yield (Piece(info, tuple(held)),)
                held, size = [], 0

    def _surveyed(self, layout: object) -> Survey:
        query, infos = self._query, self._files.infos
        rows = {
            (info.name, group.index): group.rows
            for info, look in zip(infos, self._files.looks, strict=True)
            for group in look.groups
        }
        parts = []
        for index, pieces in enumerate(self._pieces):
            counts = [rows[piece.info.name, group] for piece in pieces for group in piece.groups]
            spec: dict[str, object] = {"files": [[piece.info.name, list(piece.groups)] for piece in pieces]}
            parts.append(Part(index, spec, None if None in counts else sum(count or 0 for count in counts)))
        known = [part.rows for part in parts]
        ranges = [[r.column, str(r.start), str(r.end)] for r in query.ranges]
        version = names.digest(infos, [layout, query.whole_parts, bool(query.newest), ranges])
        size = sum(info.size for info in infos)
        snapshot = f"{len(infos)} files of {self._files.glob}, {size} bytes, {names.digest(infos, None)[:16]}"
        total = None if None in known else sum(count or 0 for count in known)
        return Survey(self._schema, tuple(parts), total, size, snapshot, version if self.replayable else "")

    # --- rows -------------------------------------------------------------------------------------------------------

    def _rows(
        self, pieces: Sequence[Piece], make: Callable[[pa.RecordBatch, Mapping[str, Column], Tally], Any]
    ) -> Iterator[tuple[Any, Tally]]:
        """What ``make`` makes of the rows in range, until something is refused; then the rest is only counted."""
        tally = Tally()
        for piece in pieces:
            tally.file = piece.info.name
            columns = self._files.of(piece.info, self._wanted)
            own = {column.name: column for column in columns}
            wanted = Wanted(
                piece.info,
                columns,
                self._query.as_text,
                frozenset(self._files.columns),
                self._query.batch_bytes,
            )
            names.check_unchanged(self._files.store, piece.info)
            for raw in self._raw(piece, wanted, tally):
                for rows in slices(self._filtered(raw, own, tally), self._query.batch_bytes):
                    made = make(rows, own, tally)
                    if not tally.found:
                        yield made, tally
            names.check_unchanged(self._files.store, piece.info)
        if tally.found:
            raise tally.error()

    def _raw(self, piece: Piece, wanted: Wanted, tally: Tally) -> Iterator[pa.RecordBatch]:
        with self._files.reading(piece.info) as file:
            yield from self._files.kind.read(file, wanted, piece.groups, tally)

    def _filtered(self, rows: pa.RecordBatch, own: Mapping[str, Column], tally: Tally) -> pa.RecordBatch:
        mask = None
        for bounds in self._query.ranges:
            moments = micros(_exact(rows, own[bounds.column], tally))
            tally.add(bounds.column, "NULLs", rows.column(bounds.column).null_count, _NULLS)
            for moment, compare in ((bounds.start, pc.greater_equal), (bounds.end, pc.less)):
                if moment is not None:
                    inside = compare(moments, (moment - _EPOCH) // timedelta(microseconds=1))
                    mask = inside if mask is None else pc.and_(mask, inside)
        member = self._query.member
        if member is not None:
            texts = self._tenants(rows, own[member.column], tally)
            listed = pc.is_in(texts, pa.array(member.values, pa.string()))
            inside = pc.or_(listed, pc.is_null(texts))
            mask = inside if mask is None else pc.and_(mask, inside)
        return rows if mask is None else rows.filter(mask)

    def _tenants(self, rows: pa.RecordBatch, column: Column, tally: Tally) -> Any:
        """The text that others will see of the column."""
        return _text(rows, column, tally, as_text=column.name in self._query.as_text)

    def _arrive(self, rows: pa.RecordBatch, own: Mapping[str, Column], tally: Tally) -> pa.RecordBatch:
        arrays = []
        for field in self._schema:
            column = own[field.name]
            if field.name in self._query.as_text:
                arrays.append(_text(rows, column, tally, as_text=True))
            else:
                arrays.append(arrive(_held(rows, column, tally), field.type, tally.of(field.name)))
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    # --- newest -----------------------------------------------------------------------------------------------------

    def _read_newest(self, part: Part, pieces: Sequence[Piece]) -> Iterator[pa.RecordBatch]:
        rule = self._query.newest
        assert rule is not None
        dropped: Counter[str] = Counter()
        with kept(rule, self._ranked(pieces), self._newest_memory) as places:
            start = 0
            for (rows, lone, by), _ in self._rows(pieces, self._with_keys):
                stays = pc.or_(places.among(start, rows.num_rows), lone)
                start += rows.num_rows
                for entry in pc.value_counts(by.filter(pc.invert(stays))).to_pylist():
                    dropped[entry["values"] or ""] += entry["counts"]
                yield from slices(rows.filter(stays), self._query.batch_bytes)
        with self._lock:
            self._superseded[part.index] = dropped

    def _ranked(self, pieces: Sequence[Piece]) -> Iterator[pa.RecordBatch]:
        rule = self._query.newest
        assert rule is not None
        at = 0

        def make(rows: pa.RecordBatch, own: Mapping[str, Column], tally: Tally) -> pa.RecordBatch:
            nonlocal at
            keys = [_exact(rows, own[name], tally) for name in rule.key]
            order = _exact(rows, own[rule.order], tally)
            by = [] if rule.by is None else [self._tenants(rows, own[rule.by], tally)]
            batch, _ = ranked(keys, by, order, at, tally.of(rule.order))
            at += rows.num_rows
            return batch

        for batch, _ in self._rows(pieces, make):
            yield batch

    def _with_keys(self, rows: pa.RecordBatch, own: Mapping[str, Column], tally: Tally) -> Any:
        """The rows as they arrive, which of them lack a key, and what they are counted by."""
        rule = self._query.newest
        assert rule is not None
        lone = pc.is_null(rows.column(rule.key[0]))
        for name in rule.key[1:]:
            lone = pc.or_(lone, pc.is_null(rows.column(name)))
        by = pa.array([""] * rows.num_rows, pa.string())
        if rule.by is not None:
            by = self._tenants(rows, own[rule.by], tally)
        return self._arrive(rows, own, tally), lone, by


def _check_query(files: Files, query: Query) -> tuple[str, ...]:
    """All columns that the query needs. Raises SchemaMismatch for one that is not there, or not what it needs."""
    for bounds in query.ranges:
        column = files.column(bounds.column)
        if not is_moment(column.held):
            raise SchemaMismatch(
                f'Column "{bounds.column}" of {files.glob} is {_called(column)}; a window needs a timestamp or a date.',
                hint=_DECLARE if column.parsed is not None else None,
            )
    needed = [*query.columns, *(bounds.column for bounds in query.ranges)]
    textual = []
    if query.member:
        textual.append(query.member.column)
    if query.newest:
        textual += [*query.newest.key, *([query.newest.by] if query.newest.by else [])]
        needed.append(query.newest.order)
        order = files.column(query.newest.order)
        exact = arriving(order, "exact").type
        if not can_order(exact) or (pa.types.is_string(exact) and not order.declared):
            raise SchemaMismatch(
                f'Column "{order.name}" of {files.glob} is {_called(order)}, which has no exact order.',
                hint=_DECLARE if order.parsed is not None else None,
            )
    for name in textual:
        try:
            check_text(files.column(name).held)
        except Uncarried as why:
            raise SchemaMismatch(f'Column "{name}" of {files.glob} cannot be compared: {why}.') from why
    for name in needed:
        files.column(name)
    return tuple(dict.fromkeys([*needed, *textual]))


_DECLARE = "Declare its type in the connection's `columns`, such as `timestamp`."


def _called(column: Column) -> str:
    return str(column.held) if column.declared else f"{column.held} ({column.native}, no type declared)"


def _check_names(file: str, own: list[str]) -> None:
    folded: dict[str, str] = {}
    for name in own:
        other = folded.setdefault(name.casefold(), name)
        if other != name or own.count(name) > 1:
            raise SchemaMismatch(f'{file} has two columns that are called "{name}" but for case.')


def _check_equal(first: str, merged: Mapping[str, object], file: str, own: list[str]) -> None:
    for name in merged:
        if name not in own:
            raise SchemaMismatch(f'{file} has no column "{name}", which {first} has.', hint=_SAME)
    for name in own:
        if name not in merged:
            raise SchemaMismatch(f'{file} has a column "{name}", which {first} has not.', hint=_SAME)


_SAME = "Files of a dataset have the same columns; read others by a connection or a glob of their own."


def _alike(known: Column, column: Column) -> bool:
    fields = [arriving(one, "exact").with_nullable(True) for one in (known, column)]
    return bool(fields[0].type == fields[1].type) and known.logical == column.logical


def _held(rows: pa.RecordBatch, column: Column, tally: Tally) -> Any:
    """The column's values, parsed where the file has text."""
    array = rows.column(column.name)
    return array if column.parsed is None else parse(array, column.parsed, tally.of(column.name))


def _exact(rows: pa.RecordBatch, column: Column, tally: Tally) -> Any:
    return arrive(_held(rows, column, tally), arriving(column, "exact").type, tally.of(column.name))


def _text(rows: pa.RecordBatch, column: Column, tally: Tally, *, as_text: bool = False) -> Any:
    """The column's text: of text files as it stands where that is what arrives, else that of its type's values."""
    array = rows.column(column.name) if as_text else _held(rows, column, tally)
    return text(array, tally.of(column.name))
