"""What text formats share: a writer that encodes batches in slices and streams them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from lading.errors import DataRefused
from lading.formats.compression import GZIP_LEVEL, Compression, Counted, compressed, fitting
from lading.formats.joining import Lookups, joined
from lading.formats.statistics import Statistics
from lading.formats.written import accept
from lading.ports import FileStats, Sink

_SLICE = 4 << 20  # bytes of Arrow data rendered at once: few, for 32-bit offsets
_JOINED = (
    512 << 10
)  # of them joined at once: their lines stay in the processor's cache until they are written
_GROWTH = 8  # text, its parts and their join against the Arrow data they come from
_LEFT = 64  # a file is full when this part of its greatest size is left and the next line may not fit


class LineWriter:
    """Encodes batches as lines. ``pieces`` turns the columns of a batch, some as `Few`, into what `joined` makes lines
    from, line ends included.

    Nothing is held between appends but a block of the compressor; ``memory`` bounds the slices. A file of a greatest
    size takes lines as long as they would fit even if they did not compress at all. Where that ends, the compressor is
    flushed, which tells what the lines so far really take.
    """

    def __init__(
        self,
        sink: Sink,
        schema: Any,
        compression: Compression,
        memory: int,
        pieces: Callable[[list[Any]], Sequence[Any]],
        written: Any,
        separator: str = "",
        head: bytes = b"",
        limit: int | None = None,
        gzip_level: int = GZIP_LEVEL,
    ) -> None:
        """``written`` is the schema of what a reader finds; ``head`` goes before the first line."""
        self._schema = schema
        self._pieces, self._separator = pieces, separator
        self._lookups = Lookups(schema)
        self._out = Counted(sink)
        self._stream = compressed(self._out, compression, gzip_level)
        self._statistics = Statistics(schema, written)
        # What is encoded and does not go into this file is encoded again for the next one: little of it, then.
        self._slice = max(1, min(_SLICE, memory // _GROWTH, limit // 8 if limit else _SLICE))
        self._rows = 0
        self._head = head
        self._compression, self._limit = compression, limit
        self._known = 0  # bytes of the file at the last flush
        self._since = 0  # bytes before compression that were written after it

    def append(self, batch: Any) -> int:
        """Raises DataRefused for a value that the format has no form for, SchemaMismatch for another schema."""
        accept(batch, self._schema)
        self._begin()
        taken = 0
        for piece in slices(batch, self._slice):
            count = self._lines(piece)
            taken += count
            if count < piece.num_rows:
                break
        return taken

    def _lines(self, batch: Any) -> int:
        """Writes as many rows as the file may take; returns how many those were."""
        few = self._lookups.find(batch)
        columns = [few.get(index, column) for index, column in enumerate(batch.columns)]
        count = 0
        try:
            step = max(1, batch.num_rows * _JOINED // max(1, batch.nbytes))
            for lines in joined(self._pieces(columns), self._separator, batch.num_rows, step):
                written = self._write(lines)
                count += written
                if written < len(lines):
                    break
        except pa.ArrowCapacityError as error:
            raise DataRefused("a row is too large for a line of text: its text passes 2 GiB") from error
        if count < batch.num_rows:
            self._statistics.observe(batch.slice(0, count))
        else:
            self._statistics.observe(batch, {index: column.values for index, column in few.items()})
        return count

    def _write(self, lines: Any) -> int:
        """Writes as many lines as the file may take; returns how many those were."""
        _, buffer, data = lines.buffers()
        if data is None:  # no line at all: one would have its line end
            return 0
        ends = np.frombuffer(buffer, np.int32)[lines.offset : lines.offset + len(lines) + 1]
        text, begin = memoryview(data), 0
        while begin < len(lines):
            count = self._fits(ends, begin)
            if count:
                self._stream.write(text[ends[begin] : ends[begin + count]])
                self._since += int(ends[begin + count] - ends[begin])
                self._rows += count
                begin += count
            elif self._is_full():
                break
        return begin

    def _fits(self, ends: np.ndarray, begin: int) -> int:
        """How many lines from ``begin`` on certainly fit. A line that is the file's first one always does."""
        if self._limit is None:
            return len(ends) - 1 - begin
        room = fitting(self._compression, self._limit - self._known) - self._since
        fit = int(np.searchsorted(ends, int(ends[begin]) + room, side="right")) - 1 - begin
        return max(fit, 0 if self._rows else 1)

    def _is_full(self) -> bool:
        """Whether the next line may be too long for what is really left."""
        assert self._limit is not None
        if not self._since:
            return True
        self._stream.flush()
        self._known, self._since = self._out.size, 0
        return self._limit - self._known < self._limit // _LEFT

    @property
    def size(self) -> int:
        return self._out.size

    def finish(self) -> FileStats:
        self._begin()
        self._stream.finish()
        return FileStats(self._rows, self._statistics.result())

    def abort(self) -> None:
        self._out.detach()

    def _begin(self) -> None:
        """Writes the head, not before there is a writer that can be aborted."""
        head, self._head = self._head, b""
        if head:
            self._stream.write(head)
            self._since += len(head)


def slices(batch: Any, size: int) -> Iterator[Any]:
    """The batch in runs of rows of about ``size`` bytes each, at least a row."""
    if not batch.num_rows:
        return
    step = max(1, int(size * batch.num_rows / max(1, batch.nbytes)))
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)
