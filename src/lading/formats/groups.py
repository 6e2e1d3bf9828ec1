"""What columnar formats share: a writer that gathers rows into groups, and what a group may grow to in a file."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from lading.formats.compression import Counted
from lading.formats.statistics import Statistics
from lading.formats.written import accept
from lading.ports import FileStats

_LEFT = (
    8  # a file is full when this part of its greatest size is left and the next row may be too large for it
)


@dataclass(frozen=True, slots=True)
class Extent:
    """What one node of a column's type holds; a leaf is its own only leaf.

    ``values``: how many slots, NULLs among them. ``width``: bytes of each, without text and binary, which have
    ``bytes`` together; None for lists, maps and structs. ``longest``: bytes of the largest single value.
    """

    values: int
    width: int | None
    bytes: int
    longest: int
    leaves: int = 1

    def and_(self, more: Extent) -> Extent:
        longest = max(self.longest, more.longest)
        return Extent(self.values + more.values, self.width, self.bytes + more.bytes, longest, self.leaves)


class Encoder(Protocol):
    """Writes groups into a file."""

    def write(self, rows: Any) -> None:
        """Writes a table as one group, up to the sink. Equal rows give equal bytes, however they come in chunks."""
        ...

    def close(self) -> None: ...

    def tell(self, statistics: Statistics) -> None:
        """Passes on what a whole file knows of the columns that were left to it."""
        ...

    def empty(self) -> int:
        """Bytes of a file without rows."""
        ...

    def most(self, extents: Sequence[Extent]) -> tuple[int, int]:
        """Bytes that a group of such rows takes at most, however badly it compresses: by itself, and in the footer."""
        ...


class GroupWriter:
    """Gathers rows until a group is full, or half of ``memory`` is: encoding needs the other half. Groups are of one
    size so that equal rows give equal bytes.

    A file of a greatest size takes rows as long as they would fit even if they did not compress at all. Where that
    ends, the group is written, which tells what it really takes.
    """

    def __init__(
        self,
        out: Counted,
        schema: Any,
        written: Any,
        statistics: Statistics,
        encoder: Encoder,
        convert: Callable[[Any], list[Any]],
        *,
        rows: int,
        memory: int,
        limit: int | None,
    ) -> None:
        """``schema``: of the batches. ``written``: of the file, to whose columns ``convert`` brings a batch. ``rows``:
        of a group."""
        self._schema, self._written, self._convert = schema, written, convert
        self._out, self._encoder, self._statistics = out, encoder, statistics
        self._group_rows, self._memory, self._limit = rows, max(1, memory // 2), limit
        self._held: list[Any] = []
        self._held_rows = 0
        self._held_bytes = 0
        self._rows = 0
        self._extents: list[Extent] = []  # of the rows held
        self._ending = encoder.empty() if limit is not None else 0

    def append(self, batch: Any) -> int:
        """Raises DataRefused for a value that its type in the file cannot hold."""
        accept(batch, self._schema)
        taken = 0
        while taken < batch.num_rows:
            piece = batch.slice(taken, self._group_rows - self._held_rows)
            count = self._take(pa.RecordBatch.from_arrays(self._convert(piece), schema=self._written))
            taken += count
            if count < piece.num_rows:
                break
        return taken

    @property
    def size(self) -> int:
        return self._out.size

    def finish(self) -> FileStats:
        self._flush()
        self._encoder.close()
        self._encoder.tell(self._statistics)
        return FileStats(self._rows, self._statistics.result())

    def abort(self) -> None:
        self._out.detach()
        self._held = []
        self._encoder.close()

    def _take(self, rows: Any) -> int:
        """Holds as many rows as the file may take; returns how many those were."""
        if self._limit is None:
            self._hold(rows)
            return int(rows.num_rows)
        begin = 0
        while begin < rows.num_rows:
            count = self._fits(rows.slice(begin))
            if count:
                piece = rows.slice(begin, count)
                self._extents = _together(self._extents, extents(piece))
                self._hold(piece)
                begin += count
            elif self._is_full(self._limit):
                break
        return begin

    def _hold(self, rows: Any) -> None:
        self._statistics.observe(rows)
        self._held.append(rows)
        self._held_rows += rows.num_rows
        self._held_bytes += rows.nbytes
        if self._held_rows >= self._group_rows or self._held_bytes >= self._memory:
            self._flush()

    def _fits(self, rows: Any) -> int:
        """How many of the rows certainly fit. A row that is the file's first one always does."""
        room = self._room()

        def most(count: int) -> int:
            return sum(self._encoder.most(_together(self._extents, extents(rows.slice(0, count)))))

        if most(rows.num_rows) <= room:
            return int(rows.num_rows)
        fit = bisect_right(range(1, rows.num_rows), room, key=most)
        return max(fit, 0 if self._rows or self._held_rows else 1)

    def _room(self) -> int:
        return (self._limit or 0) - self._out.size - self._ending

    def _is_full(self, limit: int) -> bool:
        """Whether the next row may be too large for what is really left."""
        if not self._held_rows:
            return True
        self._flush()
        return self._room() < limit // _LEFT

    def _flush(self) -> None:
        if not self._held_rows:
            return
        rows = pa.Table.from_batches(self._held, self._written)
        self._held = []
        self._encoder.write(rows)
        self._rows += self._held_rows
        self._held_rows = self._held_bytes = 0
        if self._limit is not None:
            self._ending += self._encoder.most(self._extents)[1]
            self._extents = []


def merged(column: Any) -> Any:
    """A chunked column in one chunk. Always a copy, since a slice's last byte of bits holds those of the rows behind
    it."""
    return pa.chunked_array([pa.concat_arrays([*column.chunks, column.chunk(0).slice(0, 0)])])


def extents(rows: Any) -> list[Extent]:
    """Of every node of every column, in the order of the schema, nested ones after what they are nested in."""
    return [extent for column in rows.columns for extent in _extents(column)]


def _together(held: list[Extent], more: list[Extent]) -> list[Extent]:
    return [a.and_(b) for a, b in zip(held, more, strict=True)] if held else more


def _extents(array: Any) -> Iterator[Extent]:
    if isinstance(array.type, pa.BaseExtensionType):
        array = array.storage
    kind, count = array.type, len(array)
    if pa.types.is_struct(kind):
        yield from _nested(count, [array.field(number) for number in range(kind.num_fields)])
    elif pa.types.is_list(kind) or pa.types.is_map(kind):
        children = [array.keys, array.items] if pa.types.is_map(kind) else [array.values]
        offsets = _offsets(array)
        yield from _nested(count, [child.slice(offsets[0], offsets[-1] - offsets[0]) for child in children])
    elif pa.types.is_string(kind) or pa.types.is_binary(kind):
        offsets = _offsets(array)
        longest = int(np.diff(offsets).max()) if count else 0
        yield Extent(count, 4, int(offsets[-1] - offsets[0]), longest)
    else:
        width = 0 if pa.types.is_null(kind) else max(1, kind.bit_width // 8)
        yield Extent(count, width, 0, width)


def _nested(count: int, children: list[Any]) -> Iterator[Extent]:
    inside = [extent for child in children for extent in _extents(child)]
    yield Extent(count, None, 0, 0, sum(extent.width is not None for extent in inside))
    yield from inside


def _offsets(array: Any) -> np.ndarray:
    if not len(array):
        return np.zeros(1, np.int32)
    return np.frombuffer(array.buffers()[1], np.int32)[array.offset : array.offset + len(array) + 1]
