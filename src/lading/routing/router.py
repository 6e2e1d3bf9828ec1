"""Routing within a budget: buffers, a bounded number of open writers, and a spill for the rest.

Half of the budget holds rows that wait, half is shared by the open writers. A key that gathers a chunk gets a writer
while there is one to be had; whenever the waiting rows fill their half, all of them move on, to their writers or to
the spill. So memory depends neither on the number of rows nor on the size of a file, and the order of a key's rows is
the order of the reading. What is held of each key, some hundred bytes, is bounded by the number of keys: there are at
most `MOST_PARTITIONS` of a tenant and `MOST_KEYS` in all where data names them.

A tenant may get its rows in several versions, each a stream of files of its own. The versions are made of the same
rows, when these leave the buffer.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from lading.errors import DataRefused
from lading.ports import FileNumber, FileWriter, Written
from lading.routing.keys import Cutter, Key, in_order
from lading.routing.spill import Spill

OPEN_WRITERS = 8
CHUNK = 8 << 20
MOST_PARTITIONS = 10_000  # of one tenant
MOST_KEYS = 100_000  # of all tenants together, where there are partitions

# Of a key's version, counted from 0. The last: bytes that the writer may buffer.
OpenFile = Callable[[Key, int, FileNumber, int], FileWriter]
# A tenant's rows as the recipient gets them, in each of the tenant's versions.
Finish = Callable[[str, pa.RecordBatch], Sequence[pa.RecordBatch]]


@dataclass(slots=True)
class Tally:
    """What one lane did for one tenant, in one version."""

    read: int = 0
    written: int = 0
    bytes: int = 0  # of the rows written, in Arrow's memory, before any encoding
    files: list[Written] = field(default_factory=list)


@dataclass(slots=True)
class _Stream:
    """The files of one key in one version."""

    spilled: int = 0  # bytes
    writer: FileWriter | None = None
    written: int = 0
    written_bytes: int = 0
    sequence: int = 0
    files: list[Written] = field(default_factory=list)

    def close(self) -> None:
        writer, self.writer = self.writer, None
        if writer is not None:
            self.files.append(writer.finish())


@dataclass(slots=True)
class _Output:
    """One key's rows that wait, and its files. Used by one thread at a time."""

    waiting: list[tuple[pa.RecordBatch, int, int]] = field(
        default_factory=list
    )  # a batch, and its rows' place in it
    bytes: int = 0  # that wait
    streams: list[_Stream] = field(default_factory=list)  # by version, once rows have gone there

    @property
    def writing(self) -> bool:
        return any(stream.writer is not None for stream in self.streams)

    @property
    def spilled(self) -> int:
        return sum(stream.spilled for stream in self.streams)


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
        versions: int = 1,
    ) -> None:
        """``versions``: how many a tenant may get. ``admit`` is asked once for each new tenant and gives those to
        serve; the rows of others are left out. It raises for a tenant that must not be there. ``open_file`` and
        ``transform`` are called from several threads."""
        self._cutter, self._open_file, self._transform = cutter, open_file, transform
        self._lane, self._lanes = lane, lanes
        self._budget, self._admit = budget, admit
        # One stream of files needs no rows that wait, and no writers to choose between.
        self._one = cutter.tenant_column is None and not cutter.partitions
        self._share = (budget // 2 if self._one else budget // 2 // OPEN_WRITERS) // versions
        self._spill = Spill(spill)
        self._outputs: dict[Key, _Output] = {}
        self._partitions: Counter[str] = Counter()  # by tenant
        self._held = 0
        self._open = 0  # keys with writers
        self._admitted: dict[str, bool] = {}
        self._read: Counter[str] = Counter()  # rows, by tenant
        self.tallies: dict[str, list[Tally]] = {}  # by tenant and version, once it has ended well
        self.left_out = 0

    def feed(self, batch: pa.RecordBatch) -> None:
        """Raises DataRefused for a NULL tenant, and for more partitions than there may be."""
        if not batch.num_rows:
            return
        ordered, cuts = self._cutter.arrange(batch)
        new = sorted({key.tenant for key, _, _ in cuts} - self._admitted.keys())
        if new:
            admitted = self._admit(new)
            self._admitted.update({tenant: tenant in admitted for tenant in new})
        per_row = batch.nbytes / batch.num_rows
        for key, begin, end in cuts:
            if not self._admitted[key.tenant]:
                self.left_out += end - begin
                continue
            self._read[key.tenant] += end - begin
            output = self._output(key)
            output.waiting.append((ordered, begin, end))
            output.bytes += int(per_row * (end - begin))
            if (self._one or output.bytes >= CHUNK) and self._may_write(key, output):
                self._append(key, output, self._taken(key, output))
        self._held += batch.nbytes
        if self._held >= self._budget // 2:
            # Each key holds whole batches, so all must go before any of them is free.
            for key, output in self._outputs.items():
                self._move_on(key, output)
            self._held = 0

    def finish(self) -> None:
        """Writes what waits and closes every file: small ones side by side, since most of their time is waiting for the
        store. Files count in the order of their keys."""
        keys = sorted(self._outputs, key=_order)
        for key in keys:
            if self._outputs[key].writing:
                self._complete(key)
        rest = [key for key in keys if self._outputs[key].waiting or self._has_spilled(key)]
        small = [key for key in rest if self._is_small(self._outputs[key])]
        large = [key for key in rest if not self._is_small(self._outputs[key])]
        for key in large:
            self._complete(key)
        self._complete_all(small)
        for key in keys:
            tallies = self.tallies.setdefault(key.tenant, [])
            for version, stream in enumerate(self._outputs[key].streams):
                if version == len(tallies):
                    tallies.append(Tally(self._read[key.tenant]))
                tallies[version].written += stream.written
                tallies[version].bytes += stream.written_bytes
                tallies[version].files.extend(stream.files)

    def abort(self) -> None:
        for output in self._outputs.values():
            for stream in output.streams:
                if stream.writer is not None:
                    stream.writer.abort()
        self._outputs.clear()

    def _output(self, key: Key) -> _Output:
        output = self._outputs.get(key)
        if output is None:
            output = self._outputs[key] = _Output()
            self._partitions[key.tenant] += 1
            if self._partitions[key.tenant] > MOST_PARTITIONS or (
                self._cutter.partitions and len(self._outputs) > MOST_KEYS
            ):
                raise self._too_many(key.tenant)
        return output

    def _too_many(self, tenant: str) -> DataRefused:
        columns = self._cutter.partitions
        alone = self._partitions[tenant] > MOST_PARTITIONS
        keys = [key for key in self._outputs if not alone or key.tenant == tenant]
        counts = [len({key.partition[index] for key in keys}) for index in range(len(columns))]
        column = columns[counts.index(max(counts))]
        whose = f"tenant {tenant!r}" if alone else "all tenants together"
        return DataRefused(
            f"layout.partition_by: {whose} would have more than {len(keys) - 1:,} partitions, each a folder with a "
            f"file of its own; column {column.column} gives {max(counts):,} values to them so far.",
            hint=f"Partition by fewer values, for instance {{column: {column.column}, shards: 100}}.",
        )

    def _may_write(self, key: Key, output: _Output) -> bool:
        """Rows that were spilled come first, so their key waits for the end."""
        return not self._has_spilled(key) and (output.writing or self._open < OPEN_WRITERS)

    def _has_spilled(self, key: Key) -> bool:
        return any((key, version) in self._spill for version in range(len(self._outputs[key].streams)))

    def _taken(self, key: Key, output: _Output) -> Sequence[pa.RecordBatch]:
        """The rows that wait for ``key``, transformed: one batch for each version, or none where nothing waits."""
        slices = [batch.slice(begin, end - begin) for batch, begin, end in output.waiting]
        output.waiting, output.bytes = [], 0
        if not slices:
            return ()
        made = self._transform(key.tenant, slices[0] if len(slices) == 1 else pa.concat_batches(slices))
        output.streams += [_Stream() for _ in range(len(made) - len(output.streams))]
        return made

    def _move_on(self, key: Key, output: _Output) -> None:
        enough = output.writing or output.bytes >= CHUNK
        rows = self._taken(key, output)
        if enough and self._may_write(key, output):
            self._append(key, output, rows)
            return
        for version, batch in enumerate(rows):
            if batch.num_rows:
                self._spill.add((key, version), batch)
                output.streams[version].spilled += batch.nbytes

    def _append(self, key: Key, output: _Output, rows: Sequence[pa.RecordBatch]) -> None:
        """In the thread that reads, which counts the keys with open writers."""
        before = output.writing
        for version, batch in enumerate(rows):
            self._write(key, output, version, batch)
        self._open += output.writing - before

    def _write(self, key: Key, output: _Output, version: int, rows: pa.RecordBatch) -> None:
        if not rows.num_rows:
            return
        stream = output.streams[version]
        stream.written += rows.num_rows
        stream.written_bytes += rows.nbytes
        begin = 0
        while begin < rows.num_rows:
            if stream.writer is None:
                stream.sequence += 1
                number = FileNumber(self._lane, stream.sequence, self._lanes)
                stream.writer = self._open_file(key, version, number, self._share)
            begin += stream.writer.append(rows.slice(begin))
            if begin < rows.num_rows:
                stream.close()

    def _is_small(self, output: _Output) -> bool:
        """Whether its rows and what becomes of them while they are encoded fit into a writer's share of the budget."""
        return (output.bytes + output.spilled) * 4 <= self._share

    def _complete(self, key: Key) -> None:
        output = self._outputs[key]
        rest = self._taken(key, output)
        for version, stream in enumerate(output.streams):
            for rows in self._spill.take((key, version)):
                self._write(key, output, version, rows)
            if rest:
                self._write(key, output, version, rest[version])
            stream.close()

    def _complete_all(self, keys: Sequence[Key]) -> None:
        """Side by side where there are many. After a failure none is begun; the first in the order of the keys is
        raised, when none is at work any more."""
        if len(keys) <= OPEN_WRITERS:
            for key in keys:
                self._complete(key)
            return
        failed = threading.Event()

        def complete(key: Key) -> None:
            if failed.is_set():
                return
            try:
                self._complete(key)
            except BaseException:
                failed.set()
                raise

        with ThreadPoolExecutor(OPEN_WRITERS, thread_name_prefix="lading-files") as pool:
            futures = [pool.submit(complete, key) for key in keys]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _order(key: Key) -> list[tuple[bool, int, str]]:
    return in_order((key.tenant, *key.partition))
