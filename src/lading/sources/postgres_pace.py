"""How many rows are asked for at a time, by how wide those were that came."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

BATCH_ROWS = 65_536
NARROW_ROWS = 8192  # of a batch of rows that were seen to be narrow
VECTOR_ROWS = 2048  # DuckDB holds that many rows at a time, whatever the batch size
SLICE_BYTES = 4 * 1024 * 1024  # a statement for less takes longer than its rows
MOST_ROWS = 1 << 20  # of a slice, also where nothing comes of any
SAMPLE_ROWS = 256
SAMPLED_PAGES = 512  # fewer are not worth a sample of their own

Place = tuple[int, int]  # page and line


class Pace:
    """Of the readings of one table. ``width``: bytes of a row as it is stored; ``dense``: rows of a page; ``lines``:
    the most that a page can hold. Several threads tell and ask: what they tell is an estimate.

    ``wide``: whether rows are so wide that they must be read in slices; None while none were seen.
    ``rows``: of a batch. ``slice_rows``: of the next slice.
    """

    def __init__(self, batch_bytes: int, *, width: int, dense: int, lines: int) -> None:
        self._batch_bytes, self._dense, self._lines = batch_bytes, dense, lines
        self._slice_bytes = max(batch_bytes, SLICE_BYTES)
        self.slice_rows = self._sample_rows = max(8, min(SAMPLE_ROWS, SLICE_BYTES // width))
        self.wide: bool | None = None
        self.rows = VECTOR_ROWS

    def sample(self, start: int, end: int) -> Iterable[Place]:
        """Places all over the pages ``start`` to ``end``; none where enough is known."""
        if self.wide or end == start or (self.wide is False and end - start < SAMPLED_PAGES):
            return ()
        pages = range(start, end, max(1, (end - start) * 4 // self._sample_rows))
        return ((page, line) for page in pages for line in range(1, 5))

    def weigh(self, batch: pa.RecordBatch) -> int:
        """The bytes of a batch, from which is learned. A few rows tell little, unless they are large."""
        size = int(batch.nbytes)
        if batch.num_rows >= 8 or size > self._slice_bytes // 4:
            fitting = self._slice_bytes * batch.num_rows // max(size, 1)
            self.wide = bool(self.wide) or fitting < VECTOR_ROWS
            self.rows = NARROW_ROWS if fitting >= NARROW_ROWS and not self.wide else VECTOR_ROWS
        return size

    def gather(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Batches put together, as far as they are small: nobody knows how wide the next rows are."""
        waiting: list[pa.RecordBatch] = []
        rows = size = 0
        for batch in batches:
            more = self.weigh(batch)
            if waiting and (rows + batch.num_rows > BATCH_ROWS or size + more > self._batch_bytes):
                yield _joined(waiting)
                rows = size = 0
            waiting.append(batch)
            rows, size = rows + batch.num_rows, size + more
            del batch
        if waiting:
            yield _joined(waiting)

    def slices(self, start: int, end: int) -> Iterator[tuple[Place, Place, int]]:
        """From, to, and how many rows they may be, until page ``end``."""
        page, line = start, 0
        while page < end:
            step = max(1, self.slice_rows)
            if step >= self._dense:
                after = (page + step // self._dense, 0)
            else:
                after = (page, line + step) if line + step < self._lines else (page + 1, 0)
            after = min(after, (end, 0))
            yield (page, line), after, step
            page, line = after

    def took(self, asked: int, size: int) -> None:
        """A slice that was asked for so many rows had so many bytes: ask for more by and by, for less at once."""
        fitting = asked * self._slice_bytes // max(size, 1)
        self.slice_rows = max(1, min(asked * 4, fitting, MOST_ROWS))


def _joined(waiting: list[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch of them all. The list is emptied, so that nobody holds the rows twice."""
    batch = waiting[0] if len(waiting) == 1 else pa.concat_batches(waiting)
    waiting.clear()
    return batch
