"""What text formats share: a writer that encodes batches in slices and streams them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from lading.errors import DataRefused
from lading.formats.compression import Compression, Counted, compressed
from lading.formats.statistics import Statistics
from lading.formats.written import accept
from lading.ports import FileStats, Sink

_SLICE = (
    4 << 20
)  # bytes of Arrow data encoded at once: small enough for the processor's caches, and for 32-bit offsets
_GROWTH = 8  # text, its parts and their join against the Arrow data they come from


class LineWriter:
    """Encodes batches as lines. ``encode`` turns a batch into a string column, a line each, line ends included.

    Nothing is held between appends but a block of the compressor; ``memory`` bounds the slices.
    """

    def __init__(
        self,
        sink: Sink,
        schema: Any,
        compression: Compression,
        memory: int,
        encode: Callable[[Any], Any],
        written: Any,
        head: bytes = b"",
    ) -> None:
        """``written`` is the schema of what a reader finds; ``head`` goes before the first line."""
        self._schema = schema
        self._encode = encode
        self._out = Counted(sink)
        self._stream = compressed(self._out, compression)
        self._statistics = Statistics(schema, written)
        self._slice = max(1, min(_SLICE, memory // _GROWTH))
        self._rows = 0
        self._head = head

    def append(self, batch: Any) -> None:
        """Raises DataRefused for a value that the format has no form for, SchemaMismatch for another schema."""
        accept(batch, self._schema)
        self._begin()
        for piece in slices(batch, self._slice):
            try:
                lines = self._encode(piece)
            except pa.ArrowCapacityError as error:
                raise DataRefused("a row is too large for a line of text: its text passes 2 GiB") from error
            _, offsets, data = lines.buffers()
            if data is not None:
                bounds = memoryview(offsets).cast("i")
                first, last = bounds[lines.offset], bounds[lines.offset + len(lines)]
                self._stream.write(memoryview(data)[first:last])
        self._statistics.observe(batch)
        self._rows += batch.num_rows

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


def slices(batch: Any, size: int) -> Iterator[Any]:
    """The batch in runs of rows of about ``size`` bytes each, at least a row."""
    if not batch.num_rows:
        return
    step = max(1, int(size * batch.num_rows / max(1, batch.nbytes)))
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)
