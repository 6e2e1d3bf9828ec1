"""Routing within a budget: buffers, a bounded number of open writers, and a spill for the rest.

Half of the budget holds rows that wait, half is shared by the open writers. A key that gathers a chunk gets a writer
while there is one to be had; whenever the waiting rows fill their half, all of them move on, to their writers or to
the spill. So memory depends neither on the number of keys nor on the size of a file, and the order of a key's rows is
the order of the reading.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from lading.ports import FileNumber, FileWriter, Written
from lading.routing.keys import Cutter, Key, in_order
from lading.routing.spill import Spill

OPEN_WRITERS = 8
CHUNK = 8 << 20

OpenFile = Callable[[Key, FileNumber, int], FileWriter]  # the last: bytes that the writer may buffer
Finish = Callable[[str, pa.RecordBatch], pa.RecordBatch]  # a tenant's rows, as the recipient gets them


@dataclass(slots=True)
class Tally:
    """What one lane did for one tenant."""

    read: int = 0
    written: int = 0
    bytes: int = 0  # of the rows written, in Arrow's memory, before any encoding
    files: list[Written] = field(default_factory=list)


@dataclass(slots=True)
class _Waiting:
    slices: list[pa.RecordBatch] = field(default_factory=list)
    bytes: int = 0


class Router:
    """One lane: parts read one after the other, by one thread. Ended by ``finish`` or ``abort``."""

    def __init__(
        self,
        cutter: Cutter,
        open_file: OpenFile,
        transform: Finish,
        *,
        lane: int,
        lanes: int,
        budget: int,
        spill: Path,
        admit: Callable[[Sequence[str]], Container[str]],
    ) -> None:
        """``admit`` is asked once for each new tenant and gives those to serve; the rows of others are left out. It
        raises for a tenant that must not be there."""
        self._cutter, self._open_file, self._transform = cutter, open_file, transform
        self._lane, self._lanes = lane, lanes
        self._budget, self._admit = budget, admit
        self._spill = Spill(spill)
        self._waiting: dict[Key, _Waiting] = {}
        self._held = 0
        self._writers: dict[Key, FileWriter] = {}
        self._sequence: dict[Key, int] = {}
        self._admitted: dict[str, bool] = {}
        self.tallies: dict[str, Tally] = {}
        self.left_out = 0

    def feed(self, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        groups = list(self._cutter.cut(batch))
        new = sorted({key.tenant for key, _ in groups} - self._admitted.keys())
        if new:
            admitted = self._admit(new)
            self._admitted.update({tenant: tenant in admitted for tenant in new})
        per_row = batch.nbytes / batch.num_rows
        for key, rows in groups:
            if not self._admitted[key.tenant]:
                self.left_out += rows.num_rows
                continue
            self.tallies.setdefault(key.tenant, Tally()).read += rows.num_rows
            waiting = self._waiting.setdefault(key, _Waiting())
            waiting.slices.append(rows)
            waiting.bytes += int(per_row * rows.num_rows)
            if waiting.bytes >= CHUNK and self._may_write(key):
                self._append(key, self._taken(key))
        self._held += batch.nbytes
        if self._held >= self._budget // 2:
            # Slices keep their whole batch in memory, so all must go before any of it is free.
            for key in self._waiting:
                self._move_on(key)
            self._held = 0

    def finish(self) -> None:
        """Writes what waits, key by key, and closes every file."""
        for key in sorted(self._waiting, key=_order):
            for batch in self._spill.take(key):
                self._append(key, batch)
            self._append(key, self._taken(key))
            self._close(key)

    def abort(self) -> None:
        for writer in self._writers.values():
            writer.abort()
        self._writers.clear()
        self._waiting.clear()

    def _may_write(self, key: Key) -> bool:
        """Rows that were spilled come first, so their key waits for the end."""
        return key not in self._spill and (key in self._writers or len(self._writers) < OPEN_WRITERS)

    def _taken(self, key: Key) -> pa.RecordBatch | None:
        """The rows that wait for ``key``, transformed."""
        waiting = self._waiting[key]
        if not waiting.slices:
            return None
        rows = waiting.slices[0] if len(waiting.slices) == 1 else pa.concat_batches(waiting.slices)
        waiting.slices, waiting.bytes = [], 0
        return self._transform(key.tenant, rows)

    def _move_on(self, key: Key) -> None:
        enough = key in self._writers or self._waiting[key].bytes >= CHUNK
        rows = self._taken(key)
        if rows is None or not rows.num_rows:
            return
        if enough and self._may_write(key):
            self._append(key, rows)
        else:
            self._spill.add(key, rows)

    def _append(self, key: Key, rows: pa.RecordBatch | None) -> None:
        if rows is None or not rows.num_rows:
            return
        tally = self.tallies[key.tenant]
        tally.written += rows.num_rows
        tally.bytes += rows.nbytes
        begin = 0
        while begin < rows.num_rows:
            writer = self._writers.get(key)
            if writer is None:
                sequence = self._sequence[key] = self._sequence.get(key, 0) + 1
                number = FileNumber(self._lane, sequence, self._lanes)
                writer = self._open_file(key, number, self._budget // 2 // OPEN_WRITERS)
                self._writers[key] = writer
            begin += writer.append(rows.slice(begin))
            if begin < rows.num_rows:
                self._close(key)

    def _close(self, key: Key) -> None:
        writer = self._writers.pop(key, None)
        if writer is not None:
            self.tallies[key.tenant].files.append(writer.finish())


def _order(key: Key) -> list[tuple[bool, int, str]]:
    return in_order((key.tenant, *key.partition))
